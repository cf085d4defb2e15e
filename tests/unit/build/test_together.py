"""What is kept in one split beside people: photos that look alike, and those of one author."""

from __future__ import annotations

import io
import json
import shlex
from itertools import combinations
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import pyarrow.parquet as parquet
import pytest
from PIL import Image as Pillow

from fcbench import cli
from fcbench.build import build_data
from fcbench.build.cast import world_scene
from fcbench.build.decode import shrink
from fcbench.build.phash import alike, phash
from fcbench.build.quality import brightness
from fcbench.files import read_json, write_image
from fcbench.masks import encode_mask
from fcbench.stacks import load_stack
from fcbench.store import data_folder
from fcbench.types import Image
from fcbench.world import render
from tests.toys.build_toys import stack_file


def differing(first: Image, second: Image) -> int:
    """Bits in which the hashes of two pictures differ."""
    one, other = (int(phash(brightness(image)), 16) for image in (first, second))
    return (one ^ other).bit_count()


def compressed(image: Image) -> Image:
    data = io.BytesIO()
    Pillow.fromarray(image).save(data, "JPEG", quality=60)
    return np.asarray(Pillow.open(data))


def test_a_photo_looks_like_itself_smaller_brighter_and_compressed_and_unlike_others() -> None:
    pictures = [render(world_scene(index, seed=0)[0], 256).image for index in range(6)]
    for picture in pictures:
        darker = (picture * 0.8).astype(np.uint8)
        assert max(differing(picture, other) for other in (shrink(picture, 100), compressed(picture), darker)) <= 4
    assert min(differing(first, second) for first, second in combinations(pictures, 2)) > 10


def test_a_plain_picture_has_a_hash() -> None:
    assert phash(np.full((7, 300), 90.0, np.float32)) == "8000000000000000"


@pytest.mark.parametrize("bits", [0, 1, 4])
def test_alike_are_those_that_differ_in_so_few_bits(bits: int) -> None:
    chance = Random(0)
    codes = [chance.getrandbits(64) for _ in range(20)]
    for code in list(codes):
        flipped = code
        for place in chance.sample(range(64), chance.randrange(7)):
            flipped ^= 1 << place
        codes.append(flipped)
    unlike = {str(k): f"{code:016x}" for k, code in enumerate(dict.fromkeys(codes))}
    near = {
        (first, second)
        for first, second in combinations(unlike, 2)
        if (int(unlike[first], 16) ^ int(unlike[second], 16)).bit_count() <= bits
    }
    found = list(alike(unlike, bits))
    assert set(found) == near
    assert len(found) == len(near)
    assert list(alike({"a": "00", "b": "00", "c": "00"}, bits)) == [("a", "b"), ("a", "c")]


def test_photos_are_alike_up_to_four_bits() -> None:
    hashes = {"a": f"{0:016x}", "four from a": f"{0b1111:016x}", "five from a": f"{0b11111 << 32:016x}"}
    assert list(alike(hashes)) == [("a", "four from a")]


