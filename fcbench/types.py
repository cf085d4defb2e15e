"""The nouns of the benchmark: plain frozen data, and the protocols that plug-ins meet.

A *suite* is subjects x prompts x seeds = *cases*. A *method* is fitted to the subjects of a case and gives a
*sampler*; the runner measures it and keeps one *generation* a case; a *metric* turns generations into *scores*.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Protocol, TypeAlias, runtime_checkable

import numpy as np
import numpy.typing as npt

Image: TypeAlias = npt.NDArray[np.uint8]
"""A picture at a border of the program: uint8, RGB, shape (height, width, 3), values 0-255."""

Mask: TypeAlias = npt.NDArray[np.bool_]
"""A region of a picture: bool, shape (height, width), True on the subject."""

PromptKind: TypeAlias = Literal["accessory", "style", "action", "context"]
"""The paper's four categories of prompts."""

GENERATING = ("tokenizer", "text_encoder", "vae", "unet", "scheduler", "image_encoder", "fusion")
LABELLING = ("captioner", "parser", "segmenter", "matcher", "sentences", "scorer")
JUDGING = ("faces", "clip", "attributes", "facenet")
ROLES = GENERATING + LABELLING + JUDGING
"""What a stack can hold: roles to generate, to label, to judge."""


@dataclass(frozen=True)
class Subject:
    """Somebody to draw: ``noun`` is the class word ("woman"); ``images`` are photos, the reference first."""

    id: str
    noun: str
    images: tuple[Path, ...]

    @property
    def reference(self) -> Path:
        """The one photo that every method's identity is scored against."""
        return self.images[0]


@dataclass(frozen=True)
class Prompt:
    """What to draw. ``text`` holds one slot, ``{}``, for the subject phrase ("a man and a woman")."""

    id: str
    text: str
    kind: PromptKind

    def fill(self, phrase: str) -> str:
        """The prompt with ``phrase`` in its slot.

        >>> Prompt("snow", "{} in the snow", "context").fill("a man")
        'a man in the snow'
        """
        return self.text.replace("{}", phrase)


@dataclass(frozen=True)
class Case:
    """One picture to make."""

    subjects: tuple[Subject, ...]
    prompt: Prompt
    seed: int

    @property
    def id(self) -> str:
        """Stable, unique within a suite, and the stem of the picture's file name: ``ann+bo.red-hat.0``."""
        return f"{'+'.join(s.id for s in self.subjects)}.{self.prompt.id}.{self.seed}"

    @property
    def phrase(self) -> str:
        """The subjects in words, with an article each: ``a man and a woman``."""
        return subject_phrase([s.noun for s in self.subjects])

    @property
    def text(self) -> str:
        """The prompt that is scored: class words only, no method's token."""
        return self.prompt.fill(self.phrase)


def subject_phrase(nouns: Sequence[str]) -> str:
    """Join class words as the prompts want them, an article each.

    >>> subject_phrase(["man", "woman"]), subject_phrase(["man", "elf", "man"])
    ('a man and a woman', 'a man, an elf and a man')
    """
    words = [("an " if noun[0] in "aeiou" else "a ") + noun for noun in nouns]
    return words[0] if len(words) == 1 else ", ".join(words[:-1]) + " and " + words[-1]


@dataclass(frozen=True)
class Generation:
    """One picture that a method made, with what the runner measured (never what the plug-in claims).

    ``fit_seconds`` is the whole fit of the case's subjects; ``sample_seconds`` is this picture's share of its batch;
    ``peak_bytes`` the peak over fit and sampling (the runner says of which memory); ``stored_bytes`` what must be
    kept for these subjects to draw them again. ``prior_seconds`` is what preparing their class words took, once for all
    subjects of a word, and is in none of the others; the peaks by phase follow.
    """

    case: Case
    image: Path
    fit_seconds: float
    sample_seconds: float
    peak_bytes: int
    stored_bytes: int
    prior_seconds: float = 0.0
    prior_peak_bytes: int = 0
    fit_peak_bytes: int = 0
    sample_peak_bytes: int = 0


