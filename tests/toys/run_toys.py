"""Methods for the runner's tests: no weights, every picture a function of its arguments."""

from __future__ import annotations

import errno
import os
import signal
import sys
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from types import ModuleType

import numpy as np

from fcbench.errors import MissingError, WeightsError
from fcbench.types import Capabilities, Image, Prompt, Stack, Subject

FAILURES = {
    "ValueError": ValueError("a toy's failure"),
    "MemoryError": MemoryError(),
    "MissingError": MissingError("no weights: make them"),
    "WeightsError": WeightsError("x.bin: 1 missing (y)"),
    "SystemExit": SystemExit(2),
    "disk-full": OSError(errno.ENOSPC, "No space left on device"),
    "torch-disk-full": RuntimeError("[enforce fail at inline_container.cc:672] . unexpected pos 704 vs 598"),
}


def install_stack() -> None:
    """Let ``load_stack`` give a stack without roles."""
    sys.modules["fcbench.stacks"] = stacks = ModuleType("fcbench.stacks")
    stacks.load_stack = lambda name, *, device, random_weights, low_memory: Stack(  # type: ignore[attr-defined]
        name, {}, 8, digests={"unet": os.environ.get("TOY_DIGEST", "u" * 64)}, random_weights=random_weights
    )


@dataclass
class Brush:
    """Draws noise that subjects, prompt and seed decide."""

    subjects: Sequence[Subject]
    shade: int
    kept: bytes = b""
    wrong: str = ""

    def __call__(self, prompts: Sequence[Prompt], seeds: Sequence[int]) -> list[Image]:
        for prompt, seed in zip(prompts, seeds, strict=True):
            _meet_fate(f"{'+'.join(s.id for s in self.subjects)}.{prompt.id}", seed)
        if self.wrong == "too-few":
            return []
        pictures = [self._draw(prompt, seed) for prompt, seed in zip(prompts, seeds, strict=True)]
        wrong = {
            "float": [p.astype(np.float32) for p in pictures],
            "large": [np.pad(p, ((1, 1), (1, 1), (0, 0))) for p in pictures],
            "none": None,
        }
        return wrong.get(self.wrong, pictures)  # type: ignore[return-value]

    def save(self, folder: Path) -> None:
        if self.kept:
            (folder / "kept").write_bytes(self.kept)

    def _draw(self, prompt: Prompt, seed: int) -> Image:
        seen = [prompt.id, seed, self.shade, [(s.id, [p.name for p in s.images]) for s in self.subjects]]
        noise = np.random.default_rng(list(sha256(repr(seen).encode()).digest()))
        return noise.integers(0, 256, (8, 8, 3), dtype=np.uint8)


@dataclass
class Painter:
    """Without tuning; fails for the subject ``fails_on``."""

    shade: int = 0
    fails_on: str = ""
    fails_with: str = "ValueError"
    wrong: str = ""

    capabilities = Capabilities(max_subjects=2)

    def fit(self, stack: Stack, subjects: Sequence[Subject], *, seed: int, workdir: Path) -> Brush:
        if any(subject.id == self.fails_on for subject in subjects):
            raise FAILURES[self.fails_with]
        return Brush(subjects, self.shade, wrong=self.wrong)


class Equipped(Painter):
    """Brings a U-Net of its own."""

    capabilities = Capabilities(max_subjects=2, own_unet=True)


@dataclass
class Loner(Painter):
    """One subject in a picture."""

    capabilities = Capabilities(max_subjects=1)


@dataclass
class Blind(Painter):
    """Looks at no photo."""

    capabilities = Capabilities(max_subjects=None, images_per_subject=0)


@dataclass
class Tuned(Painter):
    """Tunes on two photos, and finds its work again in ``workdir``; notes its fits in TOY_FITS."""

    capabilities = Capabilities(max_subjects=2, needs_tuning=True, images_per_subject=2)

    def fit(self, stack: Stack, subjects: Sequence[Subject], *, seed: int, workdir: Path) -> Brush:
        cache = workdir / "weights"
        with Path(os.environ["TOY_FITS"]).open("a") as notes:
            notes.write(f"{workdir.name} {'cached' if cache.exists() else 'fresh'}\n")
        cache.write_bytes(b"w" * 10)
        _meet_fate("+".join(s.id for s in subjects), seed)
        return Brush(subjects, self.shade, kept=b"w" * 10)


def _meet_fate(place: str, seed: int) -> None:
    """At the place that TOY_KILL, TOY_INTERRUPT or TOY_HANG names, do that; the worker's warm-up is not spared."""
    if os.environ.get("TOY_KILL") == place:
        os.kill(os.getpid(), signal.SIGKILL)
    if os.environ.get("TOY_INTERRUPT") == place:
        os.kill(os.getpid(), signal.SIGINT)
    if os.environ.get("TOY_HANG") == place:
        print("hanging", flush=True)  # a plug-in's standard output must not disturb the worker's
        threading.Event().wait()


@dataclass
class Joiner(Painter):
    """Prepares for class words, fits alone, joins, and goes on with its work; notes it all in TOY_FITS."""

    capabilities = Capabilities(max_subjects=2, needs_tuning=True, images_per_subject=2, joins=True, resumes=True)

    def prepare(self, stack: Stack, noun: str, *, shelf: Path) -> Path:
        folder = shelf / f"class-{noun}"
        _note(f"prepare {noun} {'again' if folder.exists() else 'fresh'}")
        folder.mkdir(parents=True, exist_ok=True)
        return folder

    def fit(self, stack: Stack, subjects: Sequence[Subject], *, seed: int, workdir: Path) -> Brush:
        (subject,) = subjects
        if subject.id == self.fails_on:
            raise FAILURES[self.fails_with]
        begun = workdir / "begun"
        _note(f"fit {subject.id} {'again' if begun.exists() else 'fresh'}")
        begun.touch()
        _meet_fate(subject.id, seed)
        return Brush(subjects, self.shade, kept=subject.id.encode())

    def join(self, stack: Stack, samplers: Sequence[Brush]) -> Brush:
        _note(f"join {'+'.join(s.id for brush in samplers for s in brush.subjects)}")
        return Brush(
            [s for brush in samplers for s in brush.subjects], self.shade, kept=b"".join(b.kept for b in samplers)
        )


def _note(line: str) -> None:
    with Path(os.environ["TOY_FITS"]).open("a") as notes:
        notes.write(f"{line}\n")
