"""What flows through the steps of a build: a photo that grows, or a reject that is only passed on."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Literal, TypeAlias, get_args

from pydantic import BaseModel, Field

from fcbench.masks import Rle
from fcbench.types import PERSON

Reason: TypeAlias = Literal[
    "missing_file",
    "unreadable",
    "not_a_file",
    "empty_file",
    "not_an_image",
    "wrong_extension",
    "truncated",
    "bomb",
    "unsupported_mode",
    "animated",
    "decode_error",
    "md5_mismatch",
    "sidecar_error",
    "licence_excluded",
    "takedown",
    "duplicate_of",
    "caption_empty",
    "no_phrase",
    "no_segment",
    "no_match",
    "oom",
    "model_error",
]
"""Why a photo is not in the dataset; a closed set.

The file is missing, cannot be read, is not a file, is empty, is not a picture, is of another kind than its name says,
ends early, would fill the memory, has a mode that no photo has, has several frames, does not decode, or is not the one
that its source lists. Its sidecar is broken; its licence was not asked for; it was taken down; its pixels are another
photo's. The caption is empty or names nothing; nothing is segmented; no segment matches a phrase. Memory ran out on
this photo alone; a model failed on it.
"""

REASONS: tuple[str, ...] = get_args(Reason)

FAILURES = frozenset(REASONS) - {
    *("licence_excluded", "takedown", "duplicate_of", "caption_empty", "no_phrase", "no_segment", "no_match"),
}
"""The reasons that mean that something is broken; the others leave out what was not wanted."""


class Planted(BaseModel):
    """A segment that the source knows. ``box`` is end-exclusive; ``span`` is the truth, used only to measure."""

    mask: Rle
    label: str = PERSON
    score: float = 1.0
    person_id: str | None = None
    noun: str | None = None
    box: tuple[int, int, int, int] | None = None
    face_box: tuple[float, float, float, float] | None = None
    keypoints: tuple[tuple[float, float], ...] | None = None
    span: tuple[int, int] | None = None
    traits: dict[str, str] = Field(default_factory=dict)
    """What is true of the person, by kind (:func:`fcbench.world.traits`); to measure captions by."""


class Face(BaseModel):
    """A face that the source knows, in pixels of the working copy: ``box`` is (x1, y1, x2, y2)."""

    box: tuple[float, float, float, float]
    landmarks: tuple[tuple[float, float], ...] = ()


class Licence(BaseModel):
    """Who made a photo, where it comes from, what may be done with it, and what was done to it."""

    author: str = "unknown"
    title: str = ""
    source: str = "unknown"
    licence: str = "unknown"
    licence_url: str = ""
    changes: str = ""


class Sidecar(BaseModel):
    """What the source says of a photo: the JSON file beside it."""

    caption: str = ""
    context: str | None = None
    style: str | None = None
    people: tuple[Planted, ...] = ()
    licence: Licence = Field(default_factory=Licence)
    planted: bool = False
    """Whether the people are the truth of a drawn picture: used as labels only where the stack has no segmenter, else
    to measure labels by."""
    face: Face | None = None
    group: str = ""
    """The photo that this picture comes from: pictures of one group are in one split."""
    split: str = ""
    """The split that the source has it in, where the source has splits of its own."""


@dataclass(frozen=True)
class Phrase:
    """A noun phrase: ``caption[start:end] == text``; ``root`` is its noun.

    ``description`` is the phrase with all that the caption says of it ("a man wearing a red hat"), which tells phrases
    with the same noun apart; empty where that is the phrase alone.
    """

    text: str
    root: str
    start: int
    end: int
    description: str = ""


@dataclass(frozen=True)
class Segment:
    """A region. ``bbox`` is (x1, y1, x2, y2), end-exclusive; ``phrase`` is an index, None where none matched."""

    id: int
    label: str
    score: float
    area: int
    bbox: tuple[int, int, int, int]
    rle: Rle
    person_id: str | None = None
    truth: tuple[int, int] | None = None
    phrase: int | None = None
    match_score: float | None = None
    margin: float | None = None
    is_thing: bool = True
    """Whether it is countable (a person), not stuff (the sky)."""
    scores: dict[str, float] = field(default_factory=dict)
    """What to filter by at load time: see :mod:`fcbench.build.quality`."""


@dataclass(frozen=True)
class Photo:
    """A photo on its way; each step fills in its part."""

    id: str
    path: Path
    width: int
    height: int
    sidecar: Sidecar
    caption: str = ""
    phrases: tuple[Phrase, ...] = ()
    segments: tuple[Segment, ...] = ()
    flags: tuple[str, ...] = ()
    original_caption: str = ""
    """The caption before plurals were expanded; empty where none were."""
    captioned: bool = False
    """Whether a model wrote the caption."""
    scores: dict[str, float] = field(default_factory=dict)
    fingerprint: str = ""
    """Sha256 of the working copy: equal pixels give equal fingerprints."""
    phash: str = ""
    """Its perceptual hash (:mod:`fcbench.build.phash`)."""


@dataclass(frozen=True)
class Reject:
    """A photo left out: at which step, and why."""

    id: str
    reason: Reason
    step: str
    message: str


Item: TypeAlias = Photo | Reject


def each(step: Callable[[Photo], Item], items: Iterable[Item]) -> Iterator[Item]:
    """Apply a step to every photo, and pass on every reject."""
    for item in items:
        yield step(item) if isinstance(item, Photo) else item


def batches(items: Iterable[Item], size: int) -> Iterator[list[Item]]:
    """Lists of ``size`` items in order, the last one shorter; which items share a list never depends on their kind."""
    iterator = iter(items)
    while batch := list(islice(iterator, size)):
        yield batch
