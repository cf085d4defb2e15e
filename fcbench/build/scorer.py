"""What a scorer makes of photos and their captions, as columns of its own to filter by."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import replace

from fcbench.build.quality import PHOTO_SCORES
from fcbench.build.records import Item, Photo, batches
from fcbench.errors import FcbenchError
from fcbench.images import read_image
from fcbench.types import Scorer

BATCH = 64


def score(items: Iterable[Item], scorer: Scorer) -> Iterator[Item]:
    """Score each photo that was matched; FcbenchError where a scorer's answer is not a number a column and photo."""
    for batch in batches(items, BATCH):
        photos = [item for item in batch if isinstance(item, Photo)]
        answers = scorer.scores([read_image(photo.path) for photo in photos], [p.caption for p in photos])
        if len(answers) != len(photos):
            raise FcbenchError(f"the scorer gave {len(answers)} answers for {len(photos)} photos")
        told = {photo.id: _checked(answer) for photo, answer in zip(photos, answers, strict=True)}
        for item in batch:
            yield replace(item, scores=item.scores | told[item.id]) if isinstance(item, Photo) else item


def _checked(answer: dict[str, float]) -> dict[str, float]:
    for name, value in answer.items():
        if name in PHOTO_SCORES:
            raise FcbenchError(f"the scorer's column {name} is the dataset's own: it must call it otherwise")
        if not name.isidentifier() or not math.isfinite(value):
            raise FcbenchError(f"the scorer gave {name!r}: {value!r}; it wants a column's name and a finite number")
    return {name: round(float(value), 5) for name, value in answer.items()}
