"""What a dataset is filtered by when it is loaded."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
from datasets import load_dataset

from fcbench.build.quality import PRESETS
from fcbench.build.records import Photo, Phrase, Segment, Sidecar
from fcbench.build.write import write_photos
from fcbench.files import write_image
from fcbench.masks import encode_mask
from fcbench.store import DataFolder

GOOD = {"short_side": 512.0, "sharpness": 30.0, "share": 0.05, "face_pixels": 128.0}
ROWS: dict[str, tuple[float | None, Mapping[str, float]]] = {
    "one person": (None, GOOD),
    "plain": (0.02, GOOD),
    "ambiguous": (0.005, GOOD),
    "small": (None, {**GOOD, "short_side": 511.0}),
    "blurred": (0.5, {**GOOD, "sharpness": 29.0}),
    "far away": (None, {**GOOD, "share": 0.03}),
    "a small face": (0.5, {**GOOD, "face_pixels": 127.0}),
    "no detector": (None, {name: value for name, value in GOOD.items() if name != "face_pixels"}),
}
"""By id a photo's margin and scores."""


def photo(folder: Path, name: str, margin: float | None, scores: Mapping[str, float]) -> Photo:
    """A photo of one person who has a phrase."""
    write_image(folder / f"{name}.png", np.full((8, 8, 3), 90, np.uint8))
    mask = np.ones((8, 8), bool)
    of_photo = {key: scores[key] for key in ("short_side", "sharpness")}
    of_person = {key: value for key, value in scores.items() if key not in of_photo}
    person = Segment(1, "person", 1.0, 64, (0, 0, 8, 8), encode_mask(mask), phrase=0, margin=margin, scores=of_person)
    phrases = (Phrase("a man", "man", 0, 5),)
    return Photo(name, folder / f"{name}.png", 8, 8, Sidecar(), "a man", phrases, (person,), scores=of_photo)


@pytest.mark.parametrize("streaming", [False, True])
@pytest.mark.parametrize(("preset", "kept"), [("paper", set(ROWS)), ("strict", {"one person", "plain"})])
def test_a_preset_loads_the_photos_that_it_tells_of(
    preset: str, kept: set[str], streaming: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fcbench.build.write.ROW_GROUP_ROWS", 1)  # whole groups may be skipped by their statistics
    photos = [photo(tmp_path / "photos", name, *told) for name, told in ROWS.items()]
    write_photos(DataFolder(tmp_path / "tiny").shard("train"), photos, "recipe")
    filters = PRESETS[preset]
    rows = load_dataset(
        str(tmp_path / "tiny"), split="train", filters=filters, streaming=streaming, cache_dir=str(tmp_path / "cache")
    )
    assert {row["id"] for row in rows} == kept


def test_every_preset_is_tested() -> None:
    assert set(PRESETS) == {"paper", "strict"}
