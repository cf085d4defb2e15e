"""A method that learns a subject's mean colour from five photos and draws in it; two subjects share the picture.

It uses all of the interface: it prepares something for a class word, fits subjects alone, joins them, and goes on with
a fit that was killed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from zlib import crc32

import numpy as np
from PIL import Image as Pillow

from fcbench.errors import UsageError
from fcbench.types import Capabilities, Image, Prompt, Stack, Subject

FILE = "colour.npy"


@dataclass(frozen=True)
class PaletteSampler:
    """Draws stripes of the subjects' colours under noise that prompt and seed decide."""

    colours: tuple[tuple[float, ...], ...]
    size: int

    def __call__(self, prompts: Sequence[Prompt], seeds: Sequence[int]) -> list[Image]:
        return [self._draw(prompt, seed) for prompt, seed in zip(prompts, seeds, strict=True)]

    def save(self, folder: Path) -> None:
        np.save(folder / FILE, np.array(self.colours))

    def _draw(self, prompt: Prompt, seed: int) -> Image:
        noise = np.random.default_rng([crc32(prompt.text.encode()), seed]).normal(0, 20, (self.size, self.size, 3))
        stripes = np.repeat(np.array(self.colours), -(-self.size // len(self.colours)), axis=0)[: self.size]
        return np.asarray((stripes[None] + noise).clip(0, 255), np.uint8)


@dataclass
class Palette:
    """``strength``: how far from the class's grey towards the subject's colour, 0 to 1."""

    strength: float = 1.0

    capabilities = Capabilities(max_subjects=2, needs_tuning=True, images_per_subject=5, joins=True, resumes=True)

    def prepare(self, stack: Stack, noun: str, *, shelf: Path) -> Path:
        """A grey for the class word."""
        folder = shelf / f"palette-{noun}"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "grey.txt").write_text(str(crc32(noun.encode()) % 256))
        return folder

    def fit(self, stack: Stack, subjects: Sequence[Subject], *, seed: int, workdir: Path) -> PaletteSampler:
        """The mean of the photos."""
        if len(subjects) > 2:
            raise UsageError(f"palette draws 2 subjects at most, not {len(subjects)}")
        if len(subjects) == 2:
            return self.join(stack, [self._fit_alone(stack, subject, seed, workdir) for subject in subjects])
        (subject,) = subjects
        if not (workdir / FILE).exists():
            photos = [np.array(Pillow.open(photo).convert("RGB")).mean((0, 1)) for photo in subject.images]
            np.save(workdir / FILE, 128 + self.strength * (np.mean(photos, axis=0) - 128))
        return PaletteSampler((tuple(np.load(workdir / FILE).tolist()),), stack.image_size)

    def join(self, stack: Stack, samplers: Sequence[PaletteSampler]) -> PaletteSampler:
        """Both colours."""
        return PaletteSampler(tuple(c for sampler in samplers for c in sampler.colours), stack.image_size)

    def _fit_alone(self, stack: Stack, subject: Subject, seed: int, workdir: Path) -> PaletteSampler:
        place = workdir / subject.id
        place.mkdir(parents=True, exist_ok=True)
        return self.fit(stack, [subject], seed=seed, workdir=place)
