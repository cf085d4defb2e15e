"""Pictures that no method drew here: taken over by name, sanity rows, and suites of one's own."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import yaml
from PIL import Image

from fcbench.config import Suite, WorldPeople, load_suites, load_yaml, names
from fcbench.errors import DataError, UsageError
from fcbench.files import read_json, write_image
from fcbench.images import read_image
from fcbench.run import pictures, sanity
from fcbench.run.cases import cases_of, subject_groups, subjects_of, suite_digest
from fcbench.run.pictures import adopt
from fcbench.run.remarks import remarks
from fcbench.run.sanity import ROWS, side_by_side, write_sanity
from fcbench.run.suites import case_table, describe, missing_people, new_suite
from fcbench.store import runs_of
from fcbench.types import Prompt, Stack
from fcbench.world import draw_person, draw_scene, portrait, render

PROMPTS = (Prompt("snow", "{} in the snow", "context"), Prompt("red-hat", "{} wearing a red hat", "accessory"))


@pytest.fixture(autouse=True)
def _no_models(monkeypatch: pytest.MonkeyPatch) -> None:
    """A stack whose judge of faces sees one face, in the middle of every photo, and hashes no weights."""

    def get(bgr: np.ndarray) -> list[Any]:
        height, width = bgr.shape[:2]
        return [SimpleNamespace(bbox=np.array([0.3 * width, 0.3 * height, 0.7 * width, 0.7 * height]))]

    stack = Stack("mini", {"faces": lambda: SimpleNamespace(get=get)}, 64)
    for module in (pictures, sanity):
        monkeypatch.setattr(module, "load_stack", lambda name: stack)


def world(*, pairs: int | None = None, seeds: tuple[int, ...] = (0,), photos: int = 2) -> Suite:
    people = WorldPeople(source="world", first=1_003_000, count=4, photos=photos)
    return Suite(name="small", subjects=people, group=2 if pairs else 1, pairs=pairs, prompts=PROMPTS, seeds=seeds)


def draw(folder: Path, name: str, level: int = 7) -> None:
    write_image(folder / name, np.full((64, 64, 3), level, np.uint8))


def test_pictures_named_by_case_become_a_run_and_the_missing_ones_failures(tmp_path: Path) -> None:
    suite = world()
    cases = cases_of(suite, subjects_of(suite, tmp_path))
    for case in cases[1:]:
        draw(tmp_path / "theirs", f"{case.id}.png")
    folder = adopt(suite, tmp_path / "theirs", out=tmp_path, label="theirs@v2", images_per_subject=3, sees=("boxes",))
    assert {g.case.id for g in folder.generations()} == {case.id for case in cases[1:]}
    assert folder.failures() == {cases[0].id: f"no picture in {tmp_path / 'theirs'}"}
    record = read_json(folder.config)
    assert record["suite_digest"] == suite_digest(suite, subjects_of(suite, tmp_path))
    assert (record["method"], record["variant"], record["images_per_subject"]) == ("theirs", "v2", 3)
    assert record["costs_measured"] is False
    assert record["sees"] == ["boxes"]
    assert record["device"] is None
    draw(tmp_path / "theirs", f"{cases[0].id}.png")
    assert not adopt(suite, tmp_path / "theirs", out=tmp_path, label="theirs@v2").failures()


def test_another_stack_that_judges_is_on_record_of_pictures_and_yardsticks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in (pictures, sanity):
        monkeypatch.setattr(module, "load_stack", lambda name: Stack(f"the stack {name}", {}, 64))
    suite = world()
    draw(tmp_path / "theirs", f"{cases_of(suite, subjects_of(suite, tmp_path))[0].id}.png")
    for given, judge in (("my.safetensors", "my.safetensors"), (None, "mini")):
        folders = write_sanity(suite, out=tmp_path, stack_name=given)
        folders.append(adopt(suite, tmp_path / "theirs", out=tmp_path, label="theirs", stack_name=given))
        records = [read_json(folder.config) for folder in folders]
        assert [(told["stack"], told["stack_file"]) for told in records] == 4 * [(f"the stack {judge}", judge)]
        assert {told["stack_place"] for told in records} == {str(Path(judge).absolute()) if given else None}


def test_pictures_are_taken_over_whole_or_not_at_all(tmp_path: Path) -> None:
    suite = world()
    cases = cases_of(suite, subjects_of(suite, tmp_path))
    for case in cases:
        draw(tmp_path / "theirs", f"{case.id}.png")
    folder = adopt(suite, tmp_path / "theirs", out=tmp_path, label="theirs", note="version 1")
    for case in cases:
        draw(tmp_path / "theirs", f"{case.id}.png", level=9)
    (tmp_path / "theirs" / f"{cases[-1].id}.png").write_bytes(b"torn")
    with pytest.raises(DataError, match=r"not a picture that can be read"):
        adopt(suite, tmp_path / "theirs", out=tmp_path, label="theirs", note="version 2")
    assert read_json(folder.config)["note"] == "version 1"
    assert {read_image(made.image)[0, 0, 0] for made in folder.generations()} == {7}
    assert [run.label for run in runs_of(tmp_path, "small")] == ["theirs"]
    draw(tmp_path / "theirs", f"{cases[-1].id}.png", level=9)
    folder.write_scores("sharpness", [], {"judged": "the first"})
    left = folder.path.with_name(".theirs.0123.tmp")
    left.mkdir()
    adopt(suite, tmp_path / "theirs", out=tmp_path, label="theirs", note="version 2")
    assert folder.read_scores("sharpness")[0]["judged"] == "the first"  # of other pictures, as it says itself
    assert not left.exists()
    assert {read_image(made.image)[0, 0, 0] for made in folder.generations()} == {9}


def test_files_that_are_no_run_are_left_alone(tmp_path: Path) -> None:
    suite = world()
    case = cases_of(suite, subjects_of(suite, tmp_path))[0].id
    draw(place := tmp_path / "runs" / "small" / "theirs", f"{case}.png")
    with pytest.raises(UsageError, match="theirs: there are files that are no run; move them"):
        adopt(suite, place, out=tmp_path, label="theirs")
    assert [file.name for file in place.iterdir()] == [f"{case}.png"]


def test_a_yardstick_s_name_is_its_own(tmp_path: Path) -> None:
    suite = world()
    draw(tmp_path / "theirs", f"{cases_of(suite, subjects_of(suite, tmp_path))[0].id}.png")
    write_sanity(suite, out=tmp_path, rows=["copy-reference"])
    with pytest.raises(UsageError, match="copy-reference holds a yardstick, not pictures made elsewhere"):
        adopt(suite, tmp_path / "theirs", out=tmp_path, label="copy-reference")
    adopt(suite, tmp_path / "theirs", out=tmp_path, label="other-people")
    with pytest.raises(UsageError, match="other-people holds pictures made elsewhere, not a yardstick"):
        write_sanity(suite, out=tmp_path, rows=["other-people"])


@pytest.mark.parametrize("mode", ["I;16", "I", "F"])
def test_a_picture_of_more_than_8_bits_is_refused_not_cut(mode: str, tmp_path: Path) -> None:
    file = tmp_path / ("a.png" if mode == "I;16" else "a.tif")
    Image.new(mode, (8, 8)).save(file)
    with pytest.raises(DataError, match=r"a\.(tif|png): .* holds more than 8 bits a colour; convert it first"):
        read_image(file)


def test_the_official_names_are_understood(tmp_path: Path) -> None:
    suite = world(seeds=(0, 1))
    for person in range(4):
        for prompt in range(2):
            for instance in range(2):
                name = f"subject_{person:04d}_prompt_{prompt:04d}_instance_{instance:04d}.png"
                draw(tmp_path / "theirs", name, 40 * person + 10 * prompt + instance)
    folder = adopt(suite, tmp_path / "theirs", out=tmp_path, label="official")
    assert read_image(folder.image("p1003002.red-hat.1"))[0, 0, 0] == 91
    assert len(folder.generations()) == 16


def test_a_picture_of_no_case_is_refused_with_the_nearest_name(tmp_path: Path) -> None:
    draw(tmp_path / "theirs", "p1003000.snow.1.png")
    with pytest.raises(
        UsageError, match=r"no case of small is called 'p1003000\.snow\.1': did you mean p1003000\.snow\.0"
    ):
        adopt(world(), tmp_path / "theirs", out=tmp_path, label="theirs")
    with pytest.raises(UsageError, match="no such folder"):
        adopt(world(), tmp_path / "absent", out=tmp_path, label="theirs")


@pytest.mark.parametrize("label", ["tencent/photomaker", "../..", ".hidden"])
def test_a_name_that_leads_out_of_the_suite_s_runs_is_refused(tmp_path: Path, label: str) -> None:
    draw(tmp_path / "theirs", "p1003000.snow.0.png")
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(UsageError, match="cannot name a run's folder"):
        adopt(world(), tmp_path / "theirs", out=tmp_path, label=label)
    assert sorted(tmp_path.rglob("*")) == before


def test_a_run_that_was_drawn_here_is_not_overwritten(tmp_path: Path) -> None:
    suite = world()
    case = cases_of(suite, subjects_of(suite, tmp_path))[0]
    draw(tmp_path / "theirs", f"{case.id}.png")
    folder = adopt(suite, tmp_path / "theirs", out=tmp_path, label="theirs")
    folder.config.write_text(json.dumps(read_json(folder.config) | {"costs_measured": True}))
    with pytest.raises(UsageError, match="was drawn by theirs: give these pictures another --name"):
        adopt(suite, tmp_path / "theirs", out=tmp_path, label="theirs")


def test_a_changed_suite_of_the_same_name_is_refused(tmp_path: Path) -> None:
    write_sanity(world(), out=tmp_path, rows=["copy-reference"])
    changed = world().model_copy(update={"prompts": PROMPTS[:1]})
    with pytest.raises(UsageError, match="suites are never edited"):
        write_sanity(changed, out=tmp_path, rows=["other-people"])


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
                    assert who != subject.id
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
