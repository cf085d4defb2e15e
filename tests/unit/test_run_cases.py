from __future__ import annotations

from collections import Counter
from math import comb
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image as Pillow

from fcbench import store
from fcbench.config import Suite
from fcbench.errors import DataError, UsageError
from fcbench.files import write_image
from fcbench.run import case_seed, cases_of, subjects_of
from fcbench.run.cases import BATCH_SIZE, balanced, fit_seed, groups_of, suite_digest
from fcbench.types import Case, Prompt, Subject

PROMPTS = [
    {"id": "snow", "kind": "context", "text": "{} in the snow"},
    {"id": "red-hat", "kind": "accessory", "text": "{} wearing a red hat"},
]


def folder_suite(path: Path, nouns: dict[str, str], **changes: Any) -> Suite:
    for name in nouns:
        for k in range(2):
            colour = np.full((4, 4, 3), 10 * k + len(name), np.uint8)
            write_image(path / name / f"{k}.png", colour)
    people = {"source": "folder", "path": str(path), "nouns": nouns}
    return Suite.model_validate({"name": "toy", "subjects": people, "prompts": PROMPTS, **changes})


def people(count: int) -> list[Subject]:
    return [Subject(f"s{i}", "man", (Path("0.png"),)) for i in range(count)]


def test_world_subjects_are_photographed_once(tmp_path: Path) -> None:
    world = {"source": "world", "first": 1_000_000, "count": 2, "photos": 3}
    suite = Suite.model_validate({"name": "toy", "subjects": world, "prompts": PROMPTS})
    subjects = subjects_of(suite, tmp_path)
    assert [subject.id for subject in subjects] == ["p1000000", "p1000001"]
    assert [photo.name for photo in subjects[0].images] == ["0.png", "1.png", "2.png"]
    assert subjects[0].reference.parent == store.subject_folder(tmp_path, "toy", "p1000000")
    first = {photo: (photo.read_bytes(), photo.stat().st_mtime_ns) for s in subjects for photo in s.images}
    assert len({data for data, _ in first.values()}) == 6
    subjects[0].images[1].unlink()
    assert subjects_of(suite, tmp_path) == subjects
    assert {photo: photo.read_bytes() for photo in first} == {photo: data for photo, (data, _) in first.items()}
    assert subjects[0].reference.stat().st_mtime_ns == first[subjects[0].reference][1]


def test_folder_subjects_come_in_the_order_of_the_suite_with_their_nouns(tmp_path: Path) -> None:
    suite = folder_suite(tmp_path, {"bo": "man", "ann": "woman"})
    (tmp_path / "ann" / "notes.txt").write_text("not a photo")
    (tmp_path / "ann" / "._0.png").write_text("not a photo either")
    bo, ann = subjects_of(suite, tmp_path / "out")
    assert (bo.id, bo.noun, ann.noun) == ("bo", "man", "woman")
    assert ann.images == (tmp_path / "ann" / "0.png", tmp_path / "ann" / "1.png")


def test_a_broken_photo_is_named(tmp_path: Path) -> None:
    suite = folder_suite(tmp_path, {"ann": "woman"})
    (tmp_path / "ann" / "1.png").write_bytes(b"no picture")
    with pytest.raises(DataError, match=r"ann/1\.png"):
        subjects_of(suite, tmp_path)


@pytest.mark.parametrize(("folder", "message"), [("bo", "no such folder"), ("cy", "no photo")])
def test_a_folder_that_is_missing_or_empty_is_named(tmp_path: Path, folder: str, message: str) -> None:
    suite = folder_suite(tmp_path, {"ann": "woman"})
    (tmp_path / "cy").mkdir()
    suite = suite.model_copy(update={"subjects": suite.subjects.model_copy(update={"nouns": {folder: "man"}})})
    with pytest.raises(DataError, match=f"{folder}.*{message}"):
        subjects_of(suite, tmp_path)


def test_cases_are_subjects_by_prompts_by_seeds(tmp_path: Path) -> None:
    suite = folder_suite(tmp_path, {"ann": "woman", "bo": "man"}, seeds=[3, 1])
    ids = [case.id for case in cases_of(suite, subjects_of(suite, tmp_path))]
    assert ids[:5] == ["ann.snow.3", "ann.snow.1", "ann.red-hat.3", "ann.red-hat.1", "bo.snow.3"]
    assert len(ids) == 8


