"""Methods here against an earlier report, of which neither pictures nor models are at hand."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from fcbench import cli
from fcbench.errors import DataError, UsageError
from fcbench.files import write_json
from fcbench.report import publish, read_runs, write_report
from fcbench.report.against import against, read_earlier
from fcbench.report.manifest import MANIFEST
from fcbench.report.table import compare, rankings
from fcbench.report.to_parquet import GENERATIONS
from tests.unit.fake_runs import cases, fake_run, subjects


@pytest.fixture
def earlier(tmp_path: Path) -> Path:
    """A published report of fastcomposer, dreambooth, a sweep and a yardstick, whose runs are gone."""
    out = tmp_path / "theirs"
    wanted = cases(subjects(out, "s", 8))
    failed = {wanted[2].id: "MethodError: nan"}
    fake_run(out, "s", "fastcomposer", wanted, quality=(0.4, 0.25), failures=failed)
    fake_run(out, "s", "dreambooth", wanted, quality=(0.2, 0.2), fit_seconds=80)
    fake_run(out, "s", "real-photos", wanted, quality=(0.9, 0.2), sanity=True)
    fake_run(out, "s", "fastcomposer@alpha-0.6", wanted, options={"alpha": 0.6})
    write_report(out, "s")
    folder = publish(out, "s", tmp_path / "published").parent
    shutil.rmtree(out)
    return folder


def draw(out: Path, *labels: str, **config: Any) -> None:
    for label in labels:
        fake_run(out, "s", label, cases(subjects(out, "s", 8)), quality=(0.5, 0.25), device="Apple M2", **config)


def test_a_report_is_read_back_as_it_was_scored(tmp_path: Path) -> None:
    wanted = cases(subjects(tmp_path, "s", 6), pairs=True)
    fake_run(tmp_path, "s", "a", wanted, failures={wanted[0].id: "late"})
    (run,) = read_runs(tmp_path, "s")
    (again,) = read_earlier(write_report(tmp_path, "s").parent)
    assert again.failures == run.failures == {wanted[0].id: "late"}
    assert {c: again.values(c) for c in run.scores} == {c: run.values(c) for c in run.scores}
    assert again.headers == run.headers
    assert [case.id for case in again.cases.values()] == [case.id for case in run.cases.values()]


def test_methods_meet_their_earlier_selves_and_those_not_drawn_here(tmp_path: Path, earlier: Path) -> None:
    draw(tmp_path, "fastcomposer", "mine")
    runs = read_runs(tmp_path, "s")
    found = against(runs, rankings(runs, "s"), earlier, "s")
    pairs = [(c.method, c.other) for c in found.comparisons if c.column == "identity"]
    assert pairs == [("fastcomposer", "fastcomposer"), ("fastcomposer", "dreambooth"), ("mine", "dreambooth")]
    assert found.devices == ("AMD EPYC 9354, 2 threads",)
    then = {run.label: run for run in read_earlier(earlier / "s")}
    ours, theirs = (of["fastcomposer"].values("identity") for of in ({run.label: run for run in runs}, then))
    told = found.comparisons[0].difference.estimate
    assert told.count == len(theirs) == len(ours) - 1
    assert told.value == pytest.approx(sum(ours[case] - theirs[case] for case in theirs) / len(theirs))
    assert compare(runs[0], then["fastcomposer"], "identity").estimate == told


def test_earlier_pictures_that_were_made_elsewhere_name_no_device(tmp_path: Path) -> None:
    wanted = cases(subjects(tmp_path / "theirs", "s", 8))
    fake_run(tmp_path / "theirs", "s", "b", wanted, costs_measured=False, device=None)
    write_report(tmp_path / "theirs", "s")
    draw(tmp_path, "mine")
    runs = read_runs(tmp_path, "s")
    found = against(runs, rankings(runs, "s"), tmp_path / "theirs" / "reports", "s")
    assert found.devices == ()
    assert f"the report in {found.place}: quality alone" in found.reading


def test_what_is_not_as_it_was_then_is_told_of_methods_that_meet_their_earlier_selves(tmp_path: Path) -> None:
    theirs, wanted = tmp_path / "theirs", cases(subjects(tmp_path / "theirs", "s", 8))
    then: dict[str, Any] = {
        "options": {"guidance": 3.0, "steps": 20},
        "stack_digests": {"unet": "a" * 64, "vae": "b" * 64},
    }
    for label in ("fastcomposer", "dreambooth", "textual-inversion"):
        fake_run(theirs, "s", label, wanted, **then)
    write_report(theirs, "s")
    now: dict[str, Any] = {
        "options": {"guidance": 5.0, "steps": 20},
        "stack_digests": {"unet": "c" * 64, "vae": "b" * 64},
    }
    draw(tmp_path, "fastcomposer", "mine", **now)
    draw(tmp_path, "dreambooth", **then)
    runs = read_runs(tmp_path, "s")
    found = against(runs, rankings(runs, "s"), theirs / "reports", "s")
    others = [
        f"{label}: drawn from other weights or defaults than textual-inversion" for label in ("fastcomposer", "mine")
    ]
    assert found.changed == ("fastcomposer: options.guidance: 3.0 there, 5.0 now; other weights of unet", *others)
    assert found.reading.endswith(f"its earlier self. {'. '.join(found.changed)}.")


def test_the_report_tells_them_in_all_its_files(tmp_path: Path, earlier: Path) -> None:
    draw(tmp_path, "mine")
    folder = write_report(tmp_path, "s", earlier=earlier).parent
    told = json.loads((folder / "leaderboard.json").read_text())["against"]
    assert [c["other"] for c in told["comparisons"]] == ["dreambooth", "fastcomposer"] * 2
    words = "quality alone, on equal cases"
    page = (folder / "leaderboard.html").read_text()
    assert words in page
    assert "Differences to" not in page  # one method here: what its p is stands nowhere above
    assert "Holm-corrected for the number of pairs of methods" in page
    assert '<a href="#against">' in page
    markdown = (folder / "leaderboard.md").read_text()
    assert words in markdown
    assert markdown.count("| mine | dreambooth | identity | +0.") == 1
    assert f"--against {earlier}" in markdown.replace("\\", "")


def test_what_does_not_compare_is_refused(tmp_path: Path, earlier: Path, capsys: pytest.CaptureFixture[str]) -> None:
    draw(tmp_path / "a", "mine", suite_digest="6" * 64)
    with pytest.raises(DataError, match="other people or prompts"):
        write_report(tmp_path / "a", "s", earlier=earlier)
    draw(tmp_path / "b", "mine")
    folder = earlier / "s"
    manifest = json.loads((folder / MANIFEST).read_text())
    manifest["runs"]["dreambooth"]["scores"]["identity"]["judges"] = {"faces": "e" * 64}
    write_json(folder / MANIFEST, manifest)
    manifest["runs"]["dreambooth"]["scores"]["sharpness"] = {"version": 0}  # not compared, and so no hindrance
    with pytest.raises(DataError, match="identity of mine and of the earlier dreambooth: different judges"):
        write_report(tmp_path / "b", "s", earlier=earlier)
    draw(tmp_path / "c", "dreambooth")
    with pytest.raises(DataError, match="identity of dreambooth and of the earlier dreambooth: different judges"):
        write_report(tmp_path / "c", "s", earlier=earlier)
    (folder / GENERATIONS).write_bytes(b"PAR1")
    with pytest.raises(DataError, match="not the file that manifest"):
        write_report(tmp_path / "b", "s", earlier=earlier)
    (folder / GENERATIONS).unlink()
    with pytest.raises(UsageError, match="takes a folder of reports"):
        write_report(tmp_path / "b", "s", earlier=earlier)
    assert cli.main(["report", "--against", "published", "--out", str(tmp_path / "b")]) == 2
    assert "reports/s/manifest.json: not there" in capsys.readouterr().err
