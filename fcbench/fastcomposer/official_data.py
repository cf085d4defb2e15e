"""The official dataset's folder (``ffhq_fastcomposer``) as it is, its files read from disk when they are needed.

::

    root/
      image_ids_train.txt                 one id a line: digits; image_ids.txt and image_ids_test.txt likewise
      <first 5 characters>/<id>.jpg       the photo
      <first 5 characters>/<id>.json      caption, and segments: id, bbox [x1, y1, x2, y2], end, coco_label
      <first 5 characters>/<id>.npy       integers (height, width): which segment each pixel belongs to, 0 for none

What would train wrongly raises DataError: in the lists and JSON files when the folder is opened, in a photo and its map
when they are read. Two segments may end at one character of the caption and so share a token: the official loader gives
it to one and hands the other one's picture to the next token; here a subject without a token is left out.
"""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image as Pillow

from fcbench.errors import DataError
from fcbench.fastcomposer.photos import Photos, Segment
from fcbench.masks import box_holds, box_of
from fcbench.types import PERSON, Image, Mask

SUFFIXES = (".jpg", ".json", ".npy")


def is_official(folder: Path) -> bool:
    """Whether a folder is laid out as the official dataset."""
    return _list_file(folder, "train").is_file()


class FolderPhotos(Photos):
    """The people in a split of the official folder; opening it reads the lists and the JSON files, no picture."""

    def __init__(self, root: Path, split: str = "train") -> None:
        super().__init__()
        self.ids = read_ids(root, split)
        self._root = root
        self._numbers: list[list[int]] = []
        self._last_map: tuple[int, npt.NDArray[Any]] | None = None
        _refuse_missing(root, self.ids, split)
        known = hashlib.sha256()
        for photo_id in self.ids:
            text = _file(root, photo_id, ".json").read_bytes()
            known.update(f"{photo_id} {len(text)} ".encode() + text)
            self._open(photo_id, text)
        self._digest = known.hexdigest()

    @property
    def digest(self) -> str:
        """Of the ids and the JSON files: the pictures are not read for it."""
        return self._digest

    def name(self, row: int) -> str:
        """Its id."""
        return self.ids[row]

    def mask(self, row: int, index: int) -> Mask:
        """The pixels that the map gives the segment; its box must hold some of them."""
        path, number, box = self._path(row, ".npy"), self._numbers[row][index], self.segments[row][index].box
        mask: Mask = self._map(row) == number
        x1, y1, x2, y2 = box
        height, width = mask.shape
        tight = box_of(mask)
        if not box_holds(box, tight) and box_holds((y1, x1, y2, x2), tight):
            raise DataError(f"{path}: the bbox of segment {number} is [y1, x1, y2, x2]; it must be [x1, y1, x2, y2]")
        if x2 > width or y2 > height:
            raise DataError(f"{path}: the bbox of segment {number}, {list(box)}, leaves the {width} x {height} photo")
        if not mask[y1:y2, x1:x2].any():
            raise DataError(f"{path}: no pixel of segment {number} is in its bbox {list(box)}")
        return mask

    def _decode(self, row: int) -> Image:
        path = self._path(row, ".jpg")
        try:
            with Pillow.open(path) as opened:
                return np.array(opened.convert("RGB"))  # not turned as EXIF says: the map is not either
        except (OSError, ValueError, SyntaxError, Pillow.DecompressionBombError) as error:
            raise DataError(f"{path}: not a picture that can be read ({error})") from error

    def _map(self, row: int) -> npt.NDArray[Any]:
        if self._last_map is None or self._last_map[0] != row:
            self._last_map = row, self._read_map(row)
        return self._last_map[1]

    def _read_map(self, row: int) -> npt.NDArray[Any]:
        path = self._path(row, ".npy")
        try:
            ids: npt.NDArray[Any] = np.load(path, allow_pickle=False)
        except (OSError, ValueError, EOFError) as error:
            raise DataError(f"{path}: not an array that can be read ({error})") from error
        if ids.ndim != 2 or ids.dtype.kind not in "iu":
            raise DataError(f"{path}: {ids.dtype} {list(ids.shape)}; a map is integers (height, width)")
        height, width = self.image(row).shape[:2]
        if ids.shape != (height, width):
            raise DataError(f"{path}: {ids.shape[1]} x {ids.shape[0]} pixels, but the photo has {width} x {height}")
        return ids

    def _open(self, photo_id: str, text: bytes) -> None:
        try:
            caption, found = _people(json.loads(text))
        except ValueError as error:  # of JSON and UTF-8 too
            raise DataError(f"{_file(self._root, photo_id, '.json')}: {error}") from error
        found.sort(key=lambda person: person[1].end)
        self._numbers.append([number for number, _ in found])
        self._add(caption, [segment for _, segment in found])

    def _path(self, row: int, suffix: str) -> Path:
        return _file(self._root, self.ids[row], suffix)


