"""Sanity rows: real photos, other people and the reference in the place of pictures."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from fcbench.config import WorldPeople
from fcbench.errors import UsageError
from fcbench.files import read_json
from fcbench.images import read_image
from fcbench.run import pictures, sanity
from fcbench.run.cases import subjects_of
from fcbench.run.sanity import ROWS, side_by_side, write_sanity
from fcbench.store import runs_of
from fcbench.types import Stack
from tests.unit.small_suite import one_face, world


@pytest.fixture(autouse=True)
def _no_models(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (pictures, sanity):
        monkeypatch.setattr(module, "load_stack", lambda name: one_face())


def test_sanity_rows_show_other_photos_other_people_and_the_reference(tmp_path: Path) -> None:
    suite = world(photos=3)
    people = {subject.id: subject for subject in subjects_of(suite, tmp_path)}
    folders = {folder.label: folder for folder in write_sanity(suite, out=tmp_path)}
    assert tuple(folders) == ROWS
    for label, folder in folders.items():
        assert read_json(folder.config)["sanity"] is True
        for generation in folder.generations():
            (subject,) = generation.case.subjects
            photos = {p.id: [read_image(path) for path in p.images] for p in people.values()}
            shown = read_image(generation.image)
            where = {
                (who, k) for who, own in photos.items() for k, photo in enumerate(own) if np.array_equal(photo, shown)
            }
            ((who, view),) = where
            match label:
                case "real-photos":
                    assert (who, view > 0) == (subject.id, True)
                case "other-people":
                    assert (who != subject.id, people[who].noun) == (True, subject.noun)
                case _:
                    assert (who, view) == (subject.id, 0)
    assert {folder.label for folder in runs_of(tmp_path, "small")} == set(ROWS)


def test_a_pair_of_photos_stands_side_by_side(tmp_path: Path) -> None:
    (first, *_) = write_sanity(world(pairs=3), out=tmp_path, rows=["copy-reference"])
    generation = first.generations()[0]
    shown = read_image(generation.image)
    assert shown.shape == (64, 64, 3)
    for place, subject in enumerate(generation.case.subjects):
        assert np.array_equal(shown[:, 32 * place : 32 * place + 32], read_image(subject.reference)[:, 16:48])


def test_a_wide_photo_is_cut_around_its_face() -> None:
    photo = np.zeros((30, 100, 3), np.uint8)
    photo[:, 80:] = 255
    faces = SimpleNamespace(get=lambda bgr: [SimpleNamespace(bbox=np.array([80.0, 5, 90, 15]))])
    shown = side_by_side([photo, photo], Stack("toy", {"faces": lambda: faces}, 60))
    assert shown.shape == (60, 60, 3)
    assert shown[30, 25].min() == 255
    assert shown[30, 2].max() == 0


def test_one_photo_is_no_ceiling(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="real-photos: a second photo of p1003000"):
        write_sanity(world(photos=1), out=tmp_path, rows=["real-photos"])


def test_rows_that_the_people_do_not_allow_are_left_out_and_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    two = WorldPeople(source="world", first=1_003_000, count=2, photos=1)
    suite = world(pairs=1, photos=1).model_copy(update={"subjects": two})
    assert [folder.label for folder in write_sanity(suite, out=tmp_path)] == ["copy-reference"]
    told = capsys.readouterr().err
    assert "small: left out real-photos: a second photo of p1003000, p1003001 is needed" in told
    assert "small: left out other-people: strangers of 2 people need 4 people in the suite, it has 2" in told
    assert {folder.label for folder in runs_of(tmp_path, "small")} == {"copy-reference"}
