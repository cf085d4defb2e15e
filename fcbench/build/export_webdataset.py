"""Tar files as WebDataset and Hugging Face's loader stream them: picture, map of segments and record of each photo."""

from __future__ import annotations

import io
import json
import tarfile
from collections import Counter
from collections.abc import Iterable
from itertools import chain, islice
from pathlib import Path
from typing import Any

from PIL import Image as Pillow

from fcbench.build.rows import Row, Rows, suffix_of
from fcbench.build.segmap import SegmentMap, paint

PHOTOS = 1000
"""Photos per tar file."""


def write_webdataset(rows: Rows, target: Path, tokenizer: Any) -> Counter[str]:
    """Write ``<split>-<number>.tar``; equal rows give equal bytes."""
    counts = Counter[str]()
    for split in rows.splits:
        remaining = rows.of(split)
        while (first := next(remaining, None)) is not None:
            file = target / f"{split}-{len(list(target.glob(f'{split}-*.tar'))):05d}.tar"
            part = chain([first], islice(remaining, PHOTOS - 1))
            counts["photos"] += _write_tar(file, part)
            counts["tar files"] += 1
    return counts


def _write_tar(file: Path, rows: Iterable[Row]) -> int:
    photos = 0
    with tarfile.open(file, "w", format=tarfile.USTAR_FORMAT) as tar:
        for row in rows:
            for name, data in _members(row):
                info = tarfile.TarInfo(name)
                info.size = len(data)
                tar.addfile(info, io.BytesIO(data))
            photos += 1
    return photos


def record_of(row: Row) -> dict[str, Any]:
    """A row without its pixels."""
    return {key: value for key, value in row.items() if key != "image"}


def map_bytes(painted: SegmentMap) -> bytes:
    """A map of segments as a grey PNG."""
    buffer = io.BytesIO()
    Pillow.fromarray(painted).save(buffer, "PNG", optimize=True)
    return buffer.getvalue()


def _members(row: Row) -> list[tuple[str, bytes]]:
    name = row["id"].replace(".", "-")  # what follows the first dot is the member's kind
    painted, _ = paint(row["segments"], row["height"], row["width"])
    return [
        (name + suffix_of(row), row["image"]["bytes"]),
        (f"{name}.json", json.dumps(record_of(row)).encode()),
        (f"{name}.segmap.png", map_bytes(painted)),
    ]