@dataclass(frozen=True)
class Score:
    """A value, or None where the metric does not apply; then ``note`` says why. Never NaN."""

    value: float | None
    note: str = ""


@dataclass(frozen=True)
class Capabilities:
    """What a method can do, and what it needs beside prompt and photos."""

    max_subjects: int | None
    """The most subjects in one picture; None: any number."""
    needs_tuning: bool = False
    images_per_subject: int = 1
    """How many photos of each subject it is given (0: it looks at none)."""
    joins: bool = False
    """Whether fits of single subjects are put together by ``join``: see :class:`Joining`."""
    resumes: bool = False
    """Whether a fit that was killed goes on from what it left in its work folder."""
    own_unet: bool = False
    """Whether it draws with a U-Net of its own, so that the stack's need not be in memory beside it."""
    sees: tuple[str, ...] = ()
    """What else it uses that a judge uses too, or that others are not given: ``("insightface", "boxes")``."""


class Sampler(Protocol):
    """Draws the subjects that it was fitted to."""

    def __call__(self, prompts: Sequence[Prompt], seeds: Sequence[int]) -> list[Image]:
        """One picture for each (prompt, seed), in order; equal arguments give equal pictures."""
        ...

    def save(self, folder: Path) -> None:
        """Write what must be kept to draw these subjects again (nothing, for a method without tuning)."""
        ...


@runtime_checkable
class Method(Protocol):
    """A way to draw given subjects. Options are the fields of the (data)class; see ``fcbench.testing``."""

    @property
    def capabilities(self) -> Capabilities:
        """What the method can do; constant."""
        ...

    def fit(self, stack: Stack, subjects: Sequence[Subject], *, seed: int, workdir: Path) -> Sampler:
        """Prepare to draw ``subjects`` together. Leaves the stack as it was.

        ``workdir`` is the method's own until the subjects' cases are drawn: called again with it, ``fit`` may find
        what it did there.
        """
        ...


@runtime_checkable
class Resolving(Protocol):
    """A method whose options mean something else on each stack: a run records what, and goes on only with the same."""

    def recipe(self, stack: Stack) -> Any:
        """What a fit on the stack is made with, as a dataclass of plain values."""
        ...


@runtime_checkable
class Preparing(Protocol):
    """A method that makes something once for a class word, ahead of all fits; its cost is reported separately."""

    def prepare(self, stack: Stack, noun: str, *, shelf: Path) -> Path | None:
        """Make it in its own folder under ``shelf``, which methods share, unless it is there; None: nothing to make.

        Name the folder by all that decides what is in it. Called before the first ``fit`` of its class word, in
        the same process.
        """
        ...


@runtime_checkable
class Joining(Protocol):
    """A method with ``capabilities.joins``: each subject is fitted alone, once for all its pictures and pairs."""

    def join(self, stack: Stack, samplers: Sequence[Any]) -> Sampler:
        """One sampler for all subjects of these samplers, which ``fit`` made, in that order."""
        ...


@runtime_checkable
class Metric(Protocol):
    """Judges generations. The class attributes are printed beside every figure.

    ``range`` is that of the column ``name``; a metric may give those of further columns as ``ranges``, by their names.
    """

    name: str
    unit: str
    range: tuple[float, float]
    higher_is_better: bool

    def __call__(self, stack: Stack, generations: Sequence[Generation]) -> list[dict[str, Score]]:
        """For each generation its scores by column name; the column ``self.name`` is always there."""
        ...


PERSON = "person"
"""The label of people's segments, which trainings and the official layout look for."""

UNLABELLED = "object"
"""The label from a segmenter that knows no labels: such a region may be anybody or anything."""


@dataclass(frozen=True)
class Region:
    """What a segmenter found: ``score`` in 0-1; a thing is countable (a person), stuff is not (the sky)."""

    mask: Mask
    label: str
    score: float
    is_thing: bool = True


