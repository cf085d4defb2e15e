"""Training examples from a dataset's Parquet: a photo, its caption's subject tokens, their masks and references."""

from __future__ import annotations

import io
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import pyarrow.parquet as parquet
from PIL import Image as Pillow

from fcbench.config import Recipe
from fcbench.errors import DataError
from fcbench.fastcomposer.encoder import subject_tokens
from fcbench.images import pad_to_square, resize
from fcbench.masks import Rle, decode_mask
from fcbench.types import Image, Mask


@dataclass(frozen=True)
class Segment:
    """A person in a photo whose phrase ends at character ``end`` of the caption."""

    end: int
    rle: Rle
    box: tuple[int, int, int, int]
    person: str | None


@dataclass(frozen=True)
class Example:
    """One training picture.

    ``positions[i]`` is subject i's token, ``masks[i]`` its mask at the photo's size, ``references[i]`` its picture;
    all empty for a text-only or unconditional example.
    """

    row: int
    ids: list[int]
    positions: list[int] = field(default_factory=list)
    masks: list[Mask] = field(default_factory=list)
    references: list[Image] = field(default_factory=list)


class Photos:
    """A dataset's training photos: pictures stay encoded in memory and are decoded when asked for."""

    def __init__(self, shards: Sequence[Path]) -> None:
        self._encoded: list[bytes] = []
        self.captions: list[str] = []
        self.segments: list[list[Segment]] = []
        self._sightings: dict[str, list[tuple[int, int]]] = defaultdict(list)
        for shard in shards:
            self._read(shard)

    def __len__(self) -> int:
        return len(self.captions)

    def image(self, row: int) -> Image:
        """Photo ``row``, uint8 (height, width, 3)."""
        return np.array(Pillow.open(io.BytesIO(self._encoded[row])).convert("RGB"))

    def other(self, row: int, index: int, random: Random) -> tuple[int, int] | None:
        """Another sighting of a segment's person as (row, segment), alone where there is one such; None if no other."""
        person = self.segments[row][index].person
        others = [place for place in self._sightings[person or ""] if place[0] != row]
        alone = [place for place in others if len(self.segments[place[0]]) == 1]
        return random.choice(alone or others) if others else None

    def _read(self, shard: Path) -> None:
        try:
            table = parquet.read_table(shard, columns=["image", "caption", "segments"])
            for record in table.to_pylist():
                self._add(record)
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise DataError(
                f"{shard}: not a dataset shard that can be read ({error}); run: fcbench build-data"
            ) from error

    def _add(self, record: dict[str, Any]) -> None:
        row = len(self.captions)
        kept = [s for s in record["segments"] if s["label"] == "person" and s["end"] is not None]
        segments = [
            Segment(s["end"], s["rle"], tuple(s["bbox"]), s["person_id"]) for s in sorted(kept, key=lambda s: s["end"])
        ]
        self._encoded.append(record["image"]["bytes"])
        self.captions.append(record["caption"])
        self.segments.append(segments)
        for index, segment in enumerate(segments):
            if segment.person:
                self._sightings[segment.person].append((row, index))


def make_example(photos: Photos, row: int, tokenizer: Any, recipe: Recipe, size: int, random: Random) -> Example:
    """Photo ``row`` as a training example.

    One draw decides empty prompt, text only, or subjects; each subject stays with probability 1 - ``subject_drop``, at
    most ``max_subjects`` of them. ``size``: side of the references.
    """
    fate = random.random()
    if fate < recipe.unconditional:
        return Example(row, subject_tokens(tokenizer, "", [])[0])
    caption, segments = photos.captions[row], photos.segments[row]
    chosen = [i for i in range(len(segments)) if random.random() >= recipe.subject_drop]
    if fate < recipe.unconditional + recipe.text_only:
        chosen = []
    if len(chosen) > recipe.max_subjects:
        chosen = sorted(random.sample(chosen, recipe.max_subjects))
    ids, positions = subject_tokens(tokenizer, caption, [segments[i].end for i in chosen])
    chosen = [i for i, position in zip(chosen, positions, strict=True) if position >= 0]
    return Example(
        row,
        ids,
        [position for position in positions if position >= 0],
        [decode_mask(segments[i].rle) for i in chosen],
        [reference(photos, row, i, recipe, size, random) for i in chosen],
    )


def reference(photos: Photos, row: int, index: int, recipe: Recipe, size: int, random: Random) -> Image:
    """A subject's picture, uint8 (size, size, 3): cut out of this photo or of another one of the same person.

    The paper cuts it out of the same photo, pixels outside the mask replaced by noise. A picture with nobody else in
    it may also be taken whole, as references are when drawing (``whole_photo``). Half of them are mirrored.
    """
    place = photos.other(row, index, random) if random.random() < recipe.other_photo else None
    row, index = place or (row, index)
    image = photos.image(row)
    if len(photos.segments[row]) > 1 or random.random() >= recipe.whole_photo:
        segment = photos.segments[row][index]
        image = cut_out(image, decode_mask(segment.rle), segment.box, random)
    if random.random() < 0.5:
        image = image[:, ::-1]
    return resize(pad_to_square(np.ascontiguousarray(image)), size)


def cut_out(image: Image, mask: Mask, box: tuple[int, int, int, int], random: Random) -> Image:
    """The box [x1, y1, x2, y2] of a picture, uniform noise where the mask is False."""
    noise = np.frombuffer(random.randbytes(image.size), np.uint8).reshape(image.shape)
    x1, y1, x2, y2 = box
    return np.where(mask[..., None], image, noise)[y1:y2, x1:x2]
