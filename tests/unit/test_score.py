from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import fields, replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest

from fcbench import cli
from fcbench.errors import DataError, MethodError, UsageError
from fcbench.files import digest_file, write_image
from fcbench.metrics.contract import FIXED_COLUMNS
from fcbench.report import write_report
from fcbench.report.costs import Costs
from fcbench.report.runs import read_run
from fcbench.report.stale import stale
from fcbench.report.table import Row
from fcbench.report.to_parquet import FIXED
from fcbench.run.cases import photo_digests
from fcbench.score import chosen_metrics, metrics_of, needs_scoring, score_run
from fcbench.stacks import load_stack
from fcbench.store import RunFolder, judging_stack
from fcbench.types import Generation, Score, Stack
from tests.unit.fake_runs import cases, fake_run, picture, subjects

DIGESTS = {"faces": "f", "clip": "c", "unet": "u"}


class Toy:
    name = "toy"
    unit = "points"
    range = (0.0, float("inf"))
    higher_is_better = True
    version = 1

    def __init__(self, row: Callable[[], dict[str, Score]] = lambda: {"toy": Score(1.0)}) -> None:
        self._row = row
        self._calls = 0

    @property
    def calls(self) -> int:
        return self._calls

    def __call__(self, stack: Stack, generations: Sequence[Generation]) -> list[dict[str, Score]]:
        self._calls += 1
        return [self._row() for _ in generations]


def stack(**changes: str) -> Stack:
    return Stack("toy", {}, 64, digests=DIGESTS | changes)


@pytest.fixture
def folder(tmp_path: Path) -> RunFolder:
    return fake_run(tmp_path, "suite", "method", cases(subjects(tmp_path, "suite", 2)), scored=False)


def test_scores_are_committed_for_every_case(folder: RunFolder) -> None:
    score_run(folder, stack(), {"toy": Toy()})
    header, rows = folder.read_scores("toy")
    assert len(rows) == 12
    assert header["judges"] == {"faces": "f", "clip": "c"}
    assert header["range"] == [0.0, None]
    assert "ranges" not in header


def test_a_metric_may_tell_the_ranges_of_its_further_columns(folder: RunFolder) -> None:
    class Two(Toy):
        name = "prompt"
        ranges: ClassVar = {"other": (0.0, 1.0)}

    two = Two(lambda: {"prompt": Score(1.0), "other": Score(0.5)})
    score_run(folder, stack(), {"identity": columns("identity"), "prompt": two})
    run = read_run(folder)
    assert run.bounds("other") == (0.0, 1.0)
    assert run.bounds("none such") is None


def columns(name: str) -> Toy:
    """A metric with the column that it is named after alone."""
    toy = Toy(lambda: {name: Score(1.0)})
    toy.name = name
    return toy


USUAL = {name: columns(name) for name in ("identity", "prompt")}
HINT = "dino: out of date; run: fcbench score --suite suite --metric dino"


def test_an_optional_metric_of_earlier_pictures_is_left_out_with_a_note_until_it_is_asked_again(
    folder: RunFolder, tmp_path: Path
) -> None:
    score_run(folder, stack(), {**USUAL, "dino": columns("dino")})
    folder.write_facts("dino", {"of": "these pictures"})
    assert {"identity", "prompt", "dino"} == read_run(folder).scores.keys()
    page = write_report(tmp_path, "suite")
    assert stale(page.parent, tmp_path, {}) == []
    write_image(folder.generations()[0].image, picture(7, size=32))
    score_run(folder, stack(), USUAL)
    run = read_run(folder)
    assert (run.scores.keys(), run.headers.keys(), run.facts) == (USUAL.keys(), USUAL.keys(), {})
    assert any(HINT in reason for reason in stale(page.parent, tmp_path, {}))
    write_report(tmp_path, "suite")
    for written in ("html", "md", "csv", "tex"):
        assert HINT in page.with_suffix(f".{written}").read_text().replace("-{}", "-"), written
    assert "dino_low" not in page.with_suffix(".csv").read_text()
    score_run(folder, stack(), {**USUAL, "dino": columns("dino")})
    assert read_run(folder).outdated == ()