def test_pairs_share_a_picture(tmp_path: Path) -> None:
    suite = folder_suite(tmp_path, {"ann": "woman", "bo": "man", "cy": "man"}, group=2, pairs=2)
    cases = cases_of(suite, subjects_of(suite, tmp_path))
    assert [case.id for case in cases] == ["ann+bo.snow.0", "ann+bo.red-hat.0", "cy+ann.snow.0", "cy+ann.red-hat.0"]
    assert cases[0].text == "a woman and a man in the snow"


@pytest.mark.parametrize(("count", "size", "wanted"), [(6, 2, 6), (24, 2, 24), (50, 2, 100), (15, 2, 105), (9, 3, 9)])
def test_groups_use_every_subject_equally_often(count: int, size: int, wanted: int) -> None:
    groups = balanced(count, size, wanted)
    uses = Counter(member for group in groups for member in group)
    assert set(uses.values()) == {wanted * size // count}
    assert len(uses) == count


@given(st.data())
@settings(deadline=None)
def test_groups_are_different_and_nearly_balanced(data: st.DataObject) -> None:
    count, size = data.draw(st.integers(3, 12)), data.draw(st.integers(2, 3))
    wanted = data.draw(st.integers(1, min(comb(count, size), 40)))
    groups = balanced(count, size, wanted)
    assert len({frozenset(group) for group in groups}) == wanted
    assert all(len(set(group)) == size for group in groups)
    uses = Counter(dict.fromkeys(range(count), 0))
    uses.update(member for group in groups for member in group)
    assert max(uses.values()) - min(uses.values()) <= 2


def test_more_groups_than_there_are_is_refused() -> None:
    with pytest.raises(UsageError, match="4 subjects make 4 groups of 3, not 5"):
        balanced(4, 3, 5)


def test_batches_are_a_fixed_part_of_a_group(tmp_path: Path) -> None:
    suite = folder_suite(tmp_path, {"ann": "woman"}, seeds=list(range(BATCH_SIZE)))
    (group,) = groups_of(suite, people(1))
    assert [len(batch) for batch in group.batches] == [BATCH_SIZE, BATCH_SIZE]
    assert sum(group.batches, ()) == group.cases


def test_the_noise_differs_by_subjects_prompt_and_seed_and_not_by_photos() -> None:
    ann, bo = people(2)
    snow, hat = Prompt("snow", "{}", "context"), Prompt("hat", "{}", "accessory")
    cases = [Case((ann,), snow, 0), Case((bo,), snow, 0), Case((ann,), hat, 0), Case((ann,), snow, 1)]
    cases += [Case((ann, bo), snow, 0), Case((bo, ann), snow, 0)]
    seeds = [case_seed(case) for case in cases]
    assert len(set(seeds)) == len(seeds)
    assert all(0 <= seed < 2**63 for seed in seeds)
    assert case_seed(Case((Subject("s0", "elf", ()),), snow, 0)) == seeds[0]


def test_seeds_are_the_same_for_ever(tmp_path: Path) -> None:
    suite = folder_suite(tmp_path, {"ann": "woman"})
    (group,) = groups_of(suite, people(1))
    assert case_seed(group.cases[0]) == 2056652064482466078
    assert fit_seed(group) == 8108334754686295278


def test_the_digest_of_a_suite_follows_its_photos_and_not_their_place(tmp_path: Path) -> None:
    here, there = (folder_suite(tmp_path / place, {"ann": "woman"}) for place in ("here", "there"))
    digest = suite_digest(here, subjects_of(here, tmp_path))
    assert suite_digest(there, subjects_of(there, tmp_path)) == digest
    other = here.model_copy(update={"stack": "sd15"})
    assert suite_digest(other, subjects_of(other, tmp_path)) == digest
    other = here.model_copy(update={"seeds": (1,)})
    assert suite_digest(other, subjects_of(other, tmp_path)) != digest
    write_image(tmp_path / "here" / "ann" / "0.png", np.zeros((4, 4, 3), np.uint8))
    assert suite_digest(here, subjects_of(here, tmp_path)) != digest


def test_a_tiff_of_a_person_counts_as_a_photo(tmp_path: Path) -> None:
    suite = folder_suite(tmp_path, {"ann": "woman"})
    Pillow.fromarray(np.zeros((4, 4, 3), np.uint8)).save(tmp_path / "ann" / "2.tif")
    assert [photo.name for photo in subjects_of(suite, tmp_path / "out")[0].images] == ["0.png", "1.png", "2.tif"]
