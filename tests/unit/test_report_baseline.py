"""Which run all methods of a report are compared with."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from fcbench import cli
from fcbench.errors import UsageError
from fcbench.report import read_runs, stale_reports, write_report
from fcbench.report.table import compare, rankings
from tests.unit.fake_runs import cases, fake_run, subjects

LABELS = ("stable-diffusion", "fastcomposer", "fastcomposer@wide", "fastcomposer@narrow")


@pytest.fixture
def out(tmp_path: Path) -> Path:
    wanted = cases(subjects(tmp_path, "s", 8))
    for place, label in enumerate(LABELS):
        fake_run(tmp_path, "s", label, wanted, quality=(0.2 + 0.1 * place, 0.25))
    fake_run(tmp_path, "s", "real-photos", wanted, quality=(0.9, 0.2), sanity=True)
    return tmp_path


@pytest.mark.parametrize("baseline", ["fastcomposer@wide", "real-photos"])
def test_every_method_is_compared_with_the_named_run(out: Path, baseline: str) -> None:
    runs = {run.label: run for run in read_runs(out, "s")}
    (ranking,) = rankings([*runs.values()], "s", baseline=baseline)
    assert ranking.baseline == baseline
    found = {c.method: c.difference for c in ranking.comparisons if c.column == "identity"}
    assert found == {label: compare(runs[label], runs[baseline], "identity") for label in LABELS if label != baseline}


def test_where_it_was_not_drawn_methods_are_compared_with_the_usual_one(out: Path) -> None:
    elsewhere = cases(subjects(out, "s", 8))
    fake_run(out, "s", "dreambooth", elsewhere, device="another")
    fake_run(out, "s", "custom-diffusion", elsewhere, device="another")
    bases = {r.title: r.baseline for r in rankings(read_runs(out, "s"), "s", baseline="fastcomposer@wide")}
    assert sorted(bases.values()) == ["custom-diffusion", "fastcomposer@wide"]


def test_the_report_says_with_which_and_how_it_was_made(out: Path, capsys: pytest.CaptureFixture[str]) -> None:
    page = write_report(out, "s", baseline="fastcomposer@wide")
    assert "<h3>Differences to fastcomposer@wide</h3>" in page.read_text()
    told = json.loads((page.parent / "leaderboard.json").read_text())
    assert told["rankings"][0]["baseline"] == "fastcomposer@wide"
    manifest = json.loads((page.parent / "manifest.json").read_text())
    assert manifest["command"].startswith("fcbench report --suite s --baseline fastcomposer@wide")
    assert stale_reports(out, {}, ["s"]) == []
    assert cli.main(["report", "--check", "--baseline", "fastcomposer", "--out", str(out)]) == 2
    assert "--check writes nothing: leave --baseline away" in capsys.readouterr().err


def test_a_run_that_is_not_there_is_refused_with_a_hint(out: Path) -> None:
    with pytest.raises(UsageError, match="--baseline fastcomposer@wid: no such run of s: did you mean"):
        write_report(out, "s", baseline="fastcomposer@wid")


def test_a_suite_without_the_named_run_is_refused_with_the_others_names(
    out: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    fake_run(out, "t", "fastcomposer", cases(subjects(out, "t", 4)))
    assert cli.main(["report", "--baseline", "fastcomposer@wide", "--out", str(out)]) == 2
    told = capsys.readouterr().err
    assert "no such run of t: did you mean fastcomposer?; the others alone: --suite s" in told


def test_runs_without_a_report_are_not_up_to_date(out: Path) -> None:
    write_report(out, "s")
    fake_run(out, "t", "fastcomposer", cases(subjects(out, "t", 4)))
    assert stale_reports(out, {}, ["s"]) == []
    wanted = [f"{out / 'runs' / 't'}: no leaderboard of these runs; make one with: fcbench report --suite t"]
    assert [line for line in stale_reports(out, {}) if "/t" in line] == wanted


def test_a_run_that_is_not_there_is_refused_before_anything_is_scored(
    out: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("fcbench.cli.reports._score", lambda *arguments: pytest.fail("it was scored"))
    assert cli.main(["report", "--baseline", "fastcomposer@wid", "--out", str(out)]) == 2
    assert "no such run of s: did you mean fastcomposer@wide?" in capsys.readouterr().err
