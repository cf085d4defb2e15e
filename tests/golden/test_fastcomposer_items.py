"""Training examples of a folder in the official layout against what the official loader makes of it."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from safetensors.numpy import load_file
from transformers import CLIPTokenizer

from fcbench.config import Recipe
from fcbench.fastcomposer.data import Example, make_example
from fcbench.fastcomposer.official_data import FolderPhotos
from fcbench.fastcomposer.transforms import fit_mask, fit_photo

GOLDENS = Path(os.environ.get("FCBENCH_GOLDENS", Path(__file__).parent))
FACTS = json.loads((GOLDENS / "fastcomposer" / "h_dataset_items.json").read_text())
ITEMS = {item["image_id"]: item for item in FACTS["items"]}
ROOT = GOLDENS / "official_dataset_example"
SIDE = FACTS["train_resolution"]
RECIPE = Recipe(name="all", max_subjects=FACTS["max_num_objects"], unconditional=0, text_only=0)


class Recorded(Random):
    """Chance as it was recorded: nobody is dropped, nothing mirrored, these are chosen, the noise is this picture's."""

    def __init__(self, photos: FolderPhotos, row: int, chosen: list[int], noise: npt.NDArray[Any]) -> None:
        super().__init__(0)
        numbers = photos._numbers[row]
        self._chosen = [numbers.index(number) for number in chosen]
        self._noise = noise
        self._boxes = [segment.box for segment in photos.segments[row]]
        self.drawn: list[int] = []

    def random(self) -> float:
        return 0.999

    def sample(self, population: Sequence[Any], k: int, *, counts: Any = None) -> list[Any]:
        assert k == len(self._chosen)
        return self._chosen

    def randbytes(self, n: int) -> bytes:
        """The noise of the next subject that has a token: its box is told by its size and its place in order."""
        for index in self._chosen:
            x1, y1, x2, y2 = self._boxes[index]
            if index not in self.drawn and (y2 - y1) * (x2 - x1) * 3 == n:
                self.drawn.append(index)
                return self._noise[y1:y2, x1:x2].tobytes()
        raise AssertionError(f"no box of {n} bytes is left")


@pytest.fixture(scope="module")
def golden() -> dict[str, npt.NDArray[Any]]:
    return load_file(GOLDENS / "fastcomposer" / "h_dataset_items.safetensors")


@pytest.fixture(scope="module")
def tokenizer() -> Any:
    return CLIPTokenizer.from_pretrained(GOLDENS / "clip_bpe", model_max_length=77)


@pytest.fixture(scope="module")
def photos() -> dict[str, tuple[FolderPhotos, int]]:
    """By id: the photos of its split, and its row."""
    splits = [FolderPhotos(ROOT, split) for split in ("train", "test")]
    return {photo_id: (split, row) for split in splits for row, photo_id in enumerate(split.ids)}


@pytest.fixture(scope="module")
def examples(
    photos: dict[str, tuple[FolderPhotos, int]], tokenizer: Any, golden: dict[str, npt.NDArray[Any]]
) -> dict[str, tuple[Example, list[int]]]:
    """By id: the example, and the numbers of its subjects."""
    made = {}
    for photo_id, item in ITEMS.items():
        split, row = photos[photo_id]
        noise = golden[f"background.{photo_id}"].transpose(1, 2, 0)
        random = Recorded(split, row, item["selected_segment_ids_in_order"], noise)
        sides = {"side": SIDE, "reference_side": FACTS["object_resolution"]}
        example = make_example(split, row, tokenizer, RECIPE, random, **sides)
        made[photo_id] = example, [split._numbers[row][index] for index in random.drawn]
    return made


def official_subjects(item: dict[str, Any], ends: dict[int, int]) -> list[int]:
    """The slots whose picture is of the subject whose token they stand for.

    The official loader has a slot for each distinct token and fills them from the front: where two segments end at one
    character, each later slot holds the picture of somebody else.
    """
    chosen = item["selected_segment_ids_in_order"]
    tokens = list(dict.fromkeys(ends[number] for number in chosen))
    return [slot for slot in range(item["num_objects"]) if ends[chosen[slot]] == tokens[slot]]


def inside_segments(ids: npt.NDArray[Any], *, flip: bool) -> npt.NDArray[np.bool_]:
    """Where a fitted map's pixel and its eight neighbours belong to one segment, or all to none."""
    fitted = np.zeros((SIDE, SIDE), int)
    for number in np.unique(ids[ids > 0]):
        fitted[fit_mask(ids == number, SIDE, flip=flip)] = number
    around = np.pad(fitted, 1, mode="edge")
    near = [around[i : i + SIDE, j : j + SIDE] for i in range(3) for j in range(3)]
    inside: npt.NDArray[np.bool_] = np.all([part == fitted for part in near], axis=0)
    return inside


