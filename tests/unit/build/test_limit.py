"""``--limit``: the first photos of a source alone, which is part of what a build is known by."""

from __future__ import annotations

import json
import shlex
from pathlib import Path

import numpy as np
import pyarrow
import pyarrow.parquet as parquet
import pytest

from fcbench import cli
from fcbench.build import build_data
from fcbench.build.source import First, open_source
from fcbench.errors import UsageError
from fcbench.files import read_json, write_image
from fcbench.masks import encode_mask
from fcbench.stacks import load_stack
from fcbench.store import DataFolder, data_folder
from tests.toys.build_toys import stack_file
from tests.unit.build.test_sources import entry, ingest, png


@pytest.fixture
def images(tmp_path: Path) -> Path:
    """Four photos, a to d, each with its caption and its person."""
    for shade, name in enumerate("abcd"):
        write_image(tmp_path / "images" / f"{name}.png", np.full((64, 64, 3), 40 * shade, np.uint8))
        sidecar = {"caption": "a man", "people": [{"mask": encode_mask(np.ones((64, 64), bool))}]}
        (tmp_path / "images" / f"{name}.json").write_text(json.dumps(sidecar))
    return tmp_path / "images"


def put_ffhq(root: Path) -> None:
    (root / "in-the-wild-images" / "00000").mkdir(parents=True)
    data = png()
    (root / "ffhq-dataset-v2.json").write_text(json.dumps({str(n): entry(n, data) for n in range(4)}))
    for number in (0, 2, 3):
        (root / "in-the-wild-images" / "00000" / f"{number:05d}.png").write_bytes(data)


@pytest.mark.parametrize("kind", ["folder", "parquet", "ffhq"])
def test_the_first_of_a_source_are_those_that_it_gives_first(kind: str, images: Path, tmp_path: Path) -> None:
    place = images
    if kind == "ffhq":
        put_ffhq(place := tmp_path / "ffhq")
    elif kind == "parquet":
        rows = [{"image": file.read_bytes()} for file in sorted(images.glob("*.png"))]
        parquet.write_table(pyarrow.Table.from_pylist(rows), place := tmp_path / "0.parquet")
    whole = open_source(kind, photos=0, seed=0, size=64, images=place)
    first = open_source(kind, photos=0, seed=0, size=64, images=place, limit=2)
    assert (len(first), first.recipe) == (2, {**whole.recipe, "limit": 2})
    assert [item.id for item in ingest(first, tmp_path)] == [item.id for item in ingest(whole, tmp_path)][:2]
    assert first.key(range(2)) == whole.key(range(2))  # what was taken in is not taken in again
    assert len(First(whole, 99)) == len(whole)


def test_another_limit_in_the_same_folder_is_refused_unless_it_is_to_be_updated(images: Path, tmp_path: Path) -> None:
    stack, folder = load_stack(str(stack_file(tmp_path))), data_folder(tmp_path, "own")

    def build(limit: int | None, *, update: bool = False) -> int:
        counts = build_data(
            tmp_path, source=str(images), name="own", stack=stack, limit=limit, update=update, progress=None
        )
        return counts.inputs

    assert build(2) == build(2) == 2
    assert copies(folder) == ["a", "b"]
    first = next(folder.photos.glob("a-*.png")).stat().st_mtime_ns
    for other in (3, None):
        with pytest.raises(UsageError, match=rf"limit 2 there, {other} asked.*give --update"):
            build(other)
    assert build(3, update=True) == 3
    assert build(None, update=True) == 4
    assert copies(folder) == ["a", "b", "c", "d"]
    assert next(folder.photos.glob("a-*.png")).stat().st_mtime_ns == first
    assert "limit" not in read_json(folder.recipe)  # as of a build that never heard of limits


def copies(folder: DataFolder) -> list[str]:
    return sorted(path.name.partition("-")[0] for path in folder.photos.glob("*.png"))


@pytest.mark.parametrize(("source", "limit"), [("folder", 0), ("folder", -3), ("world", 5)])
def test_a_limit_of_nothing_and_one_of_the_world_are_refused(source: str, limit: int, images: Path) -> None:
    with pytest.raises(UsageError, match=f"^--limit {limit}: "):
        open_source(source, photos=9, seed=0, size=64, images=images, limit=limit)


def test_the_command_plans_and_builds_so_many_and_its_card_asks_for_as_many(
    images: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    stack, out = str(stack_file(tmp_path / "stack")), tmp_path / "out"
    words = ["build-data", "--source", "folder", "--images", str(images), "--name", "own", "--limit", "2"]
    words += ["--stack", stack, "--device", "cpu", "--workers", "1", "--out", str(out)]
    assert cli.main([*words, "--plan"]) == 0
    assert "photos     2, working copies" in capsys.readouterr().out
    assert cli.main(words) == 0
    assert ": 2 of 2 photos" in capsys.readouterr().out
    (told,) = [line for line in data_folder(out, "own").card.read_text().splitlines() if "--exclude" in line]
    again = shlex.split(told)
    assert again[again.index("--limit") + 1] == "2"


def test_the_plan_of_a_part_of_ffhq_counts_the_terms_of_that_part(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    put_ffhq(tmp_path / "ffhq")
    words = ["build-data", "--source", "ffhq", "--images", str(tmp_path / "ffhq"), "--limit", "2", "--plan"]
    assert cli.main([*words, "--out", str(tmp_path / "out")]) == 0
    told = capsys.readouterr().out
    assert "photos     2, working copies" in told
    assert "licences   Attribution License: 2\n" in told
    assert "photos     1 photos of the list are missing: 00001" in told
