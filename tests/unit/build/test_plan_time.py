"""``--plan`` tells how long a build would take, where one like it was made."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from fcbench.build.command import Asked, build
from fcbench.build.plan import plan_build
from fcbench.files import read_json, write_image, write_json
from fcbench.masks import encode_mask
from fcbench.store import data_folder
from tests.toys.build_toys import stack_file


def time_of(asked: Asked, out: Path) -> str:
    (line,) = [line for line in plan_build(asked, out) if line.startswith("time ")]
    return line


@pytest.fixture
def asked(tmp_path: Path) -> Asked:
    """Nine photos that bring their captions and people."""
    for shade in range(9):
        write_image(tmp_path / "images" / f"{shade}.png", np.full((64, 64, 3), 20 * shade, np.uint8))
        sidecar = {"caption": "a man", "people": [{"mask": encode_mask(np.ones((64, 64), bool))}]}
        (tmp_path / "images" / f"{shade}.json").write_text(json.dumps(sidecar))
    stack = str(stack_file(tmp_path / "stack"))
    return Asked("folder", "own", 0, stack, "cpu", images=tmp_path / "images", workers=1)


def test_nobody_knows_the_time_before_a_few_are_labelled(asked: Asked, tmp_path: Path) -> None:
    assert "not known before a few are labelled on cpu: give --limit 50 --name trial" in time_of(asked, tmp_path)
    world = Asked("world", "world", 6, asked.stack_name, "cpu")
    assert "give --photos 50 --name trial" in time_of(world, tmp_path)


def test_a_trial_tells_the_time_of_the_whole(asked: Asked, tmp_path: Path) -> None:
    trial = data_folder(tmp_path, "trial")
    build(tmp_path, replace(asked, name="trial", limit=4))
    facts = read_json(trial.provenance(0))
    for step in facts["steps"]:
        step["seconds"] = 4.0
    write_json(trial.provenance(0), facts)
    steps = len(facts["steps"])
    assert time_of(asked, tmp_path) == (
        f"time       {9 * steps / 60:.1f} min of one worker on cpu, as {trial.path} took (4 photos)"
    )


def test_what_a_trial_left_out_is_not_counted(asked: Asked, tmp_path: Path) -> None:
    for file in sorted((tmp_path / "images").glob("*.json"))[:2]:
        file.write_text(json.dumps({**json.loads(file.read_text()), "licence": {"licence": "CC0-1.0"}}))
    trial = data_folder(tmp_path, "trial")
    build(tmp_path, replace(asked, name="trial", limit=4, licences="cc0"))
    facts = read_json(trial.provenance(0))
    names = [step["step"] for step in facts["steps"]]
    for step in facts["steps"]:
        step["seconds"] = 4.0
    write_json(trial.provenance(0), facts)
    seconds = 2 * 1.0 + (len(names) - 2) * 2.0  # all four come to ingest and screen, two to what follows
    assert names[:2] == ["ingest", "screen"]
    assert f"time       {9 * seconds / 60:.1f} min of" in time_of(asked, tmp_path)


@pytest.mark.parametrize("other", ["device", "short_side", "assignment", "source", "build.json", "meta"])
def test_a_build_of_another_recipe_or_on_another_device_tells_nothing(other: str, asked: Asked, tmp_path: Path) -> None:
    trial = data_folder(tmp_path, "trial")
    build(tmp_path, replace(asked, name="trial", limit=4))
    assert "one worker" in time_of(asked, tmp_path)
    if other == "device":
        facts = read_json(trial.provenance(0))
        write_json(trial.provenance(0), {**facts, "steps": [{**step, "device": "GPU"} for step in facts["steps"]]})
    elif other == "short_side":
        asked = replace(asked, short_side=512)
    elif other == "assignment":
        asked = replace(asked, assignment="greedy")
    elif other == "source":
        (tmp_path / "images").rename(tmp_path / "moved")
        asked = replace(asked, images=tmp_path / "moved")
    elif other == "meta":
        trial.provenance(0).write_bytes(trial.provenance(0).read_bytes()[:100])
    else:
        write_json(trial.build, {**read_json(trial.build), "recipe": None})
    assert "not known" in time_of(asked, tmp_path)
