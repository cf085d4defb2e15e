"""What a training dataset offers: photos, their captions, and where their subjects stand; and ours, from Parquet."""

from __future__ import annotations

import io
from abc import ABC, abstractmethod
from bisect import bisect
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import pyarrow as arrow
import pyarrow.parquet as parquet
from PIL import Image as Pillow

from fcbench.errors import DataError
from fcbench.files import atomic, digest_file, digest_json
from fcbench.masks import Rle, decode_mask
from fcbench.types import PERSON, Image, Mask

_PICTURE = arrow.field("picture", arrow.large_binary())
_SCHEMA = arrow.schema([_PICTURE])
_AT_ONCE = 64
"""Pictures in memory at once while they are moved: 24 MB of FFHQ's."""


@dataclass(frozen=True)
class Segment:
    """A person in a photo whose phrase ends at character ``end`` of the caption, exclusive.

    ``box`` is (x1, y1, x2, y2), end-exclusive; ``person`` says who it is, where the dataset knows.
    """

    end: int
    box: tuple[int, int, int, int]
    person: str | None = None


class Photos(ABC):
    """A dataset's training photos by row; ``segments[row]`` are the people whose phrase is known, sorted by ``end``."""

    def __init__(self) -> None:
        self.captions: list[str] = []
        self.segments: list[list[Segment]] = []
        self._sightings: dict[str, list[tuple[int, int]]] = defaultdict(list)
        self._last: tuple[int, Image] | None = None

    def __len__(self) -> int:
        return len(self.captions)

    @property
    @abstractmethod
    def digest(self) -> str:
        """Sha256 that tells this dataset from others."""

    @abstractmethod
    def name(self, row: int) -> str:
        """What the dataset calls photo ``row``."""

    @abstractmethod
    def mask(self, row: int, index: int) -> Mask:
        """Where segment ``index`` of photo ``row`` is, bool (height, width) of the photo; DataError if broken."""

    @abstractmethod
    def _decode(self, row: int) -> Image: ...

    def image(self, row: int) -> Image:
        """Photo ``row``, uint8 (height, width, 3); DataError if it is broken. The last one stays decoded."""
        if self._last is None or self._last[0] != row:
            self._last = row, self._decode(row)
        return self._last[1]

    def move_to_disk(self, file: Path) -> None:  # noqa: B027 - most have nothing to move
        """Keep in ``file``, for all processes that are given it, what each would hold in memory; see ``close``."""

    def close(self) -> None:  # noqa: B027
        """Let go of what is open. Nothing can be decoded any more."""

    def other(self, row: int, index: int, random: Random) -> tuple[int, int] | None:
        """Another sighting of a segment's person as (row, segment), alone if possible; None if there is no other."""
        person = self.segments[row][index].person
        others = [place for place in self._sightings.get(person or "", []) if place[0] != row]
        alone = [place for place in others if len(self.segments[place[0]]) == 1]
        return random.choice(alone or others) if others else None

    def _add(self, caption: str, segments: list[Segment]) -> None:
        row = len(self.captions)
        self.captions.append(caption)
        self.segments.append(segments)
        for index, segment in enumerate(segments):
            if segment.person:
                self._sightings[segment.person].append((row, index))


class ParquetPhotos(Photos):
    """A dataset that ``build-data`` made. Pictures stay encoded until they are asked for: in memory, or on disk."""

    def __init__(self, shards: Sequence[Path], min_margin: float = 0.0) -> None:
        super().__init__()
        self._shards = shards
        self._min_margin = min_margin
        self._masks: list[list[Rle]] = []
        self._names: list[str] = []
        self._starts: list[int] = []
        self._encoded: arrow.ChunkedArray | None = None
        for shard in shards:
            self._read(shard)

    @cached_property
    def digest(self) -> str:
        """Of the shards' bytes."""
        return digest_json([digest_file(shard) for shard in self._shards])

    def name(self, row: int) -> str:
        """Its id; where a shard has none, its place in the shard."""
        return self._names[row]

    def mask(self, row: int, index: int) -> Mask:
        """Decoded from its run lengths."""
        return decode_mask(self._masks[row][index])

    def move_to_disk(self, file: Path) -> None:
        """From now on read pictures from ``file``, an Arrow file that is written now unless it exists.

        It is mapped: the processes of a machine share its pages, and the system takes them back when memory is short.
        """
        if not file.exists():
            with atomic(file) as temporary, arrow.ipc.new_file(temporary, _SCHEMA) as writer:
                for pictures in _pictures(self._shards):
                    writer.write_batch(arrow.record_batch([pictures], _SCHEMA))
            arrow.default_memory_pool().release_unused()
        self._encoded = arrow.ipc.open_file(arrow.memory_map(str(file))).read_all()[_PICTURE.name]

    def close(self) -> None:
        """Let go of the file that pictures are read from."""
        self._encoded = arrow.chunked_array([], _PICTURE.type)

    def _decode(self, row: int) -> Image:
        if self._encoded is None:
            self._encoded = arrow.chunked_array(list(_pictures(self._shards)), _PICTURE.type)
        try:
            with Pillow.open(io.BytesIO(self._encoded[row].as_buffer() or b"")) as opened:
                return np.array(opened.convert("RGB"))
        except (OSError, ValueError, SyntaxError, Pillow.DecompressionBombError) as error:
            raise DataError(f"{self._place(row)}: not a picture that can be read ({error})") from error

    def _place(self, row: int) -> str:
        """The shard that holds a photo, and what it is called."""
        return f"{self._shards[bisect(self._starts, row) - 1]}: {self._names[row]}"

    def _read(self, shard: Path) -> None:
        try:
            columns = parquet.read_schema(shard).names
            if "image" not in columns:
                raise KeyError("image")
            wanted = ["caption", "segments", *(name for name in ("id",) if name in columns)]
            table = parquet.read_table(shard, columns=wanted)
            self._starts.append(len(self))
            for place, record in enumerate(table.to_pylist()):
                self._names.append(str(record.get("id", f"{shard.name} row {place}")))
                self._keep(record)
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise _broken(shard, error) from error

    def _keep(self, record: dict[str, Any]) -> None:
        named = [s for s in record["segments"] if s["label"] == PERSON and s["end"] is not None]
        kept = [s for s in named if s.get("margin") is None or s["margin"] >= self._min_margin]
        kept.sort(key=lambda s: s["end"])
        self._masks.append([s["rle"] for s in kept])
        self._add(record["caption"], [Segment(s["end"], tuple(s["bbox"]), s["person_id"]) for s in kept])


def _pictures(shards: Sequence[Path]) -> Iterator[arrow.Array]:
    """The encoded pictures, some at a time; DataError for a shard that cannot be read."""
    for shard in shards:
        try:
            for batch in parquet.ParquetFile(shard).iter_batches(_AT_ONCE, columns=["image"]):
                yield batch["image"].field("bytes").cast(_PICTURE.type)
        except (OSError, ValueError, KeyError, AttributeError) as error:  # a column of nulls has no fields
            raise _broken(shard, error) from error


def _broken(shard: Path, error: Exception) -> DataError:
    return DataError(f"{shard}: not a dataset shard that can be read ({error}); run: fcbench build-data")
