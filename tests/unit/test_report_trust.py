"""What keeps apart, or is told, so that no table says more than what was drawn."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from fcbench.files import digest_file, write_image
from fcbench.report import read_runs
from fcbench.report.board import Board, make_board
from fcbench.report.claims import Claim
from fcbench.report.frontier import frontiers
from fcbench.report.table import rankings
from fcbench.report.to_tex import to_tex
from fcbench.types import Case
from tests.unit.fake_runs import PROMPTS, cases, fake_run, picture, subjects

STACK: dict[str, Any] = {
    "stack_digests": {"unet": "u" * 64, "vae": "v" * 64, "fusion": "f" * 64, "faces": "j" * 64},
    "sampling": {"steps": 20, "guidance": 3.0, "alpha": 1.0},
}


@pytest.fixture
def wanted(tmp_path: Path) -> list[Case]:
    return cases(subjects(tmp_path, "s", 8))


def board(out: Path) -> Board:
    return make_board(read_runs(out, "s"), "s", out=out)


def claim(out: Path, start: str) -> Claim:
    return next(claim for claim in board(out).claims if claim.text.startswith(start))


@pytest.mark.parametrize(
    ("change", "apart"),
    [
        ({"stack_digests": {**STACK["stack_digests"], "unet": "x" * 64}}, True),
        ({"sampling": {**STACK["sampling"], "steps": 7}}, True),
        ({"sampling": {**STACK["sampling"], "alpha": 0.5}}, False),
        ({"stack_digests": {**STACK["stack_digests"], "fusion": "x" * 64, "checkpoint": "y"}}, False),
        ({"stack_digests": {**STACK["stack_digests"], "faces": "x" * 64}}, False),
    ],
)
def test_runs_from_other_weights_or_defaults_under_one_name_are_not_ranked_together(
    change: dict[str, Any], apart: bool, wanted: list[Case], tmp_path: Path
) -> None:
    fake_run(tmp_path, "s", "stable-diffusion", wanted, **STACK)
    fake_run(tmp_path, "s", "fastcomposer", wanted, **{**STACK, **change})
    fake_run(tmp_path, "s", "real-photos", wanted, sanity=True, costs_measured=False, device=None)
    ranked = rankings(read_runs(tmp_path, "s"), "s")
    assert len(ranked) == 1 + apart
    assert [("weights and defaults " in ranking.title) for ranking in ranked] == [apart] * len(ranked)
    assert "real-photos" in {row.method for row in ranked[0].rows}


def test_another_version_of_a_package_is_told_in_the_row(wanted: list[Case], tmp_path: Path) -> None:
    for label, torch in (("stable-diffusion", "2.13"), ("fastcomposer", "1.13"), ("dreambooth", "2.13")):
        fake_run(tmp_path, "s", label, wanted, versions={"torch": torch, "numpy": "2.4"})
    (ranking,) = rankings(read_runs(tmp_path, "s"), "s")
    assert {row.method: row.note for row in ranking.rows} == {
        "stable-diffusion": "",
        "dreambooth": "",
        "fastcomposer": "drawn with torch 1.13, not 2.13",
    }


def test_an_option_called_alpha_that_is_no_share_is_no_alpha(wanted: list[Case], tmp_path: Path) -> None:
    for alpha in (8, 16, 32):
        fake_run(tmp_path, "s", f"lora@alpha-{alpha}", wanted, options={"alpha": alpha})
    fake_run(tmp_path, "s", "theirs", wanted, options={"alpha": "cosine"})
    runs = read_runs(tmp_path, "s")
    assert [row.role for row in rankings(runs, "s")[0].rows] == ["method"] * 4
    assert frontiers(runs) == []


def test_two_short_sweeps_of_other_weights_are_methods_not_one_sweep(wanted: list[Case], tmp_path: Path) -> None:
    for label, checkpoint in (("alpha-0", "a"), ("alpha-0.5", "a"), ("big-alpha-0", "b"), ("big-alpha-0.5", "b")):
        digests: dict[str, Any] = {"stack_digests": {"checkpoint": checkpoint}}
        fake_run(tmp_path, "s", f"fastcomposer@{label}", wanted, options={"alpha": float(label[-1])}, **digests)
    assert [row.role for row in rankings(read_runs(tmp_path, "s"), "s")[0].rows] == ["method"] * 4


def test_few_prompts_are_told_in_the_row(tmp_path: Path) -> None:
    people = subjects(tmp_path, "s", 8)
    fake_run(tmp_path, "s", "fastcomposer", cases(people, prompts=PROMPTS[:5]))
    assert rankings(read_runs(tmp_path, "s"), "s")[0].rows[0].note == "interval over people alone: below 6 prompts"
    fake_run(tmp_path, "t", "fastcomposer", cases(people))
    assert rankings(read_runs(tmp_path, "t"), "t")[0].rows[0].note == ""


def test_blending_is_judged_on_whole_runs_alone(tmp_path: Path) -> None:
    wanted = cases(subjects(tmp_path, "s", 12), pairs=True)
    half = {case.id: "not yet" for case in wanted[: len(wanted) // 2]}
    with_loss, without = (0.6, 0.1, 0.0, 0.0, 0.0, 0.0), (0.1, 0.8, 0.0, 0.0, 0.0, 0.0)
    fake_run(tmp_path, "s", "fastcomposer", wanted, outcomes=with_loss)
    fake_run(tmp_path, "s", "fastcomposer@no-localization", wanted, outcomes=without, failures=half)
    assert claim(tmp_path, "The localisation loss").verdict == "not measured"
    for case in half:
        (tmp_path / "runs" / "s" / "fastcomposer@no-localization" / "failures" / f"{case}.json").unlink()
    fake_run(tmp_path, "s", "fastcomposer@no-localization", wanted, outcomes=without)
    assert claim(tmp_path, "The localisation loss").verdict == "held"


def test_a_tuned_method_whose_pictures_were_made_elsewhere_counts_for_the_claims(
    wanted: list[Case], tmp_path: Path
) -> None:
    tuned: dict[str, Any] = {"capabilities": {"needs_tuning": True}}
    fake_run(tmp_path, "s", "fastcomposer", wanted, quality=(0.5, 0.2))
    fake_run(tmp_path, "s", "textual-inversion", wanted, quality=(0.1, 0.2), **tuned)
    assert claim(tmp_path, "Identity is above that of all tuned methods, one").verdict == "held"
    elsewhere: dict[str, Any] = {"costs_measured": False, "device": None, "capabilities": None}
    fake_run(tmp_path, "s", "dreambooth", wanted, quality=(0.9, 0.2), **elsewhere)
    assert claim(tmp_path, "Identity is above that of all tuned methods, one").verdict == "not held"
    assert "dreambooth" not in claim(tmp_path, "Nothing is stored").numbers


def test_memory_spared_on_one_side_is_not_compared(wanted: list[Case], tmp_path: Path) -> None:
    gpu: dict[str, Any] = {"memory_kind": "cuda allocated", "low_memory": True}
    fake_run(tmp_path, "s", "fastcomposer", wanted, **gpu)
    tuned: dict[str, Any] = {"capabilities": {"needs_tuning": True}, "fit_seconds": 1e4}
    fake_run(tmp_path, "s", "dreambooth", wanted, **{**gpu, "low_memory": False}, **tuned)
    found = claim(tmp_path, "A first picture")
    assert found.verdict == "not measured"
    assert found.numbers.endswith("with --low-memory, or without, as ours is")
    fake_run(tmp_path, "s", "dreambooth", wanted, **gpu, **tuned)
    assert claim(tmp_path, "A first picture").verdict == "held"


def test_a_label_is_no_argument_of_latex(wanted: list[Case], tmp_path: Path) -> None:
    for label in ("[ours]", "*best"):
        fake_run(tmp_path, "s", label, wanted)
    lines = to_tex(rankings(read_runs(tmp_path, "s"), "s"), "s").splitlines()
    assert not [line for line in lines if line.startswith(("[", "*"))]
    assert len([line for line in lines if line.startswith(("{}[ours] &", "{}*best &"))]) == 2


def test_photos_on_record_are_of_the_run_s_people(tmp_path: Path) -> None:
    from fcbench.run.cases import photo_digests

    people = subjects(tmp_path, "s", 2)
    told = photo_digests(people)
    assert told == {person.id: [digest_file(person.images[0])] for person in people}
    write_image(people[0].images[0], picture(77))
    assert photo_digests(people) != told
