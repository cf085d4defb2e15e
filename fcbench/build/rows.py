"""The rows of a dataset that ``build-data`` wrote, streamed from its Parquet files."""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from PIL import Image as Pillow

from fcbench.build.split import SPLITS
from fcbench.errors import DataError, UsageError
from fcbench.files import read_rows
from fcbench.store import DataFolder
from fcbench.types import Image

Row: TypeAlias = dict[str, Any]
"""A row as plain values, by column."""


@dataclass(frozen=True)
class Rows:
    """A dataset's rows, opened anew at each pass; never more than a few in memory."""

    folder: DataFolder

    def __post_init__(self) -> None:
        if not any(self.folder.path.glob("data/*.parquet")):
            raise UsageError(f"{self.folder.path}: no data/*.parquet there; make it with: fcbench build-data")

    @property
    def splits(self) -> list[str]:
        """The splits that are there, in their order."""
        return [name for name in SPLITS if any(self.folder.path.glob(f"data/{name}-*.parquet"))]

    def files(self, split: str) -> list[Path]:
        """The Parquet files of a split."""
        return self.folder.shards(split)

    def of(self, split: str, columns: Sequence[str] | None = None) -> Iterator[Row]:
        """The rows of a split in their order; DataError names a file that is broken."""
        for file in self.files(split):
            yield from read_rows(file, columns)


def picture(row: Row) -> Image:
    """A row's picture; DataError where it does not decode."""
    try:
        with Pillow.open(io.BytesIO(row["image"]["bytes"])) as opened:
            return np.array(opened.convert("RGB"))
    except (OSError, ValueError, SyntaxError, TypeError, Pillow.DecompressionBombError) as error:
        raise DataError(f"{row['id']}: its picture does not decode ({error})") from error


def suffix_of(row: Row) -> str:
    """The ending that a row's picture has as a file."""
    return ".jpg" if row["image"]["bytes"][:2] == b"\xff\xd8" else ".png"
