"""How rows are cut: row groups and files are no larger than a reader can hold, and hold the same rows."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow.parquet as parquet
import pytest

from fcbench.build import build_data
from fcbench.build.rows import Rows
from fcbench.build.screen import Screen
from fcbench.build.validate import validate
from fcbench.build.write import write_photos
from fcbench.fastcomposer.data import open_photos
from fcbench.files import read_json
from fcbench.stacks import load_stack
from fcbench.store import DataFolder, data_folder
from tests.toys.build_toys import stack_file
from tests.unit.build.test_export import Letters
from tests.unit.build.test_quality import GOOD, photo

PHOTOS = 60
BYTES = 40_000


def groups_of(file: Path) -> list[list[dict[str, Any]]]:
    opened = parquet.ParquetFile(file)
    return [opened.read_row_group(group).to_pylist() for group in range(opened.num_row_groups)]


def pixels_in(rows: list[dict[str, Any]]) -> int:
    return sum(len(row["image"]["bytes"]) for row in rows)


@pytest.mark.parametrize(
    ("most_rows", "most_bytes", "sizes"),
    [
        (100, 250, [2, 2, 1, 1, 1]),  # the sixth alone has more than a group may
        (100, 300, [3, 2, 1, 1]),
        (2, 10**6, [2, 2, 2, 1]),
        (100, 10**6, [7]),
    ],
)
def test_a_row_group_ends_before_it_has_too_many_bytes_or_rows(
    most_rows: int, most_bytes: int, sizes: list[int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fcbench.build.write.ROW_GROUP_ROWS", most_rows)
    monkeypatch.setattr("fcbench.build.write.ROW_GROUP_BYTES", most_bytes)
    photos = [photo(tmp_path, str(number), None, GOOD) for number in range(7)]
    for number, one in enumerate(photos):
        one.path.write_bytes(bytes(400 if number == 5 else 100))
    write_photos(tmp_path / "x.parquet", photos, "recipe")
    groups = groups_of(tmp_path / "x.parquet")
    assert [len(group) for group in groups] == sizes
    assert all(pixels_in(group) <= most_bytes or len(group) == 1 for group in groups)
    assert [row["id"] for group in groups for row in group] == [one.id for one in photos]


def test_a_shard_s_file_is_cut_where_its_pictures_have_too_many_bytes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stack = load_stack(str(stack_file(tmp_path)))
    whole, cut = (data_folder(tmp_path / name, "world") for name in ("whole", "cut"))
    build_data(tmp_path / "whole", photos=PHOTOS, stack=stack, progress=None)
    monkeypatch.setattr("fcbench.build.tables.FILE_BYTES", BYTES)
    build_data(tmp_path / "cut", photos=PHOTOS, stack=stack, progress=None)
    assert rows_by_split(cut) == rows_by_split(whole)
    assert len(cut.shards("train")) > len(whole.shards("train"))
    _hold_together(cut)
    assert len(open_photos(cut.path)) == len(open_photos(whole.path))

    changed = {path: path.stat().st_mtime_ns for path in cut.path.glob("data/*.parquet")}
    cut.build.unlink()
    build_data(tmp_path / "cut", photos=PHOTOS, stack=stack, progress=None)
    assert {path: path.stat().st_mtime_ns for path in cut.path.glob("data/*.parquet")} == changed

    down = Screen((), frozenset({rows_by_split(cut)["train"][0]["id"]}))
    for out, most in (("cut", BYTES), ("whole", 10**9)):
        monkeypatch.setattr("fcbench.build.tables.FILE_BYTES", most)
        build_data(tmp_path / out, photos=PHOTOS, stack=stack, screen=down, update=True, progress=None)
    assert rows_by_split(cut) == rows_by_split(whole)
    _hold_together(cut)

    cut.build.unlink()
    build_data(tmp_path / "cut", photos=PHOTOS, stack=stack, screen=down, progress=None)
    assert names_in(cut) == names_in(whole)  # no file of a larger number of them is left
    _hold_together(cut, 10**9)


def names_in(folder: DataFolder) -> set[str]:
    return {f"{path.parent.name}/{path.name}" for path in folder.path.glob("[da]*/*.parquet")}


def rows_by_split(folder: DataFolder) -> dict[str, list[dict[str, Any]]]:
    rows = Rows(folder)
    return {split: list(rows.of(split)) for split in rows.splits}


def _hold_together(folder: DataFolder, most: int = BYTES) -> None:
    """Files are small, numbered without a gap, twinned by their annotations, and what the records say they are."""
    told = read_json(folder.build)["files"]
    assert set(told) == names_in(folder)
    assert sum(1 for _ in folder.path.glob("meta/*.json")) == -(-PHOTOS // 50)
    for split in Rows(folder).splits:
        files = folder.shards(split)
        assert files == [folder.shard(split, number, len(files)) for number in range(len(files))]
        for number, file in enumerate(files):
            rows = parquet.read_table(file).to_pylist()
            assert pixels_in(rows) <= most or len(rows) == 1
            twin = parquet.read_table(folder.annotations(split, number, len(files)))
            assert twin.to_pylist() == [{key: row[key] for key in twin.column_names} for row in rows]
    found = validate(folder.path, Letters())
    assert not found.faults, json.dumps([str(fault) for fault in found.faults[:3]])
