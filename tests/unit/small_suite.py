"""A suite of four drawn people and two prompts, pictures of it, and a stack that finds one face in each."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np

from fcbench.config import Suite, WorldPeople
from fcbench.files import write_image
from fcbench.types import Prompt, Stack

PROMPTS = (Prompt("snow", "{} in the snow", "context"), Prompt("red-hat", "{} wearing a red hat", "accessory"))


def world(*, pairs: int | None = None, seeds: tuple[int, ...] = (0,), photos: int = 2) -> Suite:
    people = WorldPeople(source="world", first=1_003_000, count=4, photos=photos)
    return Suite(name="small", subjects=people, group=2 if pairs else 1, pairs=pairs, prompts=PROMPTS, seeds=seeds)


def draw(folder: Path, name: str, level: int = 7) -> None:
    write_image(folder / name, np.full((64, 64, 3), level, np.uint8))


def one_face() -> Stack:
    """A stack whose judge of faces sees one face, in the middle of every photo, and hashes no weights."""

    def get(bgr: np.ndarray) -> list[Any]:
        height, width = bgr.shape[:2]
        return [SimpleNamespace(bbox=np.array([0.3 * width, 0.3 * height, 0.7 * width, 0.7 * height]))]

    return Stack("mini", {"faces": lambda: SimpleNamespace(get=get)}, 64)
