"""A run without weights: a stack of configurations alone, from the command line to the leaderboard."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest
import yaml

from fcbench.cli import main
from fcbench.files import write_image
from tests.toys.tiny import CLASSES, WIDTH, write_configurations


@pytest.fixture
def suite(tmp_path: Path) -> Path:
    """Two people, one prompt, and a stack of the hub's models whose configurations lie beside it."""
    from fcbench.stacks import find_stack

    write_configurations(tmp_path)
    random: dict[str, object] = {role: {"class": kind, "path": role} for role, kind in CLASSES.items()}
    sd15 = find_stack("sd15").parent
    random["tokenizer"] = {
        "class": "fcbench.stacks.vocabulary.load_clip_tokenizer",
        "path": str(sd15 / "tokenizer"),
    }
    random["scheduler"] = {"class": "diffusers.PNDMScheduler", "path": str(sd15 / "scheduler")}
    random["fusion"] = {"class": "fcbench.fastcomposer.encoder.Fusion", "dim": WIDTH}
    hub = {role: {"class": kind, "hub": "nobody/nothing"} for role, kind in CLASSES.items()}
    stack = {"name": "tiny", "image_size": 16, "sampling": {"steps": 3}, "checkpoint": "nobody/nothing"}
    (tmp_path / "tiny.yaml").write_text(yaml.safe_dump({**stack, "roles": hub, "random": random}))
    for name in ("ann", "bo"):
        write_image(tmp_path / "photos" / name / "0.png", np.full((8, 8, 3), 40 * len(name), np.uint8))
    people = {"source": "folder", "path": "photos", "nouns": {"ann": "woman", "bo": "man"}}
    prompts = [{"id": "snow", "kind": "context", "text": "{} in the snow"}]
    file = tmp_path / "toy.yaml"
    file.write_text(
        yaml.safe_dump({"name": "toy", "stack": str(tmp_path / "tiny.yaml"), "subjects": people, "prompts": prompts})
    )
    return file


def test_costs_are_measured_and_quality_stays_empty(suite: Path, capfd: pytest.CaptureFixture[str]) -> None:
    out = suite.parent / "out"
    arguments = ["--random-weights", "--device", "cpu", "--out", str(out)]
    methods = ["--method", "fastcomposer", "--method", "stable-diffusion"]
    assert main(["run", "--suite", str(suite), *methods, *arguments]) == 0, capfd.readouterr().err
    record = json.loads((out / "runs" / "toy" / "fastcomposer" / "run.json").read_text())
    assert record["random_weights"]
    assert all(d.startswith("untrained ") for role, d in record["stack_digests"].items() if role != "checkpoint")
    assert main(["report", "--suite", str(suite), "--device", "cpu", "--out", str(out)]) == 0, capfd.readouterr().err
    with (out / "reports" / "toy" / "leaderboard.csv").open() as file:
        rows = {row["method"]: row for row in csv.DictReader(file)}
    assert rows.keys() == {"fastcomposer", "stable-diffusion"}
    for row in rows.values():
        assert (row["generations"], row["failures"]) == ("2", "0")
        assert (row["identity"], row["prompt"]) == ("", "")
        assert float(row["sample_seconds"]) > 0
