from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from fcbench.build.cast import CAST, SIZES, TIMES, world_scene
from fcbench.build.records import Photo, Segment, Sidecar
from fcbench.build.split import split
from fcbench.masks import Rle
from fcbench.world import TRAIN_PEOPLE


def test_everybody_of_a_block_is_in_exactly_five_photos_once_each() -> None:
    scenes = [world_scene(index, seed=3)[0] for index in range(3 * len(SIZES))]
    people = [[figure.person.number for figure in scene.figures] for scene in scenes]
    assert all(len(set(numbers)) == len(numbers) for numbers in people)
    times = Counter(number for numbers in people for number in numbers)
    assert set(times.values()) == {TIMES}
    assert len(times) == 3 * CAST
    assert all(number in TRAIN_PEOPLE for number in times)


def test_a_block_mixes_one_two_and_three_people() -> None:
    scenes = [world_scene(index, seed=0)[0] for index in range(len(SIZES))]
    assert Counter(len(scene.figures) for scene in scenes) == {1: 9, 2: 7, 3: 4}


def test_a_photo_is_a_function_of_its_index_and_the_seed() -> None:
    alone = world_scene(47, seed=5)
    for index in range(100):
        world_scene(index, seed=5)
    assert world_scene(47, seed=5) == alone
    assert world_scene(47, seed=6) != alone
    assert world_scene(48, seed=5) != alone


def photo(number: int, *people: str) -> Photo:
    rle = Rle(size=[1, 1], counts="01")
    segments = tuple(Segment(k, "person", 1.0, 1, (0, 0, 1, 1), rle, person) for k, person in enumerate(people, 1))
    return Photo(f"{number:04d}", Path("photo.png"), 1, 1, Sidecar(), segments=segments)


def test_nobody_is_in_two_splits() -> None:
    photos = [photo(k, f"p{k // 4}", f"p{k // 4 + (k % 8 == 0)}") for k in range(200)]
    splits = split(photos)
    people = {name: {s.person_id for p in found for s in p.segments} for name, found in splits.items()}
    assert not people["train"] & people["test"]
    assert not people["train"] & people["validation"]
    assert not people["test"] & people["validation"]
    assert sum(map(len, splits.values())) == 200


def test_photos_of_nobody_known_are_split_one_by_one() -> None:
    splits = split([photo(k) for k in range(200)])
    assert {name: len(found) for name, found in splits.items()} == {"train": 180, "validation": 10, "test": 10}


@pytest.mark.parametrize(("groups", "names"), [(1, {"train"}), (2, {"train"}), (3, {"train", "validation", "test"})])
def test_a_few_groups_fill_what_they_can(groups: int, names: set[str]) -> None:
    photos = [photo(k, f"p{k % groups}") for k in range(12)]
    assert set(split(photos)) == names


def test_a_split_keeps_the_order_and_does_not_change() -> None:
    photos = [photo(k, f"p{k // 5}") for k in range(100)]
    first, second = split(photos), split(photos)
    assert first == second
    assert all(found == sorted(found, key=lambda p: p.id) for found in first.values())
