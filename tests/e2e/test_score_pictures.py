"""From somebody's folder of pictures, and the sanity rows, to a leaderboard: the commands, on the miniature stack."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest
import yaml

from fcbench.cli import main
from fcbench.files import write_image
from fcbench.stacks import find_stack
from fcbench.store import RunFolder
from fcbench.world import TEST_PEOPLE, draw_person, draw_scene, portrait, render

pytestmark = [pytest.mark.weights, pytest.mark.filterwarnings("ignore:`estimate` is deprecated:FutureWarning")]
PEOPLE = [draw_person(TEST_PEOPLE[970_000 + k]) for k in range(4)]
PROMPTS = {"red-hat": ("accessory", "{} wearing a red hat"), "snow": ("context", "{} in the snow")}


@pytest.fixture
def suite(tmp_path: Path) -> Path:
    """Four people, photographed three times each, alone under two prompts; the ids are the world's own."""
    for person in PEOPLE:
        for view in range(3):
            write_image(tmp_path / "people" / person.id / f"{view}.png", render(portrait(person, view)).image)
    data = {
        "name": "friends",
        "subjects": {"source": "folder", "path": "people", "nouns": {person.id: person.noun for person in PEOPLE}},
        "prompts": [{"id": name, "kind": kind, "text": text} for name, (kind, text) in PROMPTS.items()],
    }
    (tmp_path / "friends.yaml").write_text(yaml.safe_dump(data))
    return tmp_path / "friends.yaml"


def test_perfect_pictures_rank_above_chance_and_below_a_copy(suite: Path, tmp_path: Path) -> None:
    for number, person in enumerate(PEOPLE):
        for name in PROMPTS:
            drawn = render(draw_scene([person], number, prompt=name)).image
            write_image(tmp_path / "theirs" / f"{person.id}.{name}.0.png", drawn)
    out = str(tmp_path / "out")
    assert main(["run", "--suite", str(suite), "--sanity", "--out", out]) == 0
    theirs = ["score", str(tmp_path / "theirs"), "--suite", str(suite), "--name", "theirs", "--out", out]
    assert main([*theirs, "--metric", "copy-paste"]) == 0
    scores = {
        label: {
            column: [row[column].value or 0.0 for row in folder.read_scores(metric)[1].values()]
            for metric, column in (("identity", "identity"), ("attributes", "attributes"), ("blending", "extra"))
        }
        for label in ("theirs", "real-photos", "other-people", "copy-reference")
        for folder in [RunFolder(tmp_path / "out" / "runs" / "friends" / label)]
    }
    means = {label: sum(columns["identity"]) / 8 for label, columns in scores.items()}
    assert means["copy-reference"] == pytest.approx(1, abs=1e-5)
    assert means["theirs"] > means["other-people"] + 0.3
    assert means["real-photos"] > means["other-people"] + 0.3
    if (find_stack("mini").parent / "attributes").is_dir():  # the reader's weights ship with the stack
        assert sum(scores["theirs"]["attributes"]) > sum(scores["real-photos"]["attributes"])
    folder = RunFolder(tmp_path / "out" / "runs" / "friends" / "theirs")
    assert folder.read_scores("copy-paste")[0]["higher_is_better"] is False
    assert folder.read_facts()["blending"]["different_photos"] > 0
    assert main(["report", "--suite", str(suite), "--out", out]) == 0
    with (tmp_path / "out" / "reports" / "friends" / "leaderboard.csv").open() as handle:
        rows = {row["method"]: row for row in csv.DictReader(handle)}
    assert rows["theirs"]["sample_seconds"] == rows["theirs"]["peak_gib"] == ""
    assert float(rows["theirs"]["identity"]) == pytest.approx(means["theirs"], abs=1e-4)


def test_a_suite_is_shown_with_its_cases(suite: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["suite", "show", str(suite), "--out", str(tmp_path / "out")]) == 0
    assert "friends: 4 subjects x 2 prompts x 1 seed = 8 cases" in capsys.readouterr().out
    assert main(["suite", "show", str(suite), "--cases", "--out", str(tmp_path / "out")]) == 0
    assert len(capsys.readouterr().out.splitlines()) == 9
    assert main(["suite", "check", str(suite)]) == 0
    (tmp_path / "people" / PEOPLE[0].id / "0.png").write_bytes(b"torn")
    assert main(["suite", "check", str(suite)]) == 1
    assert "friends: 1 missing" in capsys.readouterr().out
