from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import pytest
from PIL import Image as Pillow

from fcbench.config import Recipe
from fcbench.errors import DataError, UsageError
from fcbench.fastcomposer.data import make_example, open_photos
from fcbench.fastcomposer.official_data import FolderPhotos
from fcbench.fastcomposer.train import train
from fcbench.store import dataset_path
from fcbench.types import Stack

IDS = ("00001", "000010002")
CAPTION = "a man and a woman in the snow"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Two landscapes of 20 x 12 with a man to the left, a woman to the right, and a dog."""
    for number, photo_id in enumerate(IDS):
        folder = tmp_path / photo_id[:5]
        folder.mkdir(exist_ok=True)
        drawn = np.random.default_rng(number).integers(0, 256, (12, 20, 3), dtype=np.uint8)
        Pillow.fromarray(drawn).save(folder / f"{photo_id}.jpg")
        ids = np.zeros((12, 20), np.uint8)
        ids[2:10, 1:7], ids[3:12, 12:19], ids[0, 0] = 1, 2, 3
        np.save(folder / f"{photo_id}.npy", ids)
        write(tmp_path, photo_id, [person(2, [12, 3, 19, 12], 17), person(1, [1, 2, 7, 10], 5), dog()])
    (tmp_path / "image_ids_train.txt").write_text("\n".join(IDS) + "\n")
    return tmp_path


def person(number: Any, box: Any, end: Any, **more: Any) -> dict[str, Any]:
    return {"id": number, "bbox": box, "end": end, "coco_label": "person", **more}


def dog() -> dict[str, Any]:
    return {"id": 3, "bbox": [0, 0, 1, 1], "end": 29, "coco_label": "dog"}


def write(root: Path, photo_id: str, segments: Any, caption: Any = CAPTION) -> None:
    path = root / photo_id[:5] / f"{photo_id}.json"
    path.write_text(json.dumps({"caption": caption, "segments": segments}))


def test_people_are_read_in_the_order_of_their_phrases(root: Path) -> None:
    photos = open_photos(root)
    assert isinstance(photos, FolderPhotos)
    assert (len(photos), photos.captions, photos.ids) == (2, [CAPTION] * 2, list(IDS))
    assert [segment.end for segment in photos.segments[1]] == [5, 17]
    assert photos.image(1).shape == (12, 20, 3)
    assert [int(photos.mask(1, index).sum()) for index in (0, 1)] == [48, 63]
    assert photos.other(0, 0, Random(0)) is None


def test_maps_of_any_integers_are_equal(root: Path) -> None:
    path = root / "00001" / "00001.npy"
    before = FolderPhotos(root).mask(0, 0)
    np.save(path, np.load(path).astype(np.int64))
    assert (FolderPhotos(root).mask(0, 0) == before).all()


def test_masks_are_cropped_as_the_photo_is(root: Path, stack: Stack) -> None:
    recipe = Recipe(name="all", unconditional=0, text_only=0, subject_drop=0)
    photos = FolderPhotos(root)
    example = make_example(photos, 0, stack.role("tokenizer"), recipe, Random(0), side=12, reference_side=16)
    for index, mask in enumerate(example.masks):
        assert (mask == photos.mask(0, index)[:, 4:16]).all()


def test_of_two_phrases_that_end_together_one_subject_is_kept(root: Path, stack: Stack) -> None:
    write(root, IDS[0], [person(1, [1, 2, 7, 10], 5), person(2, [12, 3, 19, 12], 5)])
    recipe = Recipe(name="all", unconditional=0, text_only=0, subject_drop=0)
    photos = FolderPhotos(root)
    example = make_example(photos, 0, stack.role("tokenizer"), recipe, Random(0), side=12, reference_side=16)
    assert len(example.positions) == len(example.references) == 1
    assert (example.masks[0] == photos.mask(0, 0)[:, 4:16]).all()


def test_it_is_trained_on_like_any_dataset(root: Path, stack: Stack, recipe: Recipe, tmp_path: Path) -> None:
    train(root, tmp_path / "made", stack, recipe)
    assert (tmp_path / "made" / "fusion.safetensors").exists()


def test_a_dataset_is_found_by_its_name_before_its_path(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    assert dataset_path(out, str(root)) == root
    assert dataset_path(out, "world") == out / "data" / "world"
    monkeypatch.chdir(root)
    assert dataset_path(out, "00001") == Path("00001")
    (out / "data" / "00001").mkdir(parents=True)
    assert dataset_path(out, "00001") == out / "data" / "00001"


def test_the_digest_tells_captions_apart(root: Path) -> None:
    before = FolderPhotos(root).digest
    assert FolderPhotos(root).digest == before
    write(root, IDS[0], [], "another")
    assert FolderPhotos(root).digest != before


@pytest.mark.parametrize(
    ("segments", "message"),
    [
        ([person(1, [1, 2, 7, 10], 0)], r"segment 0: end 0: expected a character of the caption, 1 to 29"),
        ([person(1, [1, 2, 7, 10], 30)], r"segment 0: end 30: expected"),
        ([person(1, [1, 2, 7, 10], None)], r"segment 0: end None: expected"),
        ([person(1, [7, 2, 1, 10], 5)], r"segment 0: bbox \[7, 2, 1, 10\]: expected 0 <= x1 < x2"),
        ([person(1, [1, 2, 7.5, 10], 5)], r"segment 0: bbox \[1, 2, 7\.5, 10\]: expected \[x1, y1, x2, y2\]"),
        ([dog(), person("1", [1, 2, 7, 10], 5)], r"segment 1: id '1': expected a number of its own"),
        ([person(1, [1, 2, 7, 10], 5)] * 2, r"segment 1: id 1: expected a number of its own"),
        ([{"id": 1}], r"segments: expected a list"),
        (None, r"segments: expected a list"),
    ],
)
def test_segments_that_would_train_wrong_are_refused_with_their_file(root: Path, segments: Any, message: str) -> None:
    write(root, IDS[1], segments)
    with pytest.raises(DataError, match=rf"00001/000010002\.json: {message}"):
        FolderPhotos(root)


def test_a_caption_that_is_none_and_json_that_is_none_are_refused(root: Path) -> None:
    write(root, IDS[1], [], None)
    with pytest.raises(DataError, match=r"000010002\.json: no caption"):
        FolderPhotos(root)
    (root / "00001" / "000010002.json").write_text("{")
    with pytest.raises(DataError, match=r"000010002\.json: "):
        FolderPhotos(root)


@pytest.mark.parametrize("suffix", [".jpg", ".json", ".npy"])
def test_a_missing_file_is_named(root: Path, suffix: str) -> None:
    (root / "00001" / f"000010002{suffix}").unlink()
    with pytest.raises(DataError, match=rf"000010002\{suffix}: no such file, but image_ids_train\.txt names 000010002"):
        FolderPhotos(root)


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("train", "00001\n\n", r"image_ids_train\.txt, line 2: '' is not an id"),
        ("train", "00001\n1a\n", r"line 2: '1a' is not an id"),
        ("train", "00001\n00001\n", r"line 2: 00001 is there twice"),
        ("train", "", r"image_ids_train\.txt: no id"),
        ("test", "000010002\n", r"image_ids_test\.txt: 000010002 is in image_ids_train\.txt too"),
    ],
)
def test_a_list_that_is_wrong_is_refused_with_its_line(root: Path, name: str, text: str, message: str) -> None:
    (root / f"image_ids_{name}.txt").write_text(text)
    with pytest.raises(DataError, match=message):
        FolderPhotos(root)


def test_a_dataset_without_a_test_photo_is_trained_on(root: Path) -> None:
    (root / "image_ids_test.txt").write_text("")
    assert len(FolderPhotos(root)) == len(IDS)


def test_margins_of_a_layout_without_any_are_refused(root: Path) -> None:
    with pytest.raises(UsageError, match="the official layout keeps no margins: --set min_margin=0 takes all"):
        open_photos(root, 0.01)
    assert len(open_photos(root)) == len(IDS)


def test_a_training_id_must_be_in_the_list_of_all(root: Path) -> None:
    (root / "image_ids.txt").write_text("00001\n")
    with pytest.raises(DataError, match=r"image_ids\.txt: 000010002 of image_ids_train\.txt is not there"):
        FolderPhotos(root)


def turned(ids: Any) -> Any:
    return ids.T


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (turned, r"00001\.npy: 12 x 20 pixels, but the photo has 20 x 12"),
        (lambda ids: ids.astype(float), r"00001\.npy: float64 \[12, 20\]; a map is integers"),
        (lambda ids: ids[0], r"00001\.npy: uint8 \[20\]; a map is integers"),
        (lambda ids: np.where(ids == 1, 0, ids), r"00001\.npy: no pixel of segment 1 is in its bbox"),
    ],
)
def test_a_map_that_does_not_fit_is_refused_when_it_is_read(
    root: Path, change: Callable[[Any], Any], message: str
) -> None:
    path = root / "00001" / "00001.npy"
    np.save(path, change(np.load(path)))
    photos = FolderPhotos(root)
    with pytest.raises(DataError, match=message):
        photos.mask(0, 0)


def test_a_transposed_box_is_told_from_one_that_leaves_the_photo(root: Path) -> None:
    write(root, IDS[0], [person(1, [2, 1, 10, 7], 5), person(2, [12, 3, 19, 13], 17)])
    photos = FolderPhotos(root)
    with pytest.raises(DataError, match=r"bbox of segment 1 is \[y1, x1, y2, x2\]"):
        photos.mask(0, 0)
    with pytest.raises(DataError, match=r"bbox of segment 2, \[12, 3, 19, 13\], leaves the 20 x 12 photo"):
        photos.mask(0, 1)


def test_a_broken_picture_and_a_broken_map_are_named(root: Path) -> None:
    (root / "00001" / "00001.jpg").write_bytes(b"no picture")
    (root / "00001" / "000010002.npy").write_bytes(b"no array")
    photos = FolderPhotos(root)
    with pytest.raises(DataError, match=r"00001\.jpg: not a picture"):
        photos.image(0)
    with pytest.raises(DataError, match=r"000010002\.npy: not an array"):
        photos.mask(1, 0)
