"""Every fault of an official folder, where :mod:`fcbench.fastcomposer.official_data` stops at the first.

The official loader checks nothing: what is named here would train wrong there, or end it after hours.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from PIL import Image as Pillow

from fcbench.build.match import PERSON_WORDS
from fcbench.masks import box_holds, box_of
from fcbench.types import PERSON

Told: TypeAlias = tuple[str, str, str, int | None]
"""Where, code (empty: no fault), message; and, once per photo, how many subjects it trains."""

LISTS = ("image_ids_train.txt", "image_ids_test.txt", "image_ids.txt")


def check_official(root: Path, tokenizer: Any) -> Iterator[Told]:
    """All faults of the lists and of every photo that one of them names."""
    lists = {name: _read_list(root / name) for name in LISTS}
    everything: dict[str, None] = {}
    for name, ids in lists.items():
        if ids is None:
            yield name, "list", "no such list, or not UTF-8", None
            continue
        for place, photo in enumerate(ids, 1):
            if not (photo.isascii() and photo.isdigit()):
                yield f"{name}, line {place}", "id", f"{photo!r} is not digits", None
            else:
                everything[photo] = None
        for photo, count in Counter(ids).items():
            if count > 1:
                yield name, "id_twice", f"{photo} is there {count} times", None
    yield from _lists(lists)
    for photo in everything:
        yield from _photo(root, photo, tokenizer)


def _lists(lists: dict[str, list[str] | None]) -> Iterator[Told]:
    train, test, everything = (set(lists[name] or ()) for name in LISTS)
    for photo in sorted(train & test):
        yield LISTS[1], "in_two_splits", f"{photo} is in the training list too", None
    for photo in sorted((train | test) - everything):
        yield LISTS[2], "list", f"{photo} is not there", None


def _read_list(path: Path) -> list[str] | None:
    try:
        return path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError):
        return None


def _photo(root: Path, photo: str, tokenizer: Any) -> Iterator[Told]:
    stem = root / photo[:5] / photo
    absent = [suffix for suffix in (".jpg", ".json", ".npy") if not stem.with_suffix(suffix).is_file()]
    if absent:
        yield photo, "missing_file", f"no {', '.join(absent)}", None
        return
    try:
        record = json.loads(stem.with_suffix(".json").read_bytes())
        caption, segments = record["caption"], record["segments"]
        size = _size(stem.with_suffix(".jpg"))
        ids = np.load(stem.with_suffix(".npy"), allow_pickle=False)
        people = sum(segment["coco_label"] == PERSON for segment in segments)
        found = [*_map(ids, size), *_caption(caption, segments, tokenizer)]
        found += [fault for segment in segments for fault in _segment(segment, ids)]
    except (OSError, ValueError, EOFError, KeyError, TypeError, SyntaxError) as error:
        yield photo, "unreadable", f"{type(error).__name__}: {error}", None
        return
    yield photo, "", "", people
    for code, message in found:
        yield photo, code, message, None


def _size(path: Path) -> tuple[int, int]:
    """Height and width of a photo that decodes whole."""
    with Pillow.open(path) as image:
        image.load()
        return image.height, image.width


def _map(ids: Any, size: tuple[int, int]) -> Iterator[tuple[str, str]]:
    if ids.ndim != 2 or ids.dtype != np.uint8:
        yield "map", f"the map is {ids.dtype} {list(ids.shape)}; expected uint8 (height, width)"
    elif ids.shape != size:
        yield "map", f"the map is {list(ids.shape)}, the photo {list(size)}, height first"


def _caption(caption: str, segments: list[dict[str, Any]], tokenizer: Any) -> Iterator[tuple[str, str]]:
    ends = [segment["end"] for segment in segments]
    numbers = [segment["id"] for segment in segments]
    if len(set(numbers)) < len(numbers):
        yield "segment_id", f"segment ids {numbers}: not each its own"
    for end in ends:
        if type(end) is not int or not 0 < end <= len(caption):
            yield "end", f"end {end!r} is no character of the caption"
            return
        if not caption[end - 1].isalnum() or caption[end : end + 1].isalnum():
            yield "end_in_a_word", f"character {end} of {caption!r} does not end a word"
    if len(set(ends)) < len(ends):
        yield "shared_end", f"ends {sorted(ends)}: two share a token, the official loader hands on the wrong crop"
    elif tokenizer is not None and ends:
        from fcbench.fastcomposer.encoder import subject_tokens

        if -1 in subject_tokens(tokenizer, caption, sorted(ends))[1]:
            yield "too_many_tokens", "a phrase ends beyond the text encoder's tokens"


def _segment(segment: dict[str, Any], ids: Any) -> Iterator[tuple[str, str]]:
    number, box = segment["id"], segment["bbox"]
    if segment["coco_label"] != PERSON and str(segment["coco_label"]).strip().lower() in PERSON_WORDS:
        yield "coco_label", f"segment {number}: {segment['coco_label']!r} is trained by nobody; expected {PERSON!r}"
    if type(number) is not int or not 1 <= number <= 255 or ids.ndim != 2:
        yield "segment_id", f"segment id {number!r}: expected a number from 1 to 255"
        return
    mask = ids == number
    if not mask.any():
        yield "mask", f"segment {number} has no pixel in the map"
        return
    height, width = mask.shape
    if len(box) != 4 or any(type(side) is not int for side in box):
        yield "bbox", f"segment {number}: bbox {box}: expected four integers"
        return
    x1, y1, x2, y2 = box
    tight = box_of(mask)
    if not (0 <= x1 < x2 <= width and 0 <= y1 < y2 <= height) or not box_holds((x1, y1, x2, y2), tight):
        swapped = " (it is [y1, x1, y2, x2])" if box_holds((y1, x1, y2, x2), tight) else ""
        yield "bbox", f"segment {number}: bbox {box} does not hold its pixels {list(tight)}{swapped}"
