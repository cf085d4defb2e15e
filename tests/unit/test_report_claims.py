"""The paper's claims, judged on what was drawn here."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from fcbench.report import numbers, read_runs, write_report
from fcbench.report.board import Board, make_board
from fcbench.report.claims import OURS, Claim, _all, _duel, claims
from fcbench.report.statistics import Difference, Estimate
from fcbench.report.table import Ranking
from fcbench.store import run_folder
from fcbench.types import Case
from tests.unit.fake_runs import PROMPTS, cases, fake_run, rich_suite, subjects, trio_cases


@pytest.fixture(scope="module")
def board(tmp_path_factory: pytest.TempPathFactory) -> Board:
    out = tmp_path_factory.mktemp("out")
    rich_suite(out, people=12)
    return make_board(read_runs(out, "rich-pair"), "rich-pair", out=out)


def test_claims_are_held_not_held_or_not_measured(board: Board) -> None:
    found = {claim.text: claim for claim in board.claims}
    verdicts = [claim.verdict for claim in board.claims]
    assert verdicts[:2] == ["not measured"] * 2
    assert all(claim.numbers.startswith("needs a GPU") for claim in board.claims[:2])
    assert "dreambooth 211 times" in board.claims[0].numbers or "dreambooth 212 times" in board.claims[0].numbers
    assert found["Nothing is stored for a subject"].verdict == "held"
    assert found["Identity is above that of all tuned methods, one person a picture"].verdict == "not measured"
    assert found["The localisation loss keeps identities from blending"].verdict == "held"
    assert found["Alpha trades identity for prompt consistency"].verdict == "held"


def test_memory_is_judged_where_it_holds_the_weights_as_the_paper_s_does(tmp_path: Path) -> None:
    wanted = cases(subjects(tmp_path, "s", 6))
    options: dict[str, Any] = {"memory_kind": "cuda allocated"}
    fake_run(tmp_path, "s", "fastcomposer", wanted, **options)
    fake_run(tmp_path, "s", "dreambooth", wanted, capabilities={"needs_tuning": True}, **options)
    claim = make_board(read_runs(tmp_path, "s"), "s", out=tmp_path).claims[1]
    assert claim.verdict == "not held"
    assert "dreambooth 1.00 times that" in claim.numbers


def test_costs_are_judged_on_the_methods_that_the_paper_tunes_as_they_are(tmp_path: Path) -> None:
    wanted = cases(subjects(tmp_path, "s", 6))
    gpu: dict[str, Any] = {"memory_kind": "cuda allocated"}
    tuned: dict[str, Any] = {"capabilities": {"needs_tuning": True}, **gpu}
    fake_run(tmp_path, "s", "fastcomposer", wanted, **gpu)
    for method in ("dreambooth-lora", "dreambooth@short"):
        fake_run(tmp_path, "s", method, wanted, fit_seconds=19.6, **tuned)

    def claim() -> Claim:
        return make_board(read_runs(tmp_path, "s"), "s", out=tmp_path).claims[0]

    assert claim().verdict == "not measured"
    fake_run(tmp_path, "s", "dreambooth", wanted, fit_seconds=39.6, **tuned)
    assert claim().verdict == "not held"  # 100 times faster is not 300 times
    fake_run(tmp_path, "s", "dreambooth", wanted, fit_seconds=399.6, **tuned)
    assert claim().verdict == "held"
    assert claim().numbers.endswith(
        "dreambooth 1000 times that; not judged: dreambooth-lora 50.0, dreambooth@short 50.0"
    )


def test_without_tuned_methods_little_is_claimed(tmp_path: Path) -> None:
    fake_run(tmp_path, "s", "fastcomposer", cases(subjects(tmp_path, "s", 6)))
    board = make_board(read_runs(tmp_path, "s"), "s", out=tmp_path)
    assert {claim.verdict for claim in board.claims} == {"held", "not measured"}
    assert all(claim.numbers for claim in claims({"single": board.rankings[0]}, {}))


def test_identity_above_tuned_methods_is_told_from_the_duels(board: Board) -> None:
    ranking = board.rankings[0]
    complete = replace(ranking, rows=tuple(row for row in ranking.rows if row.method != "textual-inversion"))
    claim = claims({"pair": complete}, {})[4]
    assert claim.verdict == "not shown"  # neither above nor below all of them
    assert claim.numbers.count("p ") == 3


def test_above_all_tuned_methods_is_not_measured_where_one_was_left_out(tmp_path: Path) -> None:
    wanted = cases(subjects(tmp_path, "s", 24))
    tuned: dict[str, Any] = {"capabilities": {"needs_tuning": True}}
    fake_run(tmp_path, "s", "fastcomposer", wanted, quality=(0.8, 0.25))
    for method in ("dreambooth", "custom-diffusion"):
        fake_run(tmp_path, "s", method, wanted, quality=(0.2, 0.25), **tuned)
    (ranking,) = make_board(read_runs(tmp_path, "s"), "s", out=tmp_path).rankings
    fewer = replace(ranking, rows=tuple(row for row in ranking.rows if row.method != "dreambooth"))
    assert [claim.verdict for claim in claims({"single": ranking, "pair": ranking}, {})[3:5]] == ["held", "held"]
    left_out = claims({"single": ranking, "pair": fewer}, {})[4]
    assert left_out.verdict == "not measured"
    assert "to custom-diffusion, p " in left_out.numbers
    assert left_out.numbers.endswith("no run of dreambooth here")


def test_of_three_in_a_picture_the_paper_claims_nothing(tmp_path: Path) -> None:
    wanted = trio_cases(subjects(tmp_path, "s", 12))
    tuned: dict[str, Any] = {"capabilities": {"needs_tuning": True}}
    fake_run(tmp_path, "s", "fastcomposer", wanted, quality=(0.8, 0.25), outcomes=(0.9, 0.0, 0, 0, 0, 0))
    fake_run(tmp_path, "s", "fastcomposer@no-localization", wanted, outcomes=(0.1, 0.9, 0, 0, 0, 0))
    fake_run(tmp_path, "s", "dreambooth", wanted, quality=(0.1, 0.25), **tuned)
    found = make_board(read_runs(tmp_path, "s"), "s", out=tmp_path).claims[3:6]
    assert [claim.verdict for claim in found] == ["not measured"] * 3
    assert found[2].numbers == "no suite of pairs was reported here"


def sweep(out: Path, suite: str, *, stack: str = "mini", name: str = "", gain: float = 0.5) -> list[Case]:
    """FastComposer, or a variant of it, with two more alphas."""
    wanted = cases(subjects(out, suite, 6), prompts=PROMPTS[:1])
    for variant, alpha in ((name, 0.7), (f"{name}-alpha-0".strip("-"), 0.0), (f"{name}-alpha-1".strip("-"), 1.0)):
        label = f"fastcomposer@{variant}" if variant else "fastcomposer"
        more: dict[str, Any] = {"stack": stack, "stack_digests": {"checkpoint": f"of {name}"}}
        fake_run(out, suite, label, wanted, quality=(0.2 + gain * alpha, 0.3), options={"alpha": alpha}, **more)
    return wanted


def test_the_claim_on_alpha_reads_the_sister_suite_where_this_one_has_no_curve(tmp_path: Path) -> None:
    sweep(tmp_path, "s-single")
    fake_run(
        tmp_path, "s-pair", "fastcomposer", cases(subjects(tmp_path, "s-pair", 6), pairs=True, prompts=PROMPTS[:1])
    )
    single, pair = read_runs(tmp_path, "s-single"), read_runs(tmp_path, "s-pair")
    own = make_board(single, "s-single", out=tmp_path, beside=pair).claims[6]
    read = make_board(pair, "s-pair", out=tmp_path, beside=single).claims[6]
    assert own.numbers.startswith("alpha 0 to 1: identity +")
    assert (read.verdict, read.numbers) == (own.verdict, f"one person a picture, {own.numbers}")
    assert make_board(pair, "s-pair", out=tmp_path).claims[6].verdict == "not measured"


@pytest.mark.parametrize("suite", ["s-single", "s-pair"])
def test_the_reports_of_single_people_and_of_pairs_both_judge_the_claims_on_both(tmp_path: Path, suite: str) -> None:
    for name in ("s-single", "s-pair"):
        wanted = cases(subjects(tmp_path, name, 6), pairs=name == "s-pair")
        fake_run(tmp_path, name, "fastcomposer", wanted, quality=(0.9, 0.25))
        fake_run(tmp_path, name, "dreambooth", wanted, quality=(0.2, 0.25))
    told = json.loads((write_report(tmp_path, suite).parent / "leaderboard.json").read_text())["claims"]
    assert [claim["verdict"] for claim in told[3:5]] == ["held", "held"]


def test_of_several_curves_the_claim_takes_that_of_the_ranked_method(tmp_path: Path) -> None:
    sweep(tmp_path, "s", name="another", gain=0.3)
    alone = sweep(tmp_path, "s")
    fake_run(tmp_path, "s", "stable-diffusion", alone)
    board = make_board(read_runs(tmp_path, "s"), "s", out=tmp_path)
    curves = {OURS in {step.method for step in curve.steps}: curve for curve in board.frontiers}
    assert set(curves) == {True, False}
    for told in ([curves[True], curves[False]], [curves[False], curves[True]]):
        claim = claims({"single": board.rankings[0]}, {"single": told})[6]
        assert numbers.signed(curves[True].identity.estimate.value) in claim.numbers
        assert numbers.signed(curves[False].identity.estimate.value) not in claim.numbers


def test_a_curve_of_another_setting_is_not_the_ranked_method_s(tmp_path: Path) -> None:
    wanted = sweep(tmp_path, "s", stack="another")
    for label in ("a", "b", "c", "d"):
        fake_run(tmp_path, "s", label, wanted)
    board = make_board(read_runs(tmp_path, "s"), "s", out=tmp_path)
    assert len(board.frontiers) == 1
    assert board.claims[6].verdict == "not measured"
    assert "in the setting of the first ranking" in board.claims[6].numbers


def test_costs_of_pictures_made_elsewhere_are_said_to_be_unmeasured(tmp_path: Path) -> None:
    wanted = cases(subjects(tmp_path, "s", 2), prompts=PROMPTS[:1])
    fake_run(tmp_path, "s", "fastcomposer", wanted, costs_measured=False)
    fake_run(tmp_path, "s", "dreambooth", wanted, fit_seconds=9.0, capabilities={"needs_tuning": True})
    found = make_board(read_runs(tmp_path, "s"), "s", out=tmp_path).claims[:3]
    assert {claim.verdict for claim in found} == {"not measured"}
    assert {claim.numbers for claim in found} == {
        "the pictures of fastcomposer were made elsewhere: their costs were not measured"
    }


def test_less_blending_is_told_on_the_same_pictures(tmp_path: Path) -> None:
    wanted = cases(subjects(tmp_path, "s", 8), pairs=True)
    outcomes = (0.5, 0.1, 0.0, 0.0, 0.0, 0.0)
    fake_run(tmp_path, "s", "fastcomposer", wanted, outcomes=outcomes)
    fake_run(tmp_path, "s", "fastcomposer@no-localization", wanted, outcomes=(0.1, 0.9, *outcomes[2:]))

    def claim() -> Claim:
        return make_board(read_runs(tmp_path, "s"), "s", out=tmp_path).claims[5]

    assert claim().verdict == "held"
    assert re.search(r"without: \+\d\d\.\d percentage points \[\+\d+\.\d, \+\d+\.\d\], p ", claim().numbers)
    shares = write_report(tmp_path, "s").with_suffix(".md").read_text()
    assert re.search(r"\| \d+\.\d % \\\[\d+\.\d %, \d+\.\d %\\\] of 48 \|", shares)
    fake_run(tmp_path, "s", "fastcomposer@no-localization", wanted, outcomes=outcomes)
    assert claim().verdict == "not shown"
    fake_run(tmp_path, "s", "fastcomposer@no-localization", wanted, outcomes=(0.9, 0.0, *outcomes[2:]))
    assert claim().verdict == "not held"
    fake_run(tmp_path, "s", "fastcomposer@no-localization", wanted, outcomes=outcomes, suite_digest="6" * 64)
    assert claim().verdict == "not measured"


def test_a_claim_on_all_tuned_methods_is_judged_on_the_nearest(tmp_path: Path) -> None:
    wanted = cases(subjects(tmp_path, "s", 6))
    gpu: dict[str, Any] = {"memory_kind": "cuda allocated"}
    tuned: dict[str, Any] = {"capabilities": {"needs_tuning": True}, **gpu}
    fake_run(tmp_path, "s", "fastcomposer", wanted, **gpu)
    fake_run(tmp_path, "s", "dreambooth", wanted, fit_seconds=399.6, **tuned)
    whole = make_board(read_runs(tmp_path, "s"), "s", out=tmp_path).claims[0]
    assert whole.verdict == "held"
    fake_run(tmp_path, "s", "textual-inversion", wanted, fit_seconds=39.6, **tuned)
    assert make_board(read_runs(tmp_path, "s"), "s", out=tmp_path).claims[0].verdict == "not held"
    half = {wanted[0].id: "cut off"}
    run_folder(tmp_path, "s", "textual-inversion").row(wanted[0].id).unlink()
    fake_run(tmp_path, "s", "textual-inversion", wanted, fit_seconds=39.6, failures=half, **tuned)
    assert make_board(read_runs(tmp_path, "s"), "s", out=tmp_path).claims[0].verdict == "held"  # it is not complete


def test_of_several_verdicts_the_worst_is_that_of_all() -> None:
    assert _all(["held", "not shown", "not held"]) == "not held"
    assert _all(["held", "not shown"]) == "not shown"
    assert _all(["held", "held"]) == "held"


def test_a_duel_told_from_the_other_side_has_its_interval_turned() -> None:
    board = Ranking("", (), "", (), {("a", "b"): (Difference(Estimate(0.2, 0.1, 0.3), 0.01), 0.01)})
    told, verdict = _duel(board, "b", "a") or ("", "")
    assert verdict == "not held"
    assert told.startswith(f"{numbers.signed(-0.2)} {numbers.interval(-0.3, -0.1)} to a, p ")
    assert (_duel(board, "a", "b") or ("", ""))[1] == "held"
