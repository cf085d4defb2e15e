"""A fault in either layout is named; a dataset without one has none."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow
import pyarrow.parquet as parquet
import pytest

from fcbench.build import build_data
from fcbench.build.evaluate import evaluate
from fcbench.build.export import export
from fcbench.build.tokens import tokenizer_of
from fcbench.build.validate import validate
from fcbench.build.write import FEATURES
from fcbench.errors import DataError, UsageError
from fcbench.fastcomposer.data import open_photos
from fcbench.files import write_json
from fcbench.masks import encode_mask
from fcbench.stacks import load_stack
from fcbench.store import DataFolder, data_folder
from tests.toys.build_toys import stack_file
from tests.unit.build.test_export import FewLetters, Letters

PHOTOS = 65


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> DataFolder:
    out = tmp_path_factory.mktemp("out")
    build_data(out, photos=PHOTOS, stack=load_stack(str(stack_file(out))), progress=None)
    export(data_folder(out, "world"), "fastcomposer", out / "official", Letters())
    return data_folder(out, "world")


def codes(path: Path, tokenizer: Any = None) -> set[str]:
    return {fault.code for fault in validate(path, tokenizer or Letters()).faults}


def test_what_was_built_has_no_fault(built: DataFolder) -> None:
    for path in (built.path, built.path.parent.parent / "official"):
        found = validate(path, Letters())
        assert not found.faults, found.faults[:3]
        assert found.photos == PHOTOS
        assert "faults: none" in found.summary
    assert codes(built.path, FewLetters()) == {"too_many_tokens"}
    assert codes(built.path.parent.parent / "official", FewLetters()) == {"too_many_tokens"}


def test_who_counts_a_dataset_s_tokens(built: DataFolder, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="was made with the stack 'toys': name its file with --stack"):
        tokenizer_of(built)
    lengths = {None: 77, "mini": 60}
    assert {stack: tokenizer_of(DataFolder(tmp_path), stack).model_max_length for stack in lengths} == lengths
    write_json(DataFolder(tmp_path).recipe, {"stack": "mini"})
    assert tokenizer_of(DataFolder(tmp_path)).model_max_length == 60


def test_a_build_that_is_not_finished_is_neither_trained_on_nor_exported_nor_scored(
    built: DataFolder, tmp_path: Path
) -> None:
    folder = DataFolder(tmp_path / "half")
    shutil.copytree(built.path, folder.path)
    assert len(open_photos(folder.path)) > 0
    folder.build.unlink()
    for use in (
        lambda: open_photos(folder.path),
        lambda: export(folder, "coco", tmp_path / "coco"),
        lambda: evaluate(folder),
    ):
        with pytest.raises(DataError, match=r"half: its build is not finished; run the same fcbench build-data again"):
            use()
    folder.recipe.unlink()  # as it is published
    assert len(open_photos(folder.path)) > 0


def shifted(row: dict[str, Any], **more: Any) -> None:
    row["segments"][0].update(more)


def transposed(row: dict[str, Any]) -> None:
    x1, y1, x2, y2 = row["segments"][0]["bbox"]
    row["segments"][0]["bbox"] = [y1, x1, y2, x2]


ROW_FAULTS: dict[str, tuple[str, Callable[[dict[str, Any]], Any]]] = {
    "a box of rows first": ("bbox", transposed),
    "an empty mask": ("mask", lambda row: shifted(row, rle=encode_mask(np.zeros((64, 64), bool)))),
    "a mask of another size": ("mask", lambda row: shifted(row, rle=encode_mask(np.ones((8, 8), bool)))),
    "an area": ("area", lambda row: shifted(row, area=1)),
    "an id of 0": ("segment_id", lambda row: shifted(row, id=0)),
    "an end within a word": ("end_in_a_word", lambda row: shifted(row, end=row["segments"][0]["end"] - 1)),
    "a span that is no phrase": ("span", lambda row: shifted(row, start=row["segments"][0]["start"] + 1)),
    "a phrase that is not there": ("span", lambda row: row["noun_phrases"][0].update(text="nobody")),
    "another size": ("size", lambda row: row.update(width=3)),
    "no picture": ("picture", lambda row: row["image"].update(bytes=b"broken")),
    "no author": ("credit", lambda row: row.update(author="")),
    "two of one end": ("shared_end", lambda row: row["segments"].append({**row["segments"][0], "id": 9})),
    "nobody with a phrase": ("no_match", lambda row: [s.update(end=None) for s in row["segments"]]),
    "an id twice": ("id_twice", lambda row: row.update(id="twice")),
}


@pytest.mark.parametrize("name", ROW_FAULTS)
def test_a_fault_of_a_row_is_named(name: str, built: DataFolder, tmp_path: Path) -> None:
    code, spoil = ROW_FAULTS[name]
    shutil.copytree(built.path, tmp_path / "x", ignore=shutil.ignore_patterns("work", "photos"))
    file = DataFolder(tmp_path / "x").shards("train")[0]
    rows = parquet.read_table(file).to_pylist()
    for row in rows[:2]:
        spoil(row)
    parquet.write_table(pyarrow.Table.from_pylist(rows, schema=FEATURES.arrow_schema), file)
    assert {code, "file_changed"} <= codes(tmp_path / "x")


def test_a_file_that_is_gone_is_named(built: DataFolder, tmp_path: Path) -> None:
    shutil.copytree(built.path, tmp_path / "x", ignore=shutil.ignore_patterns("work", "photos"))
    next((tmp_path / "x" / "annotations").glob("train-*")).unlink()
    assert codes(tmp_path / "x") == {"missing_file"}


def test_faults_of_the_whole_are_named(built: DataFolder, tmp_path: Path) -> None:
    folder = DataFolder(tmp_path / "x")
    shutil.copytree(built.path, folder.path, ignore=shutil.ignore_patterns("work", "photos"))
    told = json.loads(folder.build.read_text())
    told["counts"]["inputs"] += 1
    folder.build.write_text(json.dumps(told))
    assert codes(folder.path) == {"lost_photos"}
    folder.build.unlink()
    assert codes(folder.path) == {"unfinished"}
    shutil.copy(folder.shards("train")[0], folder.shards("test")[0])
    assert codes(folder.path) == {"unfinished", "file_changed", "id_twice", "person_in_two_splits"}
    with pytest.raises(UsageError, match="neither"):
        validate(tmp_path)


def edit(stem: Path, change: Callable[[dict[str, Any]], Any]) -> None:
    path = stem.with_suffix(".json")
    record = json.loads(path.read_text())
    change(record)
    path.write_text(json.dumps(record))


def segment0(**more: Any) -> Callable[[dict[str, Any]], Any]:
    return lambda record: record["segments"][0].update(more)


def swap(record: dict[str, Any]) -> None:
    x1, y1, x2, y2 = record["segments"][0]["bbox"]
    record["segments"][0]["bbox"] = [y1, x1, y2, x2]


def earlier(record: dict[str, Any]) -> None:
    record["segments"][0]["end"] -= 1


OFFICIAL_FAULTS: dict[str, tuple[str, Callable[[Path], Any]]] = {
    "transposed": ("bbox", lambda stem: edit(stem, swap)),
    "outside": ("bbox", lambda stem: edit(stem, segment0(bbox=[0, 0, 999, 999]))),
    "no pixel": ("mask", lambda stem: edit(stem, segment0(id=99))),
    "end 0": ("end", lambda stem: edit(stem, segment0(end=0))),
    "within a word": ("end_in_a_word", lambda stem: edit(stem, earlier)),
    "shared": ("shared_end", lambda stem: edit(stem, lambda r: r["segments"].append({**r["segments"][0], "id": 0}))),
    "no caption": ("unreadable", lambda stem: edit(stem, lambda record: record.pop("caption"))),
    "cut photo": (
        "unreadable",
        lambda stem: stem.with_suffix(".jpg").write_bytes(stem.with_suffix(".jpg").read_bytes()[:400]),
    ),
    "pickled map": (
        "unreadable",
        lambda stem: np.save(stem.with_suffix(".npy"), np.array([{}], object), allow_pickle=True),
    ),
    "floats": ("map", lambda stem: np.save(stem.with_suffix(".npy"), np.load(stem.with_suffix(".npy")).astype(float))),
    "wide numbers": (
        "map",
        lambda stem: np.save(stem.with_suffix(".npy"), np.load(stem.with_suffix(".npy")).astype(np.int32)),
    ),
    "beyond a byte": ("segment_id", lambda stem: edit(stem, segment0(id=256))),
    "a label in capitals": ("coco_label", lambda stem: edit(stem, segment0(coco_label="Person"))),
    "other size": ("map", lambda stem: np.save(stem.with_suffix(".npy"), np.load(stem.with_suffix(".npy"))[:-1])),
    "gone": ("missing_file", lambda stem: stem.with_suffix(".npy").unlink()),
}


@pytest.mark.parametrize("name", OFFICIAL_FAULTS)
def test_a_fault_of_an_official_folder_is_named(name: str, built: DataFolder, tmp_path: Path) -> None:
    code, spoil = OFFICIAL_FAULTS[name]
    shutil.copytree(built.path.parent.parent / "official", tmp_path / "x")
    photo = (tmp_path / "x" / "image_ids_train.txt").read_text().split()[0]
    spoil(tmp_path / "x" / photo[:5] / photo)
    assert code in codes(tmp_path / "x")


def test_a_dataset_that_trains_nobody_is_named(built: DataFolder, tmp_path: Path) -> None:
    shutil.copytree(built.path.parent.parent / "official", tmp_path / "x")
    for file in (tmp_path / "x").glob("*/*.json"):
        edit(file, lambda record: [segment.update(coco_label="dog") for segment in record["segments"]])
    assert codes(tmp_path / "x") == {"nobody"}


def test_a_photo_of_ffhq_whose_crops_are_in_two_splits_is_named(built: DataFolder, tmp_path: Path) -> None:
    folder = DataFolder(tmp_path / "x")
    shutil.copytree(built.path, folder.path, ignore=shutil.ignore_patterns("work", "photos"))
    for split in ("train", "test"):
        file = folder.shards(split)[0]
        rows = parquet.read_table(file).to_pylist()
        rows[0]["source"] = "https://photos.test/1"
        parquet.write_table(pyarrow.Table.from_pylist(rows, schema=FEATURES.arrow_schema), file)
    assert codes(folder.path) == {"file_changed"}
    told = json.loads(folder.build.read_text())
    told["recipe"]["source"] = "ffhq /data/ffhq"
    folder.build.write_text(json.dumps(told))
    assert codes(folder.path) == {"file_changed", "photo_in_two_splits"}


def test_faults_of_the_lists_are_named(built: DataFolder, tmp_path: Path) -> None:
    shutil.copytree(built.path.parent.parent / "official", tmp_path / "x")
    train = tmp_path / "x" / "image_ids_train.txt"
    first = train.read_text().split()[0]
    train.write_text(train.read_text() + f"{first}\nabc\n")
    with (tmp_path / "x" / "image_ids_test.txt").open("a") as handle:
        handle.write(f"{first}\n")
    (tmp_path / "x" / "image_ids.txt").write_text("")
    assert codes(tmp_path / "x") == {"id", "id_twice", "in_two_splits", "list"}
