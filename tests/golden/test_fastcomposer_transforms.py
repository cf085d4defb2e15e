"""Transforms against the official ones: pictures of many shapes, cropped, padded and resized."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from safetensors.numpy import load_file

from fcbench.fastcomposer import transforms
from fcbench.types import Image, Mask

GOLDENS = Path(os.environ.get("FCBENCH_GOLDENS", Path(__file__).parent)) / "fastcomposer"
FACTS = json.loads((GOLDENS / "f_transforms.json").read_text())
CASES = {case["name"]: case for case in FACTS["cases"]}


@pytest.fixture(scope="module")
def golden() -> dict[str, npt.NDArray[Any]]:
    return load_file(GOLDENS / "f_transforms.safetensors")


def pictures(array: npt.NDArray[Any]) -> Image:
    """A golden (3, h, w), uint8 or of [-1, 1] or [0, 1], as (h, w, 3)."""
    return array.transpose(1, 2, 0)


def assert_levels(found: npt.NDArray[Any], expected: npt.NDArray[Any], level: float = 1.0) -> None:
    """Equal but for one level of 255."""
    assert found.shape == expected.shape
    assert np.abs(found.astype(np.float64) - expected).max() <= level + 1e-6


def interior(ids: npt.NDArray[Any]) -> Mask:
    """True where a pixel and its eight neighbours have one id."""
    around = np.pad(ids, 1, mode="edge")
    height, width = ids.shape
    shifted = [around[i : i + height, j : j + width] for i in range(3) for j in range(3)]
    same: Mask = np.all([part == ids for part in shifted], axis=0)
    return same


@pytest.mark.parametrize("flip", [0, 1])
@pytest.mark.parametrize("case", CASES)
def test_a_photo_is_fitted_as_in_the_official_training(
    golden: dict[str, npt.NDArray[Any]], case: str, flip: int
) -> None:
    made = transforms.fit_photo(pictures(golden[f"{case}.image"]), FACTS["train_resolution"], flip=bool(flip))
    assert_levels(made / 127.5 - 1, pictures(golden[f"{case}.train_flip{flip}.image"]), 1 / 127.5)


@pytest.mark.parametrize("flip", [0, 1])
@pytest.mark.parametrize("case", CASES)
def test_masks_are_fitted_with_their_photo(golden: dict[str, npt.NDArray[Any]], case: str, flip: int) -> None:
    ids, side = golden[f"{case}.segmap"], FACTS["train_resolution"]
    made = np.zeros((side, side), np.uint8)
    for segment in np.unique(ids[ids > 0]):
        made[transforms.fit_mask(ids == segment, side, flip=bool(flip))] = segment
    expected = golden[f"{case}.train_flip{flip}.segmap"]
    if ids.shape[0] > ids.shape[1]:
        # The official code averages ids of portraits: borders between segments hold ids of neither side.
        assert interior(made).any()
        made, expected = made[interior(made)], expected[interior(made)]
    np.testing.assert_array_equal(made, expected)


@pytest.mark.parametrize("name", ["pad_to_square", "center_crop_or_pad_sides", "crop_top_square"])
@pytest.mark.parametrize("case", CASES)
def test_crops_and_pads(golden: dict[str, npt.NDArray[Any]], case: str, name: str) -> None:
    made = getattr(transforms, name)(pictures(golden[f"{case}.image"]))
    assert_levels(made, pictures(golden[f"{case}.{name}"]))


@pytest.mark.parametrize("case", CASES)
def test_a_reference_is_padded_and_resized(golden: dict[str, npt.NDArray[Any]], case: str) -> None:
    made = transforms.fit_reference(pictures(golden[f"{case}.image"]), FACTS["object_resolution"])
    assert_levels(made / 255, pictures(golden[f"{case}.object_test"]), 1 / 255)


@pytest.mark.parametrize(
    ("case", "segment"), [(name, segment["id"]) for name, case in CASES.items() for segment in case["segments"]]
)
def test_a_subject_is_cut_out_before_noise(golden: dict[str, npt.NDArray[Any]], case: str, segment: int) -> None:
    (box,) = (s["bbox"] for s in CASES[case]["segments"] if s["id"] == segment)
    x1, y1, x2, y2 = box
    image, noise = (pictures(golden[f"{case}.{part}"]) for part in ("image", "background"))
    cut = transforms.cut_out(image, golden[f"{case}.segmap"] == segment, box, noise[y1:y2, x1:x2])
    np.testing.assert_array_equal(cut, pictures(golden[f"{case}.segment{segment}.crop"]))
    made = transforms.fit_reference(cut, FACTS["object_resolution"])
    assert_levels(made / 255, pictures(golden[f"{case}.segment{segment}.object_pixel"]), 1 / 255)