def put_photos(folder: Path, count: int) -> None:
    """Photos of nobody known: each of even number looks like the one after it, and every third is Ann's."""
    for number in range(count):
        picture = render(world_scene(number // 2, seed=0)[0], 128).image.copy()
        picture[:2] = number  # not the same pixels
        write_image(folder / f"{number:03d}.png", picture)
        licence = {
            "author": "Ann" if number % 3 == 0 else f"author {number}",
            "source": f"https://photos.test/{number}",
        }
        people = [{"mask": encode_mask(np.ones((128, 128), bool))}]
        sidecar = {"caption": "a man", "people": people, "licence": licence}
        (folder / f"{number:03d}.json").write_text(json.dumps(sidecar))


def splits_of(out: Path) -> dict[int, str]:
    """By a photo's number the split that it is in."""
    folder = data_folder(out, "own")
    names = {path: path.name.partition("-")[0] for path in folder.path.glob("annotations/*.parquet")}
    return {int(id[:3]): split for path, split in names.items() for id in parquet.read_table(path)["id"].to_pylist()}


def test_photos_that_look_alike_or_have_one_author_are_in_one_split_where_that_is_asked_for(tmp_path: Path) -> None:
    put_photos(images := tmp_path / "images", 60)
    stack = load_stack(str(stack_file(tmp_path / "stack", seed=0)))
    given: Any = {"source": "folder", "name": "own", "images": images, "stack": stack, "progress": None}
    build_data(tmp_path, **given)
    apart = splits_of(tmp_path)
    assert len(apart) == 60
    assert any(apart[number] != apart[number + 1] for number in range(0, 60, 2))
    build_data(tmp_path, **given, together=("alike",), update=True)
    pairs = splits_of(tmp_path)
    assert all(pairs[number] == pairs[number + 1] for number in range(0, 60, 2))
    assert set(pairs.values()) == {"train", "validation", "test"}
    assert {pairs[number] for number in range(0, 60, 3)} != {"train"}
    build_data(tmp_path, **given, together=("author",), update=True)
    authors = splits_of(tmp_path)
    assert {authors[number] for number in range(0, 60, 3)} == {"train"}
    assert any(authors[number] != authors[number + 1] for number in range(0, 60, 2))
    assert read_json(data_folder(tmp_path, "own").build)["recipe"]["together"] == ["author"]


def test_photos_of_no_known_author_are_nobody_s(tmp_path: Path) -> None:
    put_photos(images := tmp_path / "images", 40)
    for file in images.glob("*.json"):
        told = json.loads(file.read_text())
        author = {"licence": {**told["licence"], "author": " " if int(file.stem) % 2 else "unknown"}}
        file.write_text(json.dumps(told | author))
    stack = load_stack(str(stack_file(tmp_path / "stack", seed=0)))
    given: Any = {"source": "folder", "name": "own", "images": images, "stack": stack, "progress": None}
    counts = build_data(tmp_path, **given, together=("author",))
    assert counts.splits.keys() == {"train", "validation", "test"}  # of one or two groups all would be train
    assert "none for" not in counts.summary


def test_who_is_in_a_duplicate_is_in_its_original(tmp_path: Path) -> None:
    images = tmp_path / "images"
    for number in range(90):  # by threes: a photo, its copy of a group, and another photo of that group
        write_image(images / f"{number:03d}.png", np.full((64, 64, 3), 2 * (number - (number % 3 == 1)), np.uint8))
        group = {"group": f"g{number // 3}"} if number % 3 else {}
        people = [{"mask": encode_mask(np.ones((64, 64), bool))}]
        (images / f"{number:03d}.json").write_text(json.dumps({"caption": "a man", "people": people, **group}))
    stack = load_stack(str(stack_file(tmp_path / "stack", seed=0)))
    given: Any = {"source": "folder", "name": "own", "images": images, "stack": stack, "progress": None}
    assert build_data(tmp_path, **given).duplicates == 30
    splits = splits_of(tmp_path)
    assert all(splits[number] == splits[number + 2] for number in range(0, 90, 3))
    assert set(splits.values()) == {"train", "validation", "test"}


def test_a_held_out_copy_holds_its_original_out(tmp_path: Path) -> None:
    images = tmp_path / "images"
    for number in range(20):
        write_image(images / f"{number:03d}.png", np.full((64, 64, 3), 2 * (number % 10), np.uint8))
        people = [{"mask": encode_mask(np.ones((64, 64), bool))}]
        told = {"caption": "a man", "people": people, "split": "validation" if number == 13 else "train"}
        (images / f"{number:03d}.json").write_text(json.dumps(told))
    stack = load_stack(str(stack_file(tmp_path / "stack", seed=0)))
    build_data(tmp_path, source="folder", name="own", images=images, stack=stack, progress=None)
    assert splits_of(tmp_path) == {number: "validation" if number == 3 else "train" for number in range(10)}


def test_a_build_says_for_what_no_photo_is_left(tmp_path: Path) -> None:
    stack = load_stack(str(stack_file(tmp_path / "stack", seed=0)))
    counts = build_data(tmp_path, photos=20, stack=stack, together=("author",), progress=None)  # all are fcbench's
    assert counts.splits == {"train": 20}
    assert counts.summary.endswith("; none for validation or test")


def test_the_command_takes_what_is_kept_together_and_refuses_what_it_does_not_know(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    put_photos(images := tmp_path / "images", 6)
    words = ["build-data", "--source", str(images), "--name", "own", "--stack", str(stack_file(tmp_path / "stack"))]
    words += ["--device", "cpu", "--workers", "1", "--out", str(tmp_path / "out")]
    assert cli.main([*words, "--together", "author,looks"]) == 2
    assert "--together looks: known: author, alike" in capsys.readouterr().err
    assert cli.main([*words, "--together", "alike,author"]) == 0
    folder = data_folder(tmp_path / "out", "own")
    (told,) = [line for line in folder.card.read_text().splitlines() if "--exclude" in line]
    again = shlex.split(told)
    assert again[again.index("--together") + 1] == "alike,author"
    assert cli.main([*words, "--together", "author, alike"]) == 0  # the same recipe
    assert "is built already" in capsys.readouterr().err
    rows = [row for path in folder.path.glob("data/*.parquet") for row in parquet.read_table(path).to_pylist()]
    read = {row["id"]: np.asarray(Pillow.open(io.BytesIO(row["image"]["bytes"]))) for row in rows}
    assert {row["id"]: row["phash"] for row in rows} == {id: phash(brightness(image)) for id, image in read.items()}
