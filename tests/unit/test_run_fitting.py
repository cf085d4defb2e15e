"""What a run prepares, fits once for all pictures of a subject, joins, keeps and goes on with."""

from __future__ import annotations

import json
import sys
import threading
import time
from contextlib import ExitStack
from dataclasses import make_dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fcbench import store
from fcbench.config import Suite
from fcbench.files import locked, write_image
from fcbench.run import calls
from fcbench.run.worker import work
from fcbench.store import RunFolder
from tests.unit.toy_run import PROMPTS, toy_job

NOUNS = {"ann": "woman", "bo": "man", "cy": "man"}


class Toy:
    """Runs of the toy joiner, and what it noted since the last look."""

    def __init__(self, path: Path) -> None:
        self._path, self._seen = path, 0
        for name in NOUNS:
            for view in range(2):
                shade = np.full((4, 4, 3), 10 * view + len(name), np.uint8)
                write_image(path / "photos" / name / f"{view}.png", shade)

    def __call__(
        self, name: str = "alone", *, keep_fits: bool = False, options: dict[str, str] | None = None, **changes: Any
    ) -> RunFolder:
        people = {"source": "folder", "path": str(self._path / "photos"), "nouns": NOUNS}
        suite = Suite.model_validate({"name": name, "subjects": people, "prompts": PROMPTS} | changes)
        job = toy_job(suite, "Joiner", self._path, options=options or {}, keep_fits=keep_fits)
        work(job, lambda event: None)
        return store.run_folder(self._path / "out", name, "Joiner")

    def notes(self) -> list[str]:
        lines = (self._path / "fits.txt").read_text().splitlines()
        new, self._seen = lines[self._seen :], len(lines)
        return new


@pytest.fixture
def toy(toy_methods: Path) -> Toy:
    return Toy(toy_methods)


def test_each_class_word_is_prepared_once_and_each_subject_fitted_once(toy: Toy) -> None:
    toy()
    assert toy.notes() == ["prepare woman fresh", "fit ann fresh", "prepare man fresh", "fit bo fresh", "fit cy fresh"]
    toy("pairs", group=2, pairs=3)
    notes = toy.notes()
    assert [note for note in notes if note.startswith("join")] == ["join ann+bo", "join cy+ann", "join bo+cy"]
    assert not [note for note in notes if note.endswith("fresh")]


def test_a_pair_costs_both_fits_and_class_images_count_apart(toy: Toy) -> None:
    alone = {row.case.subjects[0].id: row for row in toy().generations()}
    for row in toy("pairs", group=2, pairs=3).generations():
        assert row.fit_seconds > sum(alone[subject.id].fit_seconds for subject in row.case.subjects)
        nouns = {subject.noun: alone[subject.id].prior_seconds for subject in row.case.subjects}
        assert row.prior_seconds == pytest.approx(sum(nouns.values()))
        assert row.prior_seconds > 0
        assert row.stored_bytes == sum(len(subject.id) for subject in row.case.subjects)


def test_other_options_and_other_photos_make_another_fit(toy: Toy, tmp_path: Path) -> None:
    toy()
    toy.notes()
    toy("shaded", options={"shade": "2"})
    assert "fit ann fresh" in toy.notes()
    write_image(tmp_path / "photos" / "ann" / "1.png", np.zeros((4, 4, 3), np.uint8))
    toy("new")
    assert [note for note in toy.notes() if note.endswith("fresh")] == ["fit ann fresh"]


def test_other_code_makes_another_fit(toy: Toy, monkeypatch: pytest.MonkeyPatch) -> None:
    toy()
    toy.notes()
    toy("same")
    assert not [note for note in toy.notes() if note.startswith("fit") and note.endswith("fresh")]
    monkeypatch.setattr("fcbench.run.record.code_of", lambda kind, plugin: {"plugin": "run_toys:Joiner", "digest": "x"})
    toy("edited")
    assert "fit ann fresh" in toy.notes()


