"""Pictures that no method drew here, taken over by name."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from PIL import Image

from fcbench.config import FolderPeople
from fcbench.errors import DataError, UsageError
from fcbench.files import read_json
from fcbench.images import read_image
from fcbench.run import pictures, sanity
from fcbench.run.cases import cases_of, subjects_of, suite_digest
from fcbench.run.pictures import adopt
from fcbench.run.sanity import write_sanity
from fcbench.store import runs_of
from fcbench.types import Stack
from tests.unit.small_suite import PROMPTS, draw, one_face, world


@pytest.fixture(autouse=True)
def _no_models(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (pictures, sanity):
        monkeypatch.setattr(module, "load_stack", lambda name: one_face())


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


def test_the_official_names_number_people_by_ascending_id(tmp_path: Path) -> None:
    for name in ("bo", "ann"):
        draw(tmp_path / "photos" / name, "0.png")
    nouns = {"bo": "man", "ann": "woman"}
    people = FolderPeople(source="folder", path=tmp_path / "photos", nouns=nouns)
    draw(tmp_path / "theirs", "subject_0000_prompt_0000_instance_0000.png")
    suite = world().model_copy(update={"subjects": people})
    folder = adopt(suite, tmp_path / "theirs", out=tmp_path, label="official")
    assert [made.case.id for made in folder.generations()] == ["ann.snow.0"]


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
