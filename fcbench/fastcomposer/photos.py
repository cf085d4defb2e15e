"""What a training dataset offers: photos, their captions, and where their subjects stand; and ours, from Parquet."""

from __future__ import annotations

import io
from abc import ABC, abstractmethod
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import pyarrow.parquet as parquet
from PIL import Image as Pillow

from fcbench.errors import DataError
from fcbench.files import digest_file, digest_json
from fcbench.masks import Rle, decode_mask
from fcbench.types import Image, Mask


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

    def other(self, row: int, index: int, random: Random) -> tuple[int, int] | None:
        """Another sighting of a segment's person as (row, segment), alone where there is one such; None if no other."""
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
    """A dataset that ``build-data`` made: pictures stay encoded in memory and are decoded when asked for."""

    def __init__(self, shards: Sequence[Path], min_margin: float = 0.0) -> None:
        super().__init__()
        self._shards = shards
        self._min_margin = min_margin
        self._encoded: list[bytes] = []
        self._masks: list[list[Rle]] = []
        self._names: list[str] = []
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

    def _decode(self, row: int) -> Image:
        return np.array(Pillow.open(io.BytesIO(self._encoded[row])).convert("RGB"))

    def _read(self, shard: Path) -> None:
        try:
            named = [name for name in ("id",) if name in parquet.read_schema(shard).names]
            table = parquet.read_table(shard, columns=["image", "caption", "segments", *named])
            for place, record in enumerate(table.to_pylist()):
                self._names.append(str(record.get("id", f"{shard.name} row {place}")))
                self._keep(record)
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise DataError(
                f"{shard}: not a dataset shard that can be read ({error}); run: fcbench build-data"
            ) from error

    def _keep(self, record: dict[str, Any]) -> None:
        named = [s for s in record["segments"] if s["label"] == "person" and s["end"] is not None]
        kept = [s for s in named if s.get("margin") is None or s["margin"] >= self._min_margin]
        kept.sort(key=lambda s: s["end"])
        self._encoded.append(record["image"]["bytes"])
        self._masks.append([s["rle"] for s in kept])
        self._add(record["caption"], [Segment(s["end"], tuple(s["bbox"]), s["person_id"]) for s in kept])
