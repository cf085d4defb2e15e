"""What a scorer makes of photos and their captions, as columns of its own to filter by."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from fcbench.build.quality import PHOTO_SCORES
from fcbench.build.records import Item, Photo, batches
from fcbench.errors import FcbenchError
from fcbench.images import read_image
from fcbench.types import Scorer

BATCH = 64

TAKEN = frozenset(PHOTO_SCORES) | {
    *("id", "image", "width", "height", "caption", "original_caption", "noun_phrases", "segments", "phash", "flags"),
    *("author", "title", "source", "licence", "licence_url", "changes", "recipe"),
    *("file_name", "segmap_file_name"),  # of the layout imagefolder
}
"""The columns that a dataset has without a scorer."""


def score(items: Iterable[Item], scorer: Scorer) -> Iterator[Item]:
    """Score each photo that was matched; FcbenchError where an answer is not one number per column and photo."""
    for batch in batches(items, BATCH):
        photos = [item for item in batch if isinstance(item, Photo)]
        told = _told(photos, scorer) if photos else {}
        for item in batch:
            yield replace(item, scores=item.scores | told[item.id]) if isinstance(item, Photo) else item


def _told(photos: list[Photo], scorer: Scorer) -> dict[str, dict[str, float]]:
    """What the scorer says of each photo, by id."""
    answers = scorer.scores([read_image(photo.path) for photo in photos], [photo.caption for photo in photos])
    if len(answers) != len(photos):
        raise FcbenchError(f"the scorer gave {len(answers)} answers for {len(photos)} photos")
    return {photo.id: _checked(answer) for photo, answer in zip(photos, answers, strict=True)}


def _checked(answer: Mapping[str, Any]) -> dict[str, float]:
    """The answer in the precision that columns have."""
    if taken := sorted(answer.keys() & TAKEN):
        raise FcbenchError(
            f"the scorer's columns {', '.join(taken)} are the dataset's own: it must call them otherwise"
        )
    return {name: _number(name, value) for name, value in answer.items()}


def _number(name: str, value: Any) -> float:
    with np.errstate(over="ignore"):
        number = float(np.float32(value)) if isinstance(value, int | float | np.number) else math.nan
    if not name.isidentifier() or not math.isfinite(number):
        raise FcbenchError(
            f"the scorer gave {name!r}: {value!r}; it wants a column's name and a finite number, or no such key where "
            "there is none"
        )
    return number
