"""What fails a case, a subject or a whole run, and what is refused before anything is drawn."""

from __future__ import annotations

from pathlib import Path

import pytest

from fcbench.errors import FcbenchError, MethodError, MissingError, UsageError, WeightsError
from fcbench.files import read_json
from fcbench.run.possible import refuse_any_impossible
from tests.unit.toy_run import Toy


def test_a_failing_subject_leaves_the_others_alone(toy: Toy) -> None:
    folder = toy(fails_on="bo")
    assert [row.case.subjects[0].id for row in folder.generations()] == ["ann", "ann", "cy", "cy"]
    assert folder.failures() == dict.fromkeys(["bo.snow.0", "bo.red-hat.0"], "ValueError: a toy's failure")
    assert {"event": "failed", "cases": 2, "message": "bo: ValueError: a toy's failure"} in toy.events
    assert toy.events[-1] == {"event": "end", "missing": 2}


def test_the_first_subject_may_fail_before_the_method_is_warm(toy: Toy) -> None:
    folder = toy(fails_on="ann")
    assert len(folder.generations()) == 4
    assert read_json(folder.config)["warm_up_seconds"] > 0


def test_memory_that_runs_out_is_a_failure_of_its_own_name(toy: Toy) -> None:
    assert set(toy(fails_on="bo", fails_with="MemoryError").failures().values()) == {"out of memory"}


def test_a_method_that_ends_the_program_fails_its_own_cases_alone(toy: Toy) -> None:
    folder = toy(fails_on="bo", fails_with="SystemExit")
    assert (len(folder.generations()), set(folder.failures().values())) == (4, {"SystemExit: 2"})


def test_fail_fast_stops_at_the_first_failure(toy: Toy) -> None:
    with pytest.raises(MethodError, match="bo: ValueError: a toy's failure"):
        toy(fails_on="bo", fail_fast=True)


@pytest.mark.parametrize(
    ("kind", "error", "message"),
    [
        ("MissingError", MissingError, "no weights"),
        ("WeightsError", WeightsError, "x.bin: 1 missing"),
        ("disk-full", FcbenchError, "no space left on the disk of"),
        ("torch-disk-full", FcbenchError, "no space left on the disk of"),
    ],
)
def test_what_stops_every_subject_alike_stops_the_run(
    toy: Toy, kind: str, error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message) as caught:
        toy(fails_on="bo", fails_with=kind)
    assert not isinstance(caught.value, MethodError)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ("too-few", "0 pictures for 2 cases"),
        ("float", "gave float32 (8, 8, 3) for an RGB picture, uint8 (8, 8, 3)"),
        ("large", "gave uint8 (10, 10, 3)"),
        ("none", "gave NoneType for a list of 2 pictures"),
    ],
)
def test_pictures_that_are_none_are_a_failure(toy: Toy, wrong: str, message: str) -> None:
    folder = toy(wrong=wrong)
    failures = folder.failures()
    assert len(failures) == 6
    assert "in _check" in read_json(folder.failure("ann.snow.0"))["trace"]
    assert all(message in reason for reason in failures.values())


def test_too_many_subjects_are_refused_before_anything_is_drawn(toy: Toy, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="draws at most 1 in a picture; suite toy wants 2"):
        toy.work({"group": 2, "pairs": 2}, "Loner", {})
    assert not (tmp_path / "out" / "runs").exists()


def test_too_few_photos_are_refused_before_anything_is_drawn(toy: Toy, tmp_path: Path) -> None:
    (tmp_path / "photos" / "cy" / "1.png").unlink()
    with pytest.raises(UsageError, match="wants 2 photos of each subject; suite toy has 1 of cy"):
        toy("Tuned")
    assert not (tmp_path / "out" / "runs").exists()


def test_of_several_runs_all_are_looked_at_before_the_first(toy: Toy, tmp_path: Path) -> None:
    methods, out = ["run_toys:Painter", "run_toys:Tuned"], tmp_path / "out"
    suites = [toy.suite({}), toy.suite({"name": "toy-pair", "group": 2, "pairs": 2})]
    refuse_any_impossible(suites, methods, [{}], out)
    with pytest.raises(UsageError, match="Loner draws at most 1 in a picture; suite toy-pair wants 2"):
        refuse_any_impossible(suites, [*methods, "run_toys:Loner"], [{}], out)
    with pytest.raises(UsageError, match="Painter has no option 'shades'"):
        refuse_any_impossible(suites, methods[:1], [{}, {"shades": "3"}], out)
