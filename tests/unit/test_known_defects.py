"""The benchmark of judges at its smallest size, under judges that look at one pixel."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.known_defects import Trial, _people, blur, rank, rendered, table
from fcbench.types import Stack
from tests.unit.test_metrics import Clip, Faces

DEFECTS = {
    "blurred", "missing accessory", "missing person", "one person twice", "other accessory", "other person",
    "a stranger for one", "swapped people", "two blends", "wrong hair colour", "wrong place",
}  # fmt: skip


def test_every_defect_changes_the_picture_and_nothing_else(tmp_path: Path) -> None:
    trials = list(rendered(8, tmp_path))
    assert {trial.defect for trial in trials} == DEFECTS
    for trial in trials:
        assert trial.good.shape == trial.bad.shape == (64, 64, 3)
        assert not np.array_equal(trial.good, trial.bad), trial.defect
        assert all(photo.exists() for subject in trial.case.subjects for photo in subject.images)
    hats = [trial for trial in trials if trial.defect == "missing accessory"]
    assert all(np.mean(trial.good != trial.bad) < 0.4 for trial in hats)
    again = list(rendered(8, tmp_path))
    assert all(np.array_equal(one.bad, two.bad) for one, two in zip(trials, again, strict=True))


def test_the_people_are_a_man_and_a_woman() -> None:
    assert [person.noun for person in _people(3)] == ["man", "woman"]


def test_a_tie_is_not_right(tmp_path: Path) -> None:
    class Everywhere(Faces):
        def get(self, bgr: np.ndarray) -> list[Any]:
            self.told = {int(bgr[0, 0, 0]): [(5.0, [1.0, 0.0])]}
            return super().get(bgr)

    class Reader:
        def wholes(self, images: list[Any]) -> list[dict[str, dict[str, float]]]:
            return [{"context": {"snow": 1.0}} for _ in images]

        def figures(self, images: list[Any], boxes: list[Any]) -> list[list[dict[str, dict[str, float]]]]:
            return [[{"noun": {"man": 1.0}} for _ in faces] for faces in boxes]

    (first, *_) = rendered(1, tmp_path)
    dark, light = np.zeros((64, 64, 3), np.uint8), np.full((64, 64, 3), 9, np.uint8)
    trials = [Trial("x", "rendered", ("identity", "prompt"), first.case, dark, light)]
    roles = {"faces": lambda: Everywhere({}), "clip": Clip, "attributes": Reader}
    right = rank(trials, Stack("toy", roles, 64), tmp_path)
    assert right == {("x", "rendered", "identity"): (0, 1), ("x", "rendered", "prompt"): (1, 1)}
    assert "| x | rendered | **identity** | 0.0 % (below 95 %) | 1 |" in table(right)
    assert "| x | rendered | prompt | 100.0 % | 1 |" in table(right)


def test_blur_takes_detail_away() -> None:
    picture = np.zeros((64, 64, 3), np.uint8)
    picture[::2] = 255
    assert blur(picture)[20:40].std() < 5