def test_an_optional_metric_of_a_run_that_went_on_does_not_keep_it_from_the_tables(folder: RunFolder) -> None:
    late = folder.generations()[-1]
    folder.row(late.case.id).unlink()
    score_run(folder, stack(), {**USUAL, "dino": columns("dino"), "mine": columns("mine")})
    folder.commit(late)
    score_run(folder, stack(), USUAL)
    run = read_run(folder)
    assert run.is_complete
    assert run.scores.keys() == USUAL.keys()
    mine = HINT.replace("--metric dino", f"--metric {__name__}:Toy").replace("dino:", "mine:")
    out = folder.path.parents[2]
    assert run.outdated == (f"{HINT} --out {out}", f"{mine} --out {out}")


def test_what_is_scored_is_left_alone(folder: RunFolder) -> None:
    toy = Toy()
    score_run(folder, stack(), {"toy": toy})
    score_run(folder, stack(unet="another model drew, the same one judges"), {"toy": toy})
    assert toy.calls == 1
    assert needs_scoring(folder, {"toy": toy}, DIGESTS) == []


def test_another_judge_scores_anew(folder: RunFolder) -> None:
    score_run(folder, stack(), {"toy": Toy()})
    assert needs_scoring(folder, {"toy": Toy()}, DIGESTS | {"clip": "other"}) == ["toy"]


def test_another_version_of_the_metric_scores_anew(folder: RunFolder) -> None:
    score_run(folder, stack(), {"toy": Toy()})
    later = Toy()
    later.version = 2
    assert needs_scoring(folder, {"toy": later}, DIGESTS) == ["toy"]


def test_another_picture_scores_anew(folder: RunFolder) -> None:
    score_run(folder, stack(), {"toy": Toy()})
    write_image(folder.generations()[0].image, picture(77))
    assert needs_scoring(folder, {"toy": Toy()}, DIGESTS) == ["toy"]


@pytest.mark.parametrize("place", [0, 1])
def test_another_photo_of_a_subject_scores_anew(tmp_path: Path, place: int) -> None:
    people = subjects(tmp_path, "suite", 2)
    further = tmp_path / "further.png"
    write_image(further, picture(76))
    people = [replace(person, images=(*person.images, further)) for person in people]
    folder = fake_run(tmp_path, "suite", "method", cases(people))
    score_run(folder, stack(), {"toy": Toy()})
    write_image(folder.generations()[0].case.subjects[0].images[place], picture(77))
    assert needs_scoring(folder, {"toy": Toy()}, DIGESTS) == ["toy"]


def test_another_photo_than_the_pictures_were_drawn_from_is_named(tmp_path: Path) -> None:
    people = subjects(tmp_path, "suite", 2)
    folder = fake_run(tmp_path, "suite", "method", cases(people), photos=photo_digests(people))
    score_run(folder, stack(), {"toy": Toy()})
    photo = people[0].images[0]
    write_image(photo, picture(77))
    with pytest.raises(DataError, match=rf"^{photo}: another photo than .*method was drawn from; put that one back$"):
        needs_scoring(folder, {"toy": Toy()}, DIGESTS)


def test_an_edited_metric_of_ones_own_is_out_of_date_and_not_imported_for_that(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, folder: RunFolder
) -> None:
    monkeypatch.chdir(tmp_path)
    script = tmp_path / "looked_at.py"
    script.write_text("raise SystemExit('imported')")
    score_run(folder, stack(), USUAL | {"own": columns("own")})
    header, rows = folder.read_scores("own")
    code = {"plugin": "looked_at:Own", "digest": digest_file(script)}
    folder.write_scores(
        "own", [*rows.items()], {key: value for key, value in header.items() if key != "metric"} | {"code": code}
    )
    assert read_run(folder).outdated == ()
    assert "own" not in metrics_of(folder)
    script.write_text("raise SystemExit('edited')")
    out = folder.path.parents[2]
    told = f"own: out of date; run: fcbench score --suite suite --metric looked_at:Own --out {out}"
    assert read_run(folder).outdated == (told,)
    script.unlink()
    assert read_run(folder).outdated == ()  # nobody can tell


