"""A method that draws coloured noise, and a metric that measures how bright it is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from zlib import crc32

import numpy as np

from fcbench.errors import UsageError
from fcbench.types import Capabilities, Generation, Image, Prompt, Score, Stack, Subject


@dataclass(frozen=True)
class ToySampler:
    names: str
    size: int

    def __call__(self, prompts: Sequence[Prompt], seeds: Sequence[int]) -> list[Image]:
        keys = [
            [crc32(f"{self.names} {prompt.text}".encode()), seed] for prompt, seed in zip(prompts, seeds, strict=True)
        ]
        shape = (self.size, self.size, 3)
        return [np.random.default_rng(key).integers(0, 256, shape, np.uint8) for key in keys]

    def save(self, folder: Path) -> None:
        (folder / "names.txt").write_text(self.names)


@dataclass(frozen=True)
class Toy:
    """``most``: the most subjects in a picture."""

    most: int = 2

    @property
    def capabilities(self) -> Capabilities:
        return Capabilities(max_subjects=self.most, needs_tuning=True, images_per_subject=0)

    def fit(self, stack: Stack, subjects: Sequence[Subject], *, seed: int, workdir: Path) -> ToySampler:
        if len(subjects) > self.most:
            raise UsageError(f"toy draws {self.most} subjects at most, not {len(subjects)}")
        return ToySampler(" ".join(subject.id for subject in subjects), stack.image_size)


class Brightness:
    """The mean of a picture's values, as a share of white."""

    name = "brightness"
    unit = "share of white"
    range = (0.0, 1.0)
    higher_is_better = True

    def __call__(self, stack: Stack, generations: Sequence[Generation]) -> list[dict[str, Score]]:
        from fcbench.images import read_image

        return [{self.name: Score(float(read_image(g.image).mean()) / 255)} for g in generations]