def test_another_recipe_makes_another_fit(toy: Toy, monkeypatch: pytest.MonkeyPatch) -> None:
    toy()
    toy.notes()
    joiner, steps = sys.modules["run_toys"].Joiner, make_dataclass("Steps", ["steps"])
    monkeypatch.setattr(joiner, "recipe", lambda method, stack: steps(9), raising=False)
    toy("stepped")
    assert "fit ann fresh" in toy.notes()


def test_another_device_s_fits_and_class_images_are_not_taken_for_its_own(
    toy: Toy, monkeypatch: pytest.MonkeyPatch
) -> None:
    toy()
    made = toy.notes()
    monkeypatch.setattr("fcbench.run.measure._cpu_name", lambda: "another processor")
    toy("elsewhere")
    assert toy.notes() == made


def test_fits_are_kept_if_they_are_to_be(toy: Toy) -> None:
    assert not toy().path.joinpath("kept").exists()
    folder = toy("pairs", group=2, pairs=1, keep_fits=True)
    assert (folder.kept("ann+bo") / "kept").read_bytes() == b"annbo"
    assert [path.name for path in folder.kept("ann+bo").parent.iterdir()] == ["ann+bo"]


def test_a_fit_that_was_killed_goes_on_and_costs_all_attempts(
    toy: Toy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The kill is an exception that no handler of the runner's sees."""

    class Killed(BaseException):
        pass

    def dies(place: str, seed: int) -> None:
        if place == "bo":
            time.sleep(0.2)
            raise Killed

    monkeypatch.setattr(calls, "NOTE_SECONDS", 0.05)
    monkeypatch.setattr(sys.modules["run_toys"], "_meet_fate", dies)
    with pytest.raises(Killed):
        toy()
    assert toy.notes()[-1] == "fit bo fresh"
    (spent,) = (tmp_path / "out" / "fits").glob("*/cost.spent")
    seconds = json.loads(spent.read_text())["seconds"]
    monkeypatch.setattr(sys.modules["run_toys"], "_meet_fate", lambda place, seed: None)
    rows = {row.case.subjects[0].id: row for row in toy().generations()}
    assert toy.notes()[-2:] == ["fit bo again", "fit cy fresh"]
    assert rows["bo"].fit_seconds > seconds > 0.05
    assert not spent.exists()


def test_a_subject_whose_fit_fails_fails_its_pairs_and_no_others(toy: Toy) -> None:
    folder = toy("pairs", group=2, pairs=3, options={"fails_on": "bo", "fails_with": "MemoryError"})
    assert {row.case.id.partition(".")[0] for row in folder.generations()} == {"cy+ann"}
    assert set(folder.failures().values()) == {"out of memory"}
    assert {case.partition(".")[0] for case in folder.failures()} == {"ann+bo", "bo+cy"}


def test_a_fit_that_another_run_is_at_is_waited_for(toy: Toy, capfd: pytest.CaptureFixture[str]) -> None:
    fits = toy().path.parents[2] / "fits"
    with ExitStack() as held:
        for place in fits.iterdir():
            held.enter_context(locked(place / "lock", "busy"))
        waiting = threading.Thread(target=toy, args=("again",))
        waiting.start()
        told = ""
        while waiting.is_alive() and "another run is at this fit of ann, which is waited for" not in told:
            waiting.join(0.1)
            told += capfd.readouterr().err
        assert waiting.is_alive()
    waiting.join(60.0)
    assert not waiting.is_alive()


def test_a_method_without_a_recipe_has_none(toy: Toy) -> None:
    assert json.loads(toy().config.read_text())["recipe"] is None


def test_another_class_word_makes_another_fit(toy: Toy, tmp_path: Path) -> None:
    toy()
    toy.notes()
    people = {"source": "folder", "path": str(tmp_path / "photos"), "nouns": {**NOUNS, "ann": "girl"}}
    toy("girl", subjects=people)
    assert [note for note in toy.notes() if note.startswith("fit") and note.endswith("fresh")] == ["fit ann fresh"]