def test_a_named_metric_is_scored_again_where_its_models_are_here(
    folder: RunFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("dino", "sharpness"):
        score_run(folder, stack(), {name: columns(name)})
    assert "sharpness" in metrics_of(folder)
    assert "dino" not in metrics_of(folder)  # no model of it in the cache


def test_the_stack_that_judges_is_found_from_another_folder_and_after_a_move(tmp_path: Path) -> None:
    config = {"stack_file": "my.yaml", "stack_place": str(tmp_path / "my.yaml")}
    assert judging_stack(config) == "my.yaml"
    (tmp_path / "my.yaml").touch()
    assert judging_stack(config) == str(tmp_path / "my.yaml")
    assert judging_stack({"stack_file": "mini", "stack_place": None}) == judging_stack({"stack_file": "mini"}) == "mini"


def test_a_picture_that_was_exchanged_puts_its_leaderboard_out_of_date(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = fake_run(tmp_path, "suite", "method", cases(subjects(tmp_path, "suite", 6)), stack_file="mini")
    mini = load_stack("mini")
    monkeypatch.setattr("fcbench.score.metrics_of", lambda folder: USUAL)
    monkeypatch.setattr("fcbench.score.chosen_metrics", lambda named: {})
    score_run(folder, mini, USUAL)
    write_report(tmp_path, "suite")
    words = ["report", "--check", "--suite", "suite", "--out", str(tmp_path)]
    assert cli.main(words) == 0, capsys.readouterr().err
    write_image(folder.generations()[0].image, picture(7))
    assert cli.main(words) == 1
    assert "method: identity, prompt would be scored anew; run: fcbench report --suite suite" in capsys.readouterr().err


def test_random_weights_are_never_scored(tmp_path: Path) -> None:
    wanted = cases(subjects(tmp_path, "suite", 2))
    folder = fake_run(tmp_path, "suite", "method", wanted, scored=False, random_weights=True)
    toy = Toy()
    score_run(folder, stack(), {"toy": toy})
    assert toy.calls == 0


def test_a_missing_picture_is_named(folder: RunFolder) -> None:
    image = folder.generations()[0].image
    image.unlink()
    with pytest.raises(DataError, match=image.name):
        score_run(folder, stack(), {"toy": Toy()})


@pytest.mark.parametrize(
    ("row", "message"),
    [
        (lambda: {"toy": Score(float("nan"))}, "nan as toy"),
        (lambda: {"toy": Score(None)}, "no note"),
        (lambda: {"other": Score(1.0)}, "no column 'toy'"),
        (lambda: 1 / 0, "ZeroDivisionError"),
    ],
)
def test_a_metric_that_breaks_its_promise_commits_nothing(
    folder: RunFolder, row: Callable[[], dict[str, Score]], message: str
) -> None:
    with pytest.raises(MethodError, match=message):
        score_run(folder, stack(), {"toy": Toy(row)})
    assert folder.read_scores("toy") == ({}, {})


@pytest.mark.parametrize(
    ("column", "message"),
    [
        ("identity", ": identity has a column 'identity'"),
        ("identity_low", ": identity has a column 'identity_low'"),
        ("seed", " has a column 'seed': its tables would have two called 'seed'"),
        ("single", " has a column 'single': its tables would have two called 'single_high'"),
        ("toy_n", " has a column 'toy': its tables would have two called 'toy_n'"),
    ],
)
def test_a_metric_may_not_call_a_column_as_another_or_a_table_calls_its_own(
    folder: RunFolder, column: str, message: str
) -> None:
    score_run(folder, stack(), {"identity": USUAL["identity"]})
    greedy = Toy(lambda: {"toy": Score(1.0), column: Score(1.0)})
    with pytest.raises(MethodError, match=f"metric toy{message}"):
        score_run(folder, stack(), {"toy": greedy})
    assert folder.read_scores("toy") == ({}, {})
    score_run(folder, stack(), {"identity": columns("identity")})  # its own


def test_what_tables_call_their_columns_is_known() -> None:
    costs = {field.name for field in fields(Costs)}
    rows = {field.name for field in fields(Row)} - {"scores", "costs", "further"}
    assert set(FIXED.names) | {"notes"} | costs | rows <= FIXED_COLUMNS


def test_asking_what_to_score_and_reporting_load_no_torch() -> None:
    code = (
        "import sys; import fcbench.score, fcbench.report.to_html, fcbench.report.table, fcbench.metrics.identity,"
        " fcbench.metrics.prompt; print(sorted({'torch', 'scipy', 'insightface'} & sys.modules.keys()))"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"


@pytest.mark.parametrize(
    ("made", "message"),
    [
        ({"toy": Score(np.float64("inf"))}, "gave inf as toy"),
        ({"toy": Score(True)}, "gave True as toy of .*, which is no number"),
        ({"toy": 0.5}, "gave a float as toy of .*: put it into a Score"),
        (None, "gave None for p000"),
        ({"toy": Score(-0.5)}, r"gave -0.5 as toy of .*, which it says lies in \[0, inf\]"),
    ],
)
def test_what_is_no_score_is_said_in_one_line(folder: RunFolder, made: Any, message: str) -> None:
    with pytest.raises(MethodError, match=f"^metric toy {message}"):
        score_run(folder, stack(), {"toy": Toy(lambda: made)})


def test_a_number_of_numpy_is_a_number(folder: RunFolder) -> None:
    score_run(folder, stack(), {"toy": Toy(lambda: {"toy": Score(np.float32(0.25))})})  # type: ignore[arg-type]
    assert {type(row["toy"].value) for row in folder.read_scores("toy")[1].values()} == {float}


def test_metrics_of_ones_own_go_by_their_name_and_their_code(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, folder: RunFolder
) -> None:
    code = "from fcbench.types import Score\nclass Colour:\n    name, unit, range = {!r}, '', (0, 1)\n"
    code += "    higher_is_better = True\n"
    code += "    def __call__(self, stack, generations): return [{{self.name: Score({})}} for _ in generations]\n"
    monkeypatch.chdir(tmp_path)
    for module, name in (("paints_a", "warm"), ("paints_b", "warm"), ("paints_c", "identity"), ("paints_d", "cold")):
        (tmp_path / f"{module}.py").write_text(code.format(name, 0.5))
    chosen = chosen_metrics(["paints_a:Colour", "paints_d:Colour", "paints_a:Colour"])
    assert {"warm", "cold"} < set(chosen)
    for other in ("paints_b", "paints_c"):
        with pytest.raises(UsageError, match=rf"^{other}:Colour: another metric is called '(warm|identity)'"):
            chosen_metrics(["paints_a:Colour", f"{other}:Colour"])
    warm = {"warm": chosen["warm"]}
    score_run(folder, stack(), warm)
    assert folder.read_scores("warm")[0]["code"]["plugin"] == "paints_a:Colour"
    assert needs_scoring(folder, warm, DIGESTS) == []
    (tmp_path / "paints_a.py").write_text(code.format("warm", 0.75))
    assert needs_scoring(folder, warm, DIGESTS) == ["warm"]


def test_a_named_score_stands_in_every_table_with_its_unit(folder: RunFolder, tmp_path: Path) -> None:
    named = Toy(lambda: {"own": Score(0.5), "toy": Score(0.25), "toy_part": Score(0.75)})
    score_run(folder, stack(), {**USUAL, "toy": named})
    assert read_run(folder).further == {"toy": "toy ↑, points", "own": "own"}
    page = write_report(tmp_path, "suite")
    assert (
        "| method | own | toy ↑, points |\n| :-- | --: | --: |\n| method | 0.500" in page.with_suffix(".md").read_text()
    )
    assert re.search(
        r"toy ↑, points.*<td data-value=\"0\.25\">0\.250", page.with_suffix(".html").read_text(), re.DOTALL
    )
    assert "toy_part_low" in page.with_suffix(".csv").read_text()
