"""Pictures with nothing beside them: captioned, segmented and matched by the miniature's own models."""

from __future__ import annotations

from pathlib import Path

import pytest

from fcbench.build import build_data
from fcbench.build.rows import Rows
from fcbench.fastcomposer.data import open_photos
from fcbench.files import read_json, write_image
from fcbench.make_stack.pool import unseen_scene
from fcbench.stacks import load_stack
from fcbench.store import data_folder
from fcbench.world import render

pytestmark = pytest.mark.weights
PICTURES = 24


def test_a_folder_of_pictures_alone_becomes_a_dataset_to_train_on(tmp_path: Path) -> None:
    for number in range(PICTURES):
        write_image(tmp_path / "photos" / f"{number:02d}.png", render(unseen_scene(number)).image)
    counts = build_data(
        tmp_path, source="folder", images=tmp_path / "photos", name="mine", stack=load_stack("mini"), progress=None
    )
    assert counts.accepted >= PICTURES - 2
    folder = data_folder(tmp_path, "mine")
    assert {"captioner", "segmenter", "matcher"} <= read_json(folder.build)["models"].keys()
    rows = [row for split in Rows(folder).splits for row in Rows(folder).of(split)]
    people = sum(len(unseen_scene(number).figures) for number in range(PICTURES))
    told = sum(phrase["root"] in ("man", "woman") for row in rows for phrase in row["noun_phrases"])
    matched = sum(segment["phrase"] is not None for row in rows for segment in row["segments"])
    assert min(told, matched) >= 0.85 * people
    assert len(open_photos(folder.path)) > 0
