"""Stable Diffusion, text only: the class words say all that it knows of the subjects (Rombach et al., 2022)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from fcbench import sampling
from fcbench.types import Capabilities, Image, Prompt, Stack, Subject, subject_phrase


@dataclass(frozen=True)
class StableDiffusion:
    """The base model with the scored prompt; ``steps`` and ``guidance``: 0 means the stack's own."""

    steps: int = 0
    guidance: float = 0.0

    @property
    def capabilities(self) -> Capabilities:
        """Any number of subjects; looks at no photo."""
        return Capabilities(max_subjects=None, images_per_subject=0)

    def fit(self, stack: Stack, subjects: Sequence[Subject], *, seed: int, workdir: Path) -> TextOnlySampler:
        """Nothing to fit."""
        return TextOnlySampler(stack, subject_phrase([s.noun for s in subjects]), self.steps, self.guidance)


@dataclass(frozen=True)
class TextOnlySampler:
    """Draws "a man and a woman", nobody in particular."""

    stack: Stack
    phrase: str
    steps: int
    guidance: float

    def __call__(self, prompts: Sequence[Prompt], seeds: Sequence[int]) -> list[Image]:
        """One picture for each (prompt, seed)."""
        text = sampling.encode_text(self.stack, [prompt.fill(self.phrase) for prompt in prompts])
        return sampling.draw(self.stack, lambda call: text, seeds, steps=self.steps, guidance=self.guidance)

    def save(self, folder: Path) -> None:
        """Nothing is kept."""
