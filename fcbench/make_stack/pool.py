"""Training pictures, drawn once and kept: uint8 pictures in one array, captions beside."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from random import Random

import numpy as np
import numpy.typing as npt

from fcbench.files import atomic, read_json, write_json
from fcbench.types import Image, subject_phrase
from fcbench.world import PROMPTS, TEST_PEOPLE, TRAIN_PEOPLE, Scene, describe, draw_person, draw_scene, render

GROUP = len(PROMPTS)
"""Prompted pictures come in groups: the same people, once for each prompt."""

UNSEEN = TEST_PEOPLE[700_000]
"""The first of the people that only the card's scores know."""


@dataclass(frozen=True)
class Pool:
    """Pictures, uint8 (n, 64, 64, 3), mapped from disk, and their captions."""

    pictures: npt.NDArray[np.uint8]
    captions: list[str]


def draw_pool(folder: Path, count: int) -> Pool:
    """``count`` pictures of anything, with varied captions."""

    def draw(number: int) -> tuple[Image, str]:
        scene = training_scene(number)
        return render(scene).image, describe(scene, number).text

    return _draw(folder, "scenes", count, draw)


def draw_prompted(folder: Path, groups: int) -> Pool:
    """``groups`` x GROUP pictures of prompts: within a group people and wording are the same but for the prompt."""
    return _draw(folder, "prompted", groups * GROUP, _prompted)


def training_scene(number: int) -> Scene:
    """Training scene ``number``: one to three people that no test uses."""
    random = Random(number * 65_537 + 11)
    count = random.choices((1, 2, 3), (0.45, 0.4, 0.15))[0]
    return draw_scene([draw_person(random.choice(TRAIN_PEOPLE)) for _ in range(count)], random.randrange(1 << 30))


def unseen_scene(number: int) -> Scene:
    """Scene ``number`` of one to three people that no training and no suite knows."""
    people = [draw_person(UNSEEN + 3 * number + place) for place in range(1 + number % 3)]
    return draw_scene(people, 90_000_000 + number)


def _prompted(number: int) -> tuple[Image, str]:
    group, place = divmod(number, GROUP)
    random = Random(group * 92_821 + 3)
    count = random.choices((1, 2, 3), (0.55, 0.35, 0.1))[0]
    people = [draw_person(random.choice(TRAIN_PEOPLE)) for _ in range(count)]
    prompt = tuple(PROMPTS.values())[place]
    scene = draw_scene(people, random.randrange(1 << 29) + place, prompt=prompt.id)
    random.shuffle(people)
    return render(scene).image, prompt.text.replace("{}", subject_phrase([person.noun for person in people]))


def _draw(folder: Path, name: str, count: int, draw: Callable[[int], tuple[Image, str]]) -> Pool:
    pictures, captions = folder / f"{name}-{count}.npy", folder / f"{name}-{count}.json"
    if not captions.exists():
        words = []
        with atomic(pictures) as temporary:
            array = np.lib.format.open_memmap(temporary, "w+", np.uint8, (count, 64, 64, 3))
            for number in range(count):
                array[number], caption = draw(number)
                words.append(caption)
                if number % 10_000 == 9_999:
                    print(f"{name}: {number + 1}/{count} pictures drawn", file=sys.stderr, flush=True)
            array.flush()
        write_json(captions, words)
    return Pool(np.load(pictures, mmap_mode="r"), read_json(captions))
