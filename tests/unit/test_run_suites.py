"""Suites of one's own: people, prompts, and what is told of them before anything is drawn."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import yaml

from fcbench.config import Suite, load_suites, load_yaml, names
from fcbench.errors import DataError, UsageError
from fcbench.files import write_image
from fcbench.run import pictures, sanity
from fcbench.run.cases import cases_of, subject_groups, subjects_of, suite_digest
from fcbench.run.remarks import remarks
from fcbench.run.suites import case_table, describe, missing_people, new_suite
from fcbench.types import Stack
from fcbench.world import draw_person, draw_scene, portrait, render
from tests.unit.small_suite import PROMPTS, draw, one_face, world


@pytest.fixture(autouse=True)
def _no_models(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (pictures, sanity):
        monkeypatch.setattr(module, "load_stack", lambda name: one_face())


def test_groups_of_subjects_are_class_word_and_skin(tmp_path: Path) -> None:
    groups = subject_groups(world(), subjects_of(world(), tmp_path))
    assert groups["p1003001"].keys() == {"noun", "skin"}
    assert {group["noun"] for group in groups.values()} <= {"man", "woman"}
    assert {group["skin"] for group in groups.values()} <= {"pale", "light", "tan", "brown", "dark"}


def own_people(folder: Path) -> Path:
    for person in ("ann", "bo"):
        draw(folder / "people" / person, "1.png")
    text = {
        "people": {"ann": "woman", "bo": "man"},
        "prompts": {"context": ["{} in the snow"], "action": ["{} eating"]},
    }
    (folder / "prompts.yaml").write_text(yaml.safe_dump(text, sort_keys=False))
    return folder / "prompts.yaml"


def test_a_suite_of_ones_own_people_is_written_and_never_edited(tmp_path: Path) -> None:
    prompts = own_people(tmp_path)
    path = new_suite("friends", tmp_path / "people", prompts, stack="mini", seeds=2, folder=tmp_path)
    (suite,) = load_suites(path)
    assert [case.id for case in cases_of(suite, subjects_of(suite, tmp_path))][:3] == [
        "ann.in-the-snow.0", "ann.in-the-snow.1", "ann.eating.0"
    ]  # fmt: skip
    assert new_suite("friends", tmp_path / "people", prompts, stack="mini", seeds=2, folder=tmp_path) == path
    with pytest.raises(UsageError, match="a suite is never edited"):
        new_suite("friends", tmp_path / "people", prompts, stack="mini", seeds=3, folder=tmp_path)
    pair = new_suite("two-friends", tmp_path / "people", prompts, stack="mini", pairs=1, folder=tmp_path)
    (suite,) = load_suites(pair)
    assert "1 pair x 2 prompts x 1 seed = 2 cases" in describe(suite, tmp_path)
    assert case_table(suite, tmp_path).splitlines()[1].startswith("ann+bo.in-the-snow.0,a woman and a man in the snow")


def test_the_table_of_cases_holds_all_that_is_drawn_from(tmp_path: Path) -> None:
    folder = tmp_path / "my own"
    prompts = own_people(folder)
    draw(folder / "people" / "ann", "2.png")
    pair = new_suite("two", folder / "people", prompts, stack="mini", pairs=1, folder=tmp_path)
    (suite,) = load_suites(pair)
    row = next(csv.DictReader(io.StringIO(case_table(suite, tmp_path))))
    assert list(row)[:5] == ["case", "prompt", "kind", "seed", "references"]
    subjects = json.loads(row["subjects"])
    photos = [[Path(path) for path in paths] for paths in json.loads(row["photos"])]
    (case, *_) = cases_of(suite, subjects_of(suite, tmp_path))
    assert subjects == ["ann", "bo"]
    assert json.loads(row["nouns"]) == ["woman", "man"]
    assert photos == [list(subject.images) for subject in case.subjects]
    assert [path.name for path in photos[0]] == ["1.png", "2.png"]
    assert row["template"] == "{} in the snow"
    assert row["template"].replace("{}", case.phrase) == row["prompt"]


def test_long_prompts_and_prompts_in_other_letters_have_ids_that_files_can_be_named_by(tmp_path: Path) -> None:
    prompts = own_people(tmp_path)
    long = "a photo of {} " + "on a very wide beach " * 20
    texts = [f"{long}at dawn", f"{long}at dusk", "{} в снегу", "{}"]
    told = yaml.safe_load(prompts.read_text()) | {"prompts": {"context": texts}}
    prompts.write_text(yaml.safe_dump(told))
    (suite,) = load_suites(new_suite("friends", tmp_path / "people", prompts, stack="mini", folder=tmp_path))
    ids = [prompt.id for prompt in suite.prompts]
    assert len(set(ids)) == 4
    assert max(map(len, ids)) <= 69
    assert ids[0].startswith("a-photo-of-on-a-very-wide-beach-")
    for case in cases_of(suite, subjects_of(suite, tmp_path)):
        draw(tmp_path / "drawn", f"{case.id}.png")
    assert len(list((tmp_path / "drawn").iterdir())) == 8


def test_prompts_that_the_text_encoder_cuts_are_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Tokenizer:
        model_max_length = 77

        def __call__(self, text: str) -> SimpleNamespace:
            return SimpleNamespace(input_ids=["<", *text.split(), ">"])

    stack = Stack("toy", {"tokenizer": Tokenizer}, 64)
    monkeypatch.setattr("fcbench.stacks.load_stack", lambda name, **_: stack)
    prompts = own_people(tmp_path)
    texts = ["{}" + " dancing" * 73, "{}" + " dancing" * 74]  # "a woman" are two more
    told = yaml.safe_load(prompts.read_text()) | {"prompts": {"action": texts}}
    prompts.write_text(yaml.safe_dump(told))
    (suite,) = load_suites(new_suite("friends", tmp_path / "people", prompts, stack="mini", folder=tmp_path))
    looked, line = remarks(suite)
    assert looked.startswith("nobody looked whether the references show a face: stack 'toy' has no faces")
    assert (
        line == f"prompt {suite.prompts[1].id!r} has 78 tokens, start and end counted: what is beyond 77 is not drawn"
    )


def test_prompts_that_differ_in_other_letters_or_the_slot_alone_have_ids_of_their_own(tmp_path: Path) -> None:
    prompts = own_people(tmp_path)
    texts = ["a photo of {} в снегу", "a photo of {} на пляже", "{} in the snow", "in the snow, {}", "{} at home"]
    prompts.write_text(yaml.safe_dump(yaml.safe_load(prompts.read_text()) | {"prompts": {"context": texts}}))
    (suite,) = load_suites(new_suite("friends", tmp_path / "people", prompts, stack="mini", folder=tmp_path))
    assert [prompt.text for prompt in suite.prompts] == texts
    assert suite.prompts[-1].id == "at-home"
    assert all(prompt.id.startswith(("a-photo-of-", "in-the-snow-")) for prompt in suite.prompts[:-1])


def test_a_check_tells_references_that_cannot_be_scored_and_options_that_nothing_takes(tmp_path: Path) -> None:
    ann, bo = draw_person(5), draw_person(6)
    scenes = {"ann": portrait(ann, 0), "bo": draw_scene([bo, ann], 3), "cy": None}
    for name, scene in scenes.items():
        photo = np.full((64, 64, 3), 128, np.uint8) if scene is None else render(scene).image
        write_image(tmp_path / "people" / name / "1.png", photo)
    people = {"source": "folder", "path": str(tmp_path / "people"), "nouns": dict.fromkeys(scenes, "man")}
    options = {"fastcomposr": {"alpha": 0.5}, "fastcomposer": {"alfa": 0.5}}
    suite = Suite.model_validate(
        {"name": "three", "subjects": people, "prompts": list(PROMPTS), "options": options, "stack": "mini"}
    )
    assert remarks(suite) == [
        "options of fastcomposr: no method is called 'fastcomposr': did you mean fastcomposer?",
        "options of fastcomposer: fastcomposer has no option 'alfa': did you mean alpha?",
        f"{tmp_path}/people/bo/1.png: 2 faces in the reference photo; the largest is taken for the person's",
        f"{tmp_path}/people/cy/1.png: no face is found in the reference photo; identity will not be scored",
    ]


def test_a_suite_of_a_shipped_name_or_with_a_prompt_twice_is_refused_by_what_was_written(tmp_path: Path) -> None:
    prompts = own_people(tmp_path)
    with pytest.raises(UsageError, match=r"^mini-single: a suite that ships is called so"):
        new_suite("mini-single", tmp_path / "people", prompts, stack="mini", folder=tmp_path)
    told = yaml.safe_load(prompts.read_text()) | {"prompts": {"context": ["{} at home"], "action": ["{} at home"]}}
    prompts.write_text(yaml.safe_dump(told))
    with pytest.raises(UsageError, match=rf"^{prompts}: the prompt '{{}} at home' is there twice$"):
        new_suite("friends", tmp_path / "people", prompts, stack="mini", folder=tmp_path)


def test_missing_people_are_all_named(tmp_path: Path) -> None:
    prompts = own_people(tmp_path)
    (tmp_path / "people" / "ann" / "1.png").unlink()
    (tmp_path / "people" / "bo" / "2.png").write_bytes(b"no picture")
    with pytest.raises(DataError, match=r"ann: no photo in it; .*2\.png: not a picture"):
        new_suite("friends", tmp_path / "people", prompts, stack="mini", folder=tmp_path)


def test_photos_of_people_that_are_not_read_are_told(tmp_path: Path) -> None:
    prompts = own_people(tmp_path)
    (tmp_path / "people" / "ann" / "2.HEIC").write_bytes(b"a phone's")
    (suite,) = load_suites(new_suite("friends", tmp_path / "people", prompts, stack="mini", folder=tmp_path))
    line = f"{tmp_path / 'people' / 'ann'}: left aside: 1 .heic; convert them first"
    faceless = "no face is found in the reference photo; identity will not be scored"
    assert remarks(suite) == [line, *(f"{tmp_path}/people/{name}/1.png: {faceless}" for name in ("ann", "bo"))]
    assert f"note      {line}" in describe(suite, tmp_path)
    (tmp_path / "people" / "ann" / "1.png").unlink()
    with pytest.raises(DataError, match=r"ann: no photo in it .*left aside: 1 \.heic"):
        subjects_of(suite, tmp_path)


def test_celeba_says_how_to_lay_it_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (suite,) = load_suites("celeba-single")
    (line,) = missing_people(suite)
    assert "one folder a person (000001, 000181, 000268, ...), the reference photo first" in line
    for person in list(suite.subjects.nouns)[:14]:  # type: ignore[union-attr]
        draw(tmp_path / "celeba" / person, "1.png")
    assert missing_people(suite) == ["celeba/004153: no such folder"]
    assert "missing   celeba/004153" in describe(suite, tmp_path)


def test_shipped_suites_are_the_ones_that_were_published() -> None:
    """A suite is never edited: another set of cases is another name. Digests of what each file asks for."""
    published = json.loads((Path(__file__).parent / "suite_versions.json").read_text())
    now = {}
    for name in names("suites"):
        for suite in load_suites(name):
            now[suite.name] = suite_digest(suite, [])
    assert {name: digest for name, digest in now.items() if name in published} == published


def test_prompts_of_ones_own_need_their_kind(tmp_path: Path) -> None:
    from fcbench.run.suites import OwnPrompts

    (tmp_path / "p.yaml").write_text("people: {ann: woman}\nprompts: {scenery: ['{} in the snow']}\n")
    with pytest.raises(UsageError, match="scenery"):
        load_yaml(tmp_path / "p.yaml", OwnPrompts)
