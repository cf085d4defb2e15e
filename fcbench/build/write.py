"""The dataset's tables: Parquet with Hugging Face's feature types inside, so that ``load_dataset`` needs no script."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pyarrow
import pyarrow.parquet as parquet
from datasets import Features, Image, List, Value

from fcbench.build.quality import PHOTO_SCORES, SEGMENT_SCORES, columns_of
from fcbench.build.records import Photo, Reject
from fcbench.errors import DataError
from fcbench.files import atomic

ROW_GROUP_ROWS = 100
ROW_GROUP_BYTES = 64 << 20

FEATURES = Features(
    {
        "id": Value("string"),
        "image": Image(),
        "width": Value("int32"),
        "height": Value("int32"),
        "caption": Value("string"),
        "original_caption": Value("string"),
        "noun_phrases": List(
            {"text": Value("string"), "root": Value("string"), "start": Value("int32"), "end": Value("int32")}
        ),
        "segments": List(
            {
                "id": Value("int32"),
                "label": Value("string"),
                "score": Value("float32"),
                "area": Value("int32"),
                "bbox": List(Value("int32"), length=4),
                "rle": {"size": List(Value("int32"), length=2), "counts": Value("string")},
                "phrase_index": Value("int32"),
                "phrase": Value("string"),
                "start": Value("int32"),
                "end": Value("int32"),
                "match_score": Value("float32"),
                "margin": Value("float32"),
                "person_id": Value("string"),
                "is_thing": Value("bool"),
                "scores": {name: Value("float32") for name in SEGMENT_SCORES},
            }
        ),
        **{name: Value("float32") for name in PHOTO_SCORES},
        "phash": Value("string"),
        "flags": List(Value("string")),
        "author": Value("string"),
        "title": Value("string"),
        "source": Value("string"),
        "licence": Value("string"),
        "licence_url": Value("string"),
        "changes": Value("string"),
        "recipe": Value("string"),
    }
)

REJECT_FEATURES = Features(
    {
        **{name: Value("string") for name in ("id", "reason", "step", "message")},
        "attempt": Value("int32"),
    }
)


def features_of(scored: Collection[str] = (), *, pixels: bool = True) -> Features:
    """The columns of a dataset, its scorer's last; without ``pixels`` those of the annotations."""
    own = {name: feature for name, feature in FEATURES.items() if pixels or name != "image"}
    return Features(own | {name: Value("float32") for name in scored})


def write_photos(
    path: Path, photos: Sequence[Photo], recipe: str, *, scored: Collection[str] = (), pixels: bool = True
) -> None:
    """Write photos as one Parquet file, a row group at a time; without ``pixels`` the annotations alone.

    ``scored``: the columns that the dataset's scorer gave.

    DataError when a working copy is not the one that was labelled.
    """
    schema = features_of(scored, pixels=pixels).arrow_schema
    sizes = [photo.path.stat().st_size for photo in photos]
    with atomic(path) as temporary, parquet.ParquetWriter(temporary, schema, compression="zstd") as writer:
        for group in _row_groups(photos, sizes):
            rows = [_row(photo, recipe, pixels=pixels) | {k: photo.scores.get(k) for k in scored} for photo in group]
            writer.write_table(pyarrow.Table.from_pylist(rows, schema=schema))


def write_rejects(path: Path, rejects: Sequence[Reject], tries: Mapping[str, int]) -> None:
    """Write the table of what was left out, even where it is empty.

    ``tries``: how often photos were tried again, by id; the last attempt's number is a column.
    """
    rows = [{**asdict(reject), "attempt": 1 + tries.get(reject.id, 0)} for reject in rejects]
    table = pyarrow.Table.from_pylist(rows, schema=REJECT_FEATURES.arrow_schema)
    with atomic(path) as temporary:
        parquet.write_table(table, temporary, compression="zstd")


def _row_groups(photos: Sequence[Photo], sizes: Sequence[int]) -> Iterator[list[Photo]]:
    group: list[Photo] = []
    held = 0
    for photo, size in zip(photos, sizes, strict=True):
        if group and (len(group) == ROW_GROUP_ROWS or held + size > ROW_GROUP_BYTES):
            yield group
            group, held = [], 0
        group.append(photo)
        held += size
    if group:
        yield group


def _row(photo: Photo, recipe: str, *, pixels: bool) -> dict[str, Any]:
    scores = columns_of(photo)
    return {
        "id": photo.id,
        **({"image": {"bytes": _bytes(photo), "path": photo.path.name}} if pixels else {}),
        "width": photo.width,
        "height": photo.height,
        "caption": photo.caption,
        "original_caption": photo.original_caption or None,
        "noun_phrases": [{"text": p.text, "root": p.root, "start": p.start, "end": p.end} for p in photo.phrases],
        "segments": [_segment(photo, number) for number in range(len(photo.segments))],
        **{name: scores.get(name) for name in PHOTO_SCORES},
        "phash": photo.phash or None,
        "flags": list(photo.flags),
        **photo.sidecar.licence.model_dump(),
        "recipe": recipe,
    }


def _bytes(photo: Photo) -> bytes:
    data = photo.path.read_bytes()
    if photo.fingerprint and hashlib.sha256(data).hexdigest() != photo.fingerprint:
        raise DataError(f"{photo.path}: changed since it was labelled; delete it and run the command again")
    return data


def _segment(photo: Photo, number: int) -> dict[str, Any]:
    segment = photo.segments[number]
    phrase = None if segment.phrase is None else photo.phrases[segment.phrase]
    return {
        "id": segment.id,
        "label": segment.label,
        "score": segment.score,
        "area": segment.area,
        "bbox": list(segment.bbox),
        "rle": segment.rle,
        "phrase_index": segment.phrase,
        "phrase": phrase and phrase.text,
        "start": phrase and phrase.start,
        "end": phrase and phrase.end,
        "match_score": segment.match_score,
        "margin": segment.margin,
        "person_id": segment.person_id,
        "is_thing": segment.is_thing,
        "scores": {name: segment.scores.get(name) for name in SEGMENT_SCORES},
    }
