"""A photo that was taken down is nowhere any more, and comes back if the list is taken back."""

from __future__ import annotations

import gzip
import json
import re
import shlex
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as parquet
import pytest

from fcbench import cli
from fcbench.build import build_data
from fcbench.build.ingest import id_of
from fcbench.build.page import write_page
from fcbench.build.screen import Screen
from fcbench.files import read_json, write_image, write_json
from fcbench.masks import encode_mask
from fcbench.stacks import load_stack
from fcbench.store import DataFolder, data_folder
from tests.toys.build_toys import stack_file

PHOTOS = 115


@pytest.mark.parametrize("fewer", ["limit", "source"])
def test_nothing_is_kept_of_photos_that_a_build_no_longer_has(fewer: str, tmp_path: Path) -> None:
    images, out = tmp_path / "images", tmp_path / "out"
    for number in range(60):
        write_image(images / f"{number:02d}.png", np.full((64, 64, 3), 4 * number, np.uint8))
        people = [{"mask": encode_mask(np.ones((64, 64), bool)), "noun": "man"}]
        sidecar = {"caption": "a man", "people": people, "licence": {"author": f"author of {number}"}}
        (images / f"{number:02d}.json").write_text(json.dumps(sidecar))
    stack = load_stack(str(stack_file(tmp_path / "stack", seed=0)))
    given: Any = {"source": "folder", "name": "own", "images": images, "stack": stack, "progress": None}
    build_data(out, **given)
    folder = data_folder(out, "own")
    write_page(folder)
    write_json(folder.evaluation, {})
    assert "author of 59" in _named_anywhere(folder)
    if fewer == "limit":
        given["limit"] = 20
    else:
        for number in range(20, 60):
            (images / f"{number:02d}.png").unlink()
    assert build_data(out, update=True, **given).accepted == 20
    named = _named_anywhere(folder)
    assert "author of 7" in named
    assert not named & {f"author of {number}" for number in range(20, 60)}
    assert len(list(folder.photos.iterdir())) == 40
    assert not folder.page.exists()
    assert not folder.evaluation.exists()


def test_what_was_taken_down_goes_with_its_copies_and_is_shown_nowhere(tmp_path: Path) -> None:
    images, out = tmp_path / "images", tmp_path / "out"
    images.mkdir()
    for number, name in enumerate(("a", "a again", "b", "c")):
        write_image(images / f"{name}.png", np.full((64, 64, 3), 40 * number, np.uint8))
        mask = encode_mask(np.ones((64, 64), bool))
        licence = {"author": f"author of {name}", "source": f"https://photos.test/{number}"}
        sidecar = {"caption": "a man", "people": [{"mask": mask, "noun": "man"}], "licence": licence}
        (images / f"{name}.json").write_text(json.dumps(sidecar))
    shutil.copy(images / "a.png", images / "a again.png")
    stack = load_stack(str(stack_file(tmp_path / "stack", seed=0)))
    given: Any = {"source": "folder", "name": "own", "images": images, "stack": stack, "progress": None}
    before = build_data(out, **given)
    assert (before.accepted, before.duplicates) == (3, 1)
    folder, down = data_folder(out, "own"), id_of("a.png")
    after = build_data(out, screen=Screen((), frozenset({down})), update=True, **given)
    assert (after.accepted, after.duplicates, after.rejected["takedown"]) == (2, 0, 2)
    assert _named_anywhere(folder) == {"author of b", "author of c"}
    for name in (down, id_of("a again.png")):
        assert folder.photo(name).read_bytes() == folder.sidecar(name).read_bytes() == b""
    again = build_data(out, screen=Screen((), frozenset({down})), update=True, **given)
    assert again == after
    other = {**given, "stack": load_stack(str(stack_file(tmp_path / "other", seed=5)))}
    write_page(folder)
    assert folder.page.exists()
    assert build_data(out, screen=Screen((), frozenset({down})), update=True, **other).accepted == after.accepted
    assert folder.photo(down).read_bytes() == folder.photo(id_of("a again.png")).read_bytes() == b""
    assert not folder.page.exists()
    assert _named_anywhere(folder) == {"author of b", "author of c"}
    by_source = Screen((), frozenset({"https://photos.test/0"}))
    assert build_data(out, screen=by_source, update=True, **given) == after
    for kept in folder.work.glob("screen/*"):
        kept.unlink()
    folder.build.unlink()
    assert build_data(out, screen=by_source, update=True, **given) == after
    assert build_data(out, update=True, **given) == before
    assert folder.photo(down).read_bytes()
    assert _named_anywhere(folder) == {"author of a", "author of a again", "author of b", "author of c"}