def read_ids(root: Path, split: str) -> list[str]:
    """The ids of ``train`` or ``test``, as they are written; DataError names the file and line of a wrong one.

    Those lists that exist must agree: training and test share no id, and all ids are in ``image_ids.txt``.
    """
    ids = _read_list(_list_file(root, split))
    if not ids:
        raise DataError(f"{_list_file(root, split)}: no id")
    other = _list_file(root, {"train": "test", "test": "train"}[split])
    if other.is_file() and (shared := set(ids) & set(_read_list(other))):
        raise DataError(f"{other}: {min(shared)} is in {_list_file(root, split).name} too")
    everything = root / "image_ids.txt"
    if everything.is_file() and (absent := set(ids) - set(_read_list(everything))):
        raise DataError(f"{everything}: {min(absent)} of {_list_file(root, split).name} is not there")
    return ids


def _read_list(path: Path) -> list[str]:
    try:
        ids = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path}: not a list of ids that can be read ({error})") from error
    seen: set[str] = set()
    for number, photo_id in enumerate(ids, 1):
        if not (photo_id.isascii() and photo_id.isdigit()):
            raise DataError(f"{path}, line {number}: {photo_id!r} is not an id of digits")
        if photo_id in seen:
            raise DataError(f"{path}, line {number}: {photo_id} is there twice")
        seen.add(photo_id)
    return ids


def _refuse_missing(root: Path, ids: list[str], split: str) -> None:
    """Lists each folder once: asking for each of some 200 000 files would take minutes on a network disk."""
    there: dict[str, set[str]] = {}
    for photo_id in ids:
        folder = photo_id[:5]
        if folder not in there:
            there[folder] = set(os.listdir(root / folder)) if (root / folder).is_dir() else set()
        for suffix in SUFFIXES:
            if photo_id + suffix not in there[folder]:
                named = _list_file(root, split).name
                raise DataError(f"{_file(root, photo_id, suffix)}: no such file, but {named} names {photo_id}")


def _people(record: Any) -> tuple[str, list[tuple[int, Segment]]]:
    """A JSON file's caption and its people, by their number in the map; ValueError says what is wrong."""
    if not isinstance(record, dict) or not isinstance(record.get("caption"), str):
        raise ValueError("no caption")
    segments = record.get("segments")
    if not isinstance(segments, list) or not all(isinstance(s, dict) and "coco_label" in s for s in segments):
        raise ValueError("segments: expected a list of id, bbox, end and coco_label")
    found: dict[int, Segment] = {}
    for place, segment in enumerate(segments):
        if segment["coco_label"] != PERSON:
            continue
        number = segment.get("id")
        if type(number) is not int or number < 1 or number in found:
            raise ValueError(f"segment {place}: id {number!r}: expected a number of its own, from 1")
        found[number] = Segment(_end(place, segment, record["caption"]), _box(place, segment))
    return record["caption"], list(found.items())


def _end(place: int, segment: dict[str, Any], caption: str) -> int:
    end = segment.get("end")
    if type(end) is not int or not 0 < end <= len(caption):
        raise ValueError(f"segment {place}: end {end!r}: expected a character of the caption, 1 to {len(caption)}")
    return end


def _box(place: int, segment: dict[str, Any]) -> tuple[int, int, int, int]:
    box = segment.get("bbox")
    if not (isinstance(box, list) and len(box) == 4 and all(type(side) is int for side in box)):
        raise ValueError(f"segment {place}: bbox {box!r}: expected [x1, y1, x2, y2]")
    x1, y1, x2, y2 = box
    if not (0 <= x1 < x2 and 0 <= y1 < y2):
        raise ValueError(f"segment {place}: bbox {box!r}: expected 0 <= x1 < x2 and 0 <= y1 < y2")
    return x1, y1, x2, y2


def _list_file(root: Path, split: str) -> Path:
    return root / f"image_ids_{split}.txt"


def _file(root: Path, photo_id: str, suffix: str) -> Path:
    return root / photo_id[:5] / f"{photo_id}{suffix}"
