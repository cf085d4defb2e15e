"""Runs of two machines in one folder."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from fcbench.errors import DataError, UsageError
from fcbench.files import locked
from fcbench.report import merge, write_report
from fcbench.store import run_folder, runs_of, suites_with_runs
from tests.unit.fake_runs import HEADER, cases, fake_run, subjects


def test_runs_of_another_machine_are_joined_with_their_photos(tmp_path: Path) -> None:
    here, there = tmp_path / "here", tmp_path / "there"
    fake_run(here, "s", "a", cases(subjects(here, "s", 6)))
    fake_run(there, "s", "b", cases(subjects(there, "s", 6)), device="NVIDIA H200")
    assert [folder.label for folder in merge(here, there, "s")] == ["b"]
    assert merge(here, there, "s") == []
    assert [folder.label for folder in runs_of(here, "s")] == ["a", "b"]
    photo = run_folder(here, "s", "b").generations()[0].case.subjects[0].reference
    assert photo.is_relative_to(here.resolve())
    write_report(here, "s")
    assert not list(here.glob(".merge-*"))


def test_photos_that_lie_elsewhere_on_the_other_machine_are_those_of_the_runs_here(tmp_path: Path) -> None:
    here, there = tmp_path / "here", tmp_path / "there"
    people = subjects(tmp_path / "celeba", "s", 3)
    fake_run(here, "s", "a", cases(people))
    moved = [replace(person, images=(Path("/other/machine") / person.id / "0.png",)) for person in people]
    fake_run(there, "s", "b", cases(moved))
    (merged,) = merge(here, there, "s")
    assert {s.reference for made in merged.generations() for s in made.case.subjects} == {p.reference for p in people}


def test_weights_that_no_picture_depends_on_may_differ_between_joined_runs(tmp_path: Path) -> None:
    here, there = tmp_path / "here", tmp_path / "there"
    same = {"unet": "1", "clip": "2"}
    for out, label, own in ((here, "a", "x"), (there, "b", "y")):
        digests = same | dict.fromkeys(("matcher", "fusion", "checkpoint"), own)
        fake_run(out, "s", label, cases(subjects(out, "s", 6)), stack_digests=digests)
    assert [folder.label for folder in merge(here, there, "s")] == ["b"]


def test_each_run_that_cannot_be_joined_is_told_once(tmp_path: Path) -> None:
    here, there = tmp_path / "here", tmp_path / "there"
    for label in ("a", "b", "c"):
        fake_run(here, "s", label, cases(subjects(here, "s", 6)), suite_digest="1")
    fake_run(there, "s", "d", cases(subjects(there, "s", 6)), suite_digest="2")
    with pytest.raises(DataError) as error:
        merge(here, there, "s")
    assert str(error.value).count("other people or prompts") == 1


@pytest.mark.parametrize(
    ("config", "header", "reason"),
    [
        ({"suite_digest": "6" * 64}, {}, "other people or prompts"),
        ({"stack_digests": {"unet": "2"}}, {}, "its weights differ: unet"),
        ({}, {"judges": {"faces": "another"}}, "different judges"),
    ],
)
def test_what_does_not_compare_is_not_joined(
    tmp_path: Path, config: dict[str, Any], header: dict[str, Any], reason: str
) -> None:
    here, there = tmp_path / "here", tmp_path / "there"
    fake_run(here, "s", "a", cases(subjects(here, "s", 6)), stack_digests={"unet": "1"})
    folder = fake_run(there, "s", "b", cases(subjects(there, "s", 6)), **{"stack_digests": {"unet": "1"}, **config})
    rows = list(folder.read_scores("identity")[1].items())
    folder.write_scores("identity", rows, {**HEADER, "range": [0.0, 1.0], **header})
    with pytest.raises(DataError, match=reason):
        merge(here, there, "s")
    assert [found.label for found in runs_of(here, "s")] == ["a"]


def test_a_run_that_went_on_elsewhere_is_taken_as_far_as_it_is_there(tmp_path: Path) -> None:
    here, there = tmp_path / "here", tmp_path / "there"
    wanted = cases(subjects(here, "s", 6))
    ours = fake_run(here, "s", "a", wanted, failures={case.id: "cut off" for case in wanted[9:]})
    theirs = fake_run(there, "s", "a", cases(subjects(there, "s", 6)))
    (theirs.path / "images" / ".half.png.0.tmp").write_bytes(b"")
    own = [ours.path / "work" / "state", ours.path / "kept" / "p000" / "fit", ours.path / "scores" / "own.jsonl"]
    for file in own:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(b"ours")
    with locked(ours.lock, "busy"), pytest.raises(UsageError, match="a: a run is at work there"):
        merge(here, there, "s")
    assert [folder.label for folder in merge(here, there, "s")] == ["a"]
    assert len(run_folder(here, "s", "a").generations()) == len(wanted)
    assert run_folder(here, "s", "a").failures() == {}
    assert [file.read_bytes() for file in own] == [b"ours"] * 3
    assert ours.read_scores("identity") == theirs.read_scores("identity")
    photo = ours.generations()[-1].case.subjects[0].reference
    assert photo.is_relative_to(here.resolve())
    assert merge(here, there, "s") == []
    for case in wanted[20:]:
        folder = run_folder(there, "s", "a")
        for file in (folder.image(case.id), folder.row(case.id)):
            file.unlink()
    assert merge(here, there, "s") == []  # it came further here
    assert len(run_folder(here, "s", "a").generations()) == len(wanted)


def test_a_run_of_other_settings_is_not_taken_for_one_that_came_further(tmp_path: Path) -> None:
    here, there = tmp_path / "here", tmp_path / "there"
    wanted = cases(subjects(here, "s", 6))
    fake_run(here, "s", "a", wanted, failures={case.id: "cut off" for case in wanted}, low_memory=True, scored=False)
    fake_run(there, "s", "a", cases(subjects(there, "s", 6)), low_memory=False)
    with pytest.raises(DataError, match="both have another a: draw one again with --variant"):
        merge(here, there, "s")


def test_a_run_that_is_being_written_is_none_yet(tmp_path: Path) -> None:
    folder = fake_run(tmp_path, "s", "a", cases(subjects(tmp_path, "s", 6)))
    folder.path.rename(folder.path.with_name(".a.0123.tmp"))
    assert runs_of(tmp_path, "s") == []
    assert suites_with_runs(tmp_path) == []


def test_another_run_of_the_same_name_is_not_joined(tmp_path: Path) -> None:
    here, there = tmp_path / "here", tmp_path / "there"
    fake_run(here, "s", "a", cases(subjects(here, "s", 6)))
    folder = fake_run(there, "s", "a", cases(subjects(there, "s", 6)))
    folder.image(folder.generations()[0].case.id).write_bytes(b"other")
    with pytest.raises(DataError, match="both have another a: draw one again with --variant"):
        merge(here, there, "s")