def test_of_a_photo_that_is_large_enough_for_jpeg_the_working_copy_is_emptied_too(tmp_path: Path) -> None:
    images, out = tmp_path / "images", tmp_path / "out"
    for number, name in enumerate("ab"):
        write_image(images / f"{name}.png", np.full((600, 600, 3), 40 * number, np.uint8))
        sidecar = {"caption": "a man", "people": [{"mask": encode_mask(np.ones((600, 600), bool))}]}
        (images / f"{name}.json").write_text(json.dumps(sidecar))
    stack = load_stack(str(stack_file(tmp_path / "stack", seed=0)))
    given: Any = {"source": "folder", "name": "own", "images": images, "stack": stack, "progress": None}
    build_data(out, **given)
    down, other = (data_folder(out, "own").photo(id_of(f"{name}.png")).with_suffix(".jpg") for name in "ab")
    assert down.stat().st_size
    build_data(out, screen=Screen((), frozenset({id_of("a.png")})), update=True, **given)
    assert not down.stat().st_size
    assert other.stat().st_size


@pytest.mark.parametrize("source", ["folder", "itself"])
def test_the_command_on_the_card_takes_a_photo_down(
    source: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (images := tmp_path / "my photos").mkdir()
    for number, licence in enumerate(("CC-BY-4.0", "CC-BY-4.0", "CC-BY-NC-4.0")):
        write_image(images / f"{number}.png", np.full((96, 64, 3), 40 * number, np.uint8))
        people = [{"mask": encode_mask(np.ones((96, 64), bool)), "noun": "man"}]
        sidecar = {"caption": "a man", "people": people, "licence": {"licence": licence}}
        (images / f"{number}.json").write_text(json.dumps(sidecar))
    stack, out = stack_file(tmp_path / "a stack", seed=0), tmp_path / "the out"
    place = ["--source", "folder", "--images", "my photos"] if source == "folder" else ["--source", str(images)]
    options = ["--name", "own", "--short-side", "64", "--assign", "greedy", "--licences", "by"]
    options += ["--stack", str(stack), "--out", str(out)]
    assert cli.main(["build-data", *place, *options, "--device", "cpu", "--workers", "1"]) == 0
    folder, down = data_folder(out, "own"), id_of("0.png")
    command = re.search(r"^fcbench build-data .*--exclude .*$", folder.card.read_text(), re.MULTILINE)
    assert command
    recipe = read_json(folder.build)["recipe"]
    Path("FILE").write_text(f"{down}\n")
    assert cli.main([*shlex.split(command[0])[1:], "--workers", "1"]) == 0
    rejected = read_json(folder.build)["counts"]["rejected"]
    assert (rejected["takedown"], rejected["licence_excluded"]) == (1, 1)
    after = read_json(folder.build)["recipe"]
    assert {key for key in after if after[key] != recipe[key]} == {"taken_down"}


def _named_anywhere(folder: DataFolder) -> set[str]:
    """The authors named in any file, compressed ones too."""
    told = b""
    for path in folder.path.rglob("*"):
        if path.is_file():
            told += gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    for path in folder.path.rglob("*.parquet"):
        told += str(parquet.read_table(path).to_pylist()).encode()
    return {name.decode() for name in re.findall(rb"author of (?:a again|\d+|\w)(?=\W)", told)}