@runtime_checkable
class Captioner(Protocol):
    """The role ``captioner``: pictures in words."""

    def captions(self, images: Sequence[Image]) -> list[str]:
        """A caption for each picture."""
        ...


@runtime_checkable
class Segmenter(Protocol):
    """The role ``segmenter``: what is where."""

    def regions(self, images: Sequence[Image]) -> list[list[Region]]:
        """For each picture its regions, the surest first; masks have the picture's size."""
        ...


@runtime_checkable
class Matcher(Protocol):
    """The role ``matcher`` as CLIP fills it: pictures and texts as unit vectors of one space, float32 (n, dim)."""

    def image_features(self, images: Sequence[Image]) -> npt.NDArray[np.float32]:
        """Features of pictures of any sizes."""
        ...

    def text_features(self, texts: Sequence[str]) -> npt.NDArray[np.float32]:
        """Texts."""
        ...


class SentenceEncoder(Protocol):
    """The role ``sentences``: texts as unit vectors, float32 (n, dim), close together where texts mean the same."""

    def text_features(self, texts: Sequence[str]) -> npt.NDArray[np.float32]:
        """Texts."""
        ...


@runtime_checkable
class Grounder(Protocol):
    """The role ``matcher`` as a grounding detector fills it: where in a picture each phrase of its caption is."""

    def ground(
        self, images: Sequence[Image], captions: Sequence[str], spans: Sequence[Sequence[tuple[int, int]]]
    ) -> list[list[list[tuple[tuple[float, float, float, float], float]]]]:
        """For each picture, for each span of its caption: boxes (x1, y1, x2, y2) in pixels with scores in 0-1."""
        ...


@runtime_checkable
class Scorer(Protocol):
    """The role ``scorer``: what photos are worth to a model of your own, an aesthetic one say."""

    def scores(self, images: Sequence[Image], captions: Sequence[str]) -> list[dict[str, float]]:
        """For each picture, given its caption, numbers by the dataset's column that they go to.

        There is always at least one picture. A key that is left out is null in that photo's row.
        """
        ...


@dataclass
class Stack:
    """Models by role, each loaded on first use and kept.

    ``load`` maps a role to a function that loads it; ``digests`` names the weights behind each role (sha256 or a
    pinned hub revision). Roles that a stack lacks raise MissingError when they are asked for.
    """

    name: str
    load: Mapping[str, Callable[[], Any]]
    image_size: int
    device: str = "cpu"
    digests: Mapping[str, str] = field(default_factory=dict)
    checkpoint: str | None = None
    """The FastComposer checkpoint that goes with this stack: a folder, a file or a hub id."""
    sampling: Mapping[str, Any] = field(default_factory=dict)
    """The stack's defaults: steps and guidance of the denoising loop, alpha of delayed subject conditioning."""
    random_weights: bool = False
    """True: nothing was trained; time and memory can be measured, quality columns stay empty."""
    low_memory: bool = False
    """True: encoders and VAE are on the device for their own step alone; see :mod:`fcbench.memory`."""
    _loaded: dict[str, Any] = field(default_factory=dict, repr=False)

    def role(self, name: str) -> Any:
        """The model that fills a role (``ROLES``), loaded now if it was not yet."""
        from fcbench.errors import MissingError, UsageError

        if name not in self._loaded:
            if name not in ROLES:
                raise UsageError(f"no role is called {name!r}: roles are {', '.join(ROLES)}")
            if name not in self.load:
                raise MissingError(f"stack {self.name!r} has no {name}: name one in its YAML file (roles: {name}: ...)")
            self._loaded[name] = self.load[name]()
        return self._loaded[name]

    @contextlib.contextmanager
    def borrowed(self, *names: str) -> Iterator[None]:
        """Drop, at the end, those of the roles that were not loaded before: they were wanted only to be copied."""
        loaded = set(self._loaded)
        try:
            yield
        finally:
            for name in set(names) - loaded:
                self._loaded.pop(name, None)
