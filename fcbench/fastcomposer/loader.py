"""Batches made ahead of time in worker processes: decoding, cutting out and augmenting while the device computes.

A step's batch is taken in parts, over processes and by accumulation. A part follows from (seed, step, part) alone: the
number of workers changes nothing, two processes see what one that accumulates twice sees, and a training that goes on
at step k draws what an uninterrupted one would have.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate
from random import Random
from typing import Any, TypeVar

import torch
from torch.utils.data import DataLoader, Dataset

from fcbench.config import Recipe
from fcbench.errors import DataError, UsageError
from fcbench.fastcomposer.data import Example, make_example
from fcbench.fastcomposer.photos import Photos
from fcbench.fastcomposer.transforms import fit_photo
from fcbench.types import Image

MOST_WORKERS = 8

Key = TypeVar("Key")
Made = TypeVar("Made")


@dataclass(frozen=True)
class Batch:
    """What part ``part`` of step ``step`` trains on.

    ``noise_seed`` is for noise and times; ``random`` goes on from where drawing the examples left it, for whatever else
    the step leaves to chance.
    """

    step: int
    part: int
    examples: list[Example]
    noise_seed: int
    random: Random


@dataclass(frozen=True)
class Drawing:
    """How a part of a step's batch is drawn: ``count`` examples, with photos of ``side`` pixels."""

    photos: Photos
    tokenizer: Any
    recipe: Recipe
    side: int
    reference_side: int
    count: int

    def __call__(self, place: tuple[int, int]) -> Batch:
        """The batch of (step, part); DataError for a photo that is broken."""
        step, part = place
        random = Random(f"{self.recipe.seed}/{step}/{part}")
        noise_seed = random.randrange(1 << 40)
        rows = self._rows(random)
        return Batch(step, part, [self._example(row, random) for row in rows], noise_seed, random)

    def _rows(self, random: Random) -> list[int]:
        if not self.recipe.oversample:
            return [random.randrange(len(self.photos)) for _ in range(self.count)]
        return random.choices(range(len(self.photos)), cum_weights=self._weights, k=self.count)

    @cached_property
    def _weights(self) -> list[float]:
        return list(accumulate(sampling_weights(self.photos.captions, self.recipe.oversample)))

    def _example(self, row: int, random: Random) -> Example:
        sides = {"side": self.side, "reference_side": self.reference_side}
        return make_example(self.photos, row, self.tokenizer, self.recipe, random, **sides)


def sampling_weights(captions: Sequence[str], oversample: Mapping[str, float]) -> list[float]:
    """Each photo's weight in drawing, by ``Recipe.oversample``, above 0; UsageError for a pattern in no caption."""
    told = {re.compile(pattern, re.IGNORECASE): weight for pattern, weight in oversample.items()}
    found = [[pattern for pattern in told if pattern.search(caption)] for caption in captions]
    if unknown := told.keys() - {pattern for patterns in found for pattern in patterns}:
        missing = sorted(repr(pattern.pattern) for pattern in unknown)
        raise UsageError(f"oversample: no caption of the dataset has {', '.join(missing)}")
    return [max((told[pattern] for pattern in patterns), default=1.0) for patterns in found]


def batches(drawing: Drawing, places: Sequence[tuple[int, int]], workers: int) -> Iterator[Batch]:
    """The batches of all (step, part) in order, made ahead by ``workers``; 0 makes each when it is asked for."""
    return _ahead(drawing, places, workers)


def fitted(
    photos: Photos, rows: range, side: int, size: int, workers: int, *, ways: Sequence[bool] = (False,)
) -> Iterator[list[Image]]:
    """Photos ``rows`` in order, fitted to ``side``, ``size`` at a time, each in all ``ways``: mirrored where True."""
    starts = range(rows.start, rows.stop, size)
    yield from _ahead(_Fitting(photos, rows.stop, side, size, tuple(ways)), starts, workers)


def workers_for(device: str) -> int:
    """How many workers to keep beside a process: none where the device is the CPU, which they would slow down."""
    if torch.device(device).type == "cpu":
        return 0
    mine = len(os.sched_getaffinity(0)) // int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
    return max(1, min(MOST_WORKERS, mine - 1))


@dataclass(frozen=True)
class _Fitting:
    photos: Photos
    stop: int
    side: int
    size: int
    ways: tuple[bool, ...]

    def __call__(self, start: int) -> list[Image]:
        rows = range(start, min(start + self.size, self.stop))
        for row in rows:
            for index in range(len(self.photos.segments[row])):
                self.photos.mask(row, index)  # a broken one is found now, not days later by a batch that draws it
        return [fit_photo(self.photos.image(row), self.side, flip=way) for row in rows for way in self.ways]


class _Calls(Dataset[Made | DataError]):
    """A function as a dataset. An error comes back as a value: torch would add a worker's trace to its message."""

    def __init__(self, make: Callable[[Any], Made]) -> None:
        self._make = make

    def __getitem__(self, key: Any) -> Made | DataError:
        try:
            return self._make(key)
        except DataError as error:
            return error


def _ahead(make: Callable[[Key], Made], keys: Sequence[Key], workers: int) -> Iterator[Made]:
    """``make(key)`` for the keys in order, made ahead of time by ``workers`` processes."""
    if workers:
        os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")  # else each worker warns that it was forked
    loader = DataLoader(
        _Calls(make),
        batch_size=None,
        sampler=keys,
        num_workers=workers,
        collate_fn=_as_it_is,
        generator=torch.Generator(),  # else it would take a number from the global one
        multiprocessing_context="fork" if workers else None,  # else, from Python 3.14 on, each would copy the photos
    )
    for made in loader:
        if isinstance(made, DataError):
            raise made
        yield made


def _as_it_is(made: Made) -> Made:
    return made
