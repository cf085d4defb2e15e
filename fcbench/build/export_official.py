"""The layout of ``ffhq_fastcomposer``, as the official training and :mod:`fcbench.fastcomposer.official_data` read it.

What the official loader would get wrong is not written: a phrase that ends where another one does, within a word or
beyond the text encoder's tokens, and a segment that others hide.
"""

from __future__ import annotations

import csv
import io
import json
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image as Pillow

from fcbench.build.rows import Row, Rows, picture
from fcbench.build.segmap import SegmentMap, paint
from fcbench.errors import UsageError
from fcbench.masks import box_of

QUALITY = 95
LISTS = {"train": "image_ids_train.txt", "test": "image_ids_test.txt"}
"""Validation is in the list of all ids only: the official layout has two splits."""


def write_official(rows: Rows, target: Path, tokenizer: Any) -> Counter[str]:
    """Write photos, captions and maps, then the lists; counts photos, segments and what was left out, by reason."""
    if tokenizer is None:
        raise UsageError("the layout fastcomposer needs the tokenizer of a stack")
    names, counts = _names(rows), Counter[str]()
    lists: dict[str, list[str]] = {split: [] for split in (*rows.splits, "train", "test")}
    for split in rows.splits:
        for row in rows.of(split):
            name = names[row["id"]]
            _write_photo(target / name[:5] / name, row, tokenizer, counts)
            lists[split].append(name)
            counts["photos"] += 1
    for split, file in LISTS.items():
        _write_list(target / file, lists[split])
    _write_list(target / "image_ids.txt", [name for split in rows.splits for name in lists[split]])
    with (target / "ids.csv").open("w", newline="", encoding="utf-8") as handle:
        csv.writer(handle).writerows([("official", "id"), *((name, photo) for photo, name in names.items())])
    return counts


def usable(row: Row, tokenizer: Any) -> tuple[list[dict[str, Any]], Counter[str]]:
    """The segments whose phrase the official code finds in the caption, by its end; counts of the others, by reason."""
    from fcbench.fastcomposer.encoder import subject_tokens

    caption, left = row["caption"], Counter[str]()
    best: dict[int, dict[str, Any]] = {}
    for segment in row["segments"]:
        end = segment["end"]
        if end is None:
            left["no phrase"] += 1
        elif not (0 < end <= len(caption) and caption[end - 1].isalnum() and not caption[end : end + 1].isalnum()):
            left["phrase ends within a word"] += 1
        else:
            if end in best:
                left["phrase ends where another does"] += 1
            best[end] = max(best.get(end, segment), segment, key=lambda s: (s["match_score"] or 0.0, -s["id"]))
    found = [best[end] for end in sorted(best)]
    _, positions = subject_tokens(tokenizer, caption, [segment["end"] for segment in found])
    within = [segment for segment, position in zip(found, positions, strict=True) if position >= 0]
    left["phrase beyond the tokens"] += len(found) - len(within)
    return within, left


def _write_photo(stem: Path, row: Row, tokenizer: Any, counts: Counter[str]) -> None:
    segments, left = usable(row, tokenizer)
    painted, numbers = paint(segments, row["height"], row["width"])
    left["hidden by others"] += len(segments) - len(numbers)
    counts["segments"] += len(numbers)
    counts.update({f"left out, {why}": count for why, count in left.items() if count})
    stem.parent.mkdir(exist_ok=True)
    stem.with_suffix(".jpg").write_bytes(_jpeg(row))
    np.save(stem.with_suffix(".npy"), painted, allow_pickle=False)
    stem.with_suffix(".json").write_text(json.dumps(_record(row, painted, numbers)), encoding="utf-8")


def _record(row: Row, painted: SegmentMap, numbers: dict[int, dict[str, Any]]) -> dict[str, Any]:
    segments = [
        {
            "id": number,
            "bbox": list(box_of(painted == number)),
            "coco_label": segment["label"],
            "end": segment["end"],
            "start": segment["start"],
            "phrase": segment["phrase"],
            "person_id": segment["person_id"],
        }
        for number, segment in sorted(numbers.items(), key=lambda pair: pair[1]["end"])
    ]
    credit = {key: row[key] for key in ("author", "title", "source", "licence", "licence_url", "changes")}
    return {"caption": row["caption"], "segments": segments, "id": row["id"], **credit}


def _jpeg(row: Row) -> bytes:
    """The working copy as it is where it is an RGB JPEG that its EXIF does not turn, else encoded anew."""
    data: bytes = row["image"]["bytes"]
    with Pillow.open(io.BytesIO(data)) as image:
        if image.format == "JPEG" and image.mode == "RGB" and image.getexif().get(0x0112, 1) == 1:
            return data
    buffer = io.BytesIO()
    Pillow.fromarray(picture(row)).save(buffer, "JPEG", quality=QUALITY, subsampling=0)
    return buffer.getvalue()


def _names(rows: Rows) -> dict[str, str]:
    """A name of digits for every photo: its own id where all ids will do, else its place."""
    ids = [row["id"] for split in rows.splits for row in rows.of(split, ["id"])]
    digits = all(photo.isascii() and photo.isdigit() and len(photo) > 5 for photo in ids)
    if digits and len({int(photo) for photo in ids}) == len(ids):
        return {photo: photo for photo in ids}
    return {photo: f"{place:09d}" for place, photo in enumerate(ids)}


def _write_list(path: Path, names: list[str]) -> None:
    path.write_text("".join(f"{name}\n" for name in names), encoding="utf-8")