def test_the_lists_have_the_official_lengths(photos: dict[str, tuple[FolderPhotos, int]]) -> None:
    assert len(FolderPhotos(ROOT, "train")) == FACTS["len_train"]
    assert len(FolderPhotos(ROOT, "test")) == FACTS["len_test"]


@pytest.mark.parametrize("photo_id", ITEMS)
def test_the_tokens_are_the_official_ones(
    examples: dict[str, tuple[Example, list[int]]], golden: dict[str, npt.NDArray[Any]], photo_id: str
) -> None:
    example, _ = examples[photo_id]
    slots = golden[f"flip0.{photo_id}.image_token_idx_mask"][0]
    np.testing.assert_array_equal(example.ids, golden[f"flip0.{photo_id}.input_ids"][0])
    np.testing.assert_array_equal(example.positions, np.flatnonzero(golden[f"flip0.{photo_id}.image_token_mask"][0]))
    np.testing.assert_array_equal(example.positions, golden[f"flip0.{photo_id}.image_token_idx"][0][slots])
    assert len(example.references) == len(example.masks) == ITEMS[photo_id]["num_objects"]


@pytest.mark.parametrize("flip", [0, 1])
@pytest.mark.parametrize("photo_id", ITEMS)
def test_the_photo_is_the_official_one(
    photos: dict[str, tuple[FolderPhotos, int]], golden: dict[str, npt.NDArray[Any]], photo_id: str, flip: int
) -> None:
    split, row = photos[photo_id]
    decoded = golden[f"decoded.{photo_id}"].transpose(1, 2, 0)
    assert np.abs(split.image(row).astype(int) - decoded).max() <= 1
    made = fit_photo(split.image(row), SIDE, flip=bool(flip)) / 127.5 - 1
    expected = golden[f"flip{flip}.{photo_id}.pixel_values"].transpose(1, 2, 0)
    assert np.abs(made - expected).max() <= 1 / 127.5 + 1e-6


@pytest.mark.parametrize("photo_id", ITEMS)
def test_the_references_are_the_official_ones_where_they_are_of_the_right_subject(
    examples: dict[str, tuple[Example, list[int]]],
    photos: dict[str, tuple[FolderPhotos, int]],
    golden: dict[str, npt.NDArray[Any]],
    photo_id: str,
) -> None:
    (example, numbers), (split, row) = examples[photo_id], photos[photo_id]
    ends = dict(zip(split._numbers[row], (segment.end for segment in split.segments[row]), strict=True))
    right = official_subjects(ITEMS[photo_id], ends)
    assert right or not example.references
    assert len({ends[number] for number in numbers}) == len(numbers)
    for slot in right:
        assert numbers[slot] == ITEMS[photo_id]["selected_segment_ids_in_order"][slot]
        expected = golden[f"flip0.{photo_id}.object_pixel_values"][slot].transpose(1, 2, 0)
        assert np.abs(example.references[slot] / 255 - expected).max() <= 1 / 255 + 1e-6


@pytest.mark.parametrize("flip", [0, 1])
@pytest.mark.parametrize("photo_id", ITEMS)
def test_the_masks_are_the_official_ones_where_they_are_of_the_right_subject(
    examples: dict[str, tuple[Example, list[int]]],
    photos: dict[str, tuple[FolderPhotos, int]],
    golden: dict[str, npt.NDArray[Any]],
    photo_id: str,
    flip: int,
) -> None:
    (example, numbers), (split, row) = examples[photo_id], photos[photo_id]
    ends = dict(zip(split._numbers[row], (segment.end for segment in split.segments[row]), strict=True))
    for slot in official_subjects(ITEMS[photo_id], ends):
        mask = split.mask(row, split._numbers[row].index(numbers[slot]))
        made = fit_mask(mask, SIDE, flip=bool(flip))
        assert flip or (made == example.masks[slot]).all()
        expected = golden[f"flip{flip}.{photo_id}.object_segmaps"][slot] > 0
        if mask.shape[0] > mask.shape[1]:
            # A portrait's map is averaged by its ids in the official code: wrong along the borders between them.
            inside = inside_segments(split._map(row), flip=bool(flip))
            assert inside.any()
            made, expected = made[inside], expected[inside]
        np.testing.assert_array_equal(made, expected)
