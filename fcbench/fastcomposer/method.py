"""FastComposer as a method: one photo a subject, no tuning, several subjects in one picture."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import torch

from fcbench import sampling
from fcbench.errors import MissingError, UsageError
from fcbench.fastcomposer.checkpoint import Checkpoint, load_checkpoint
from fcbench.fastcomposer.encoder import embed_subjects, subject_tokens
from fcbench.fastcomposer.transforms import fit_reference
from fcbench.images import read_image, to_tensor
from fcbench.memory import on_device
from fcbench.types import Capabilities, Image, Prompt, Stack, Subject, subject_phrase

MAX_SUBJECTS = 4
"""As in training."""


@dataclass
class FastComposer:
    """The paper's method.

    ``alpha``: the share of subject-conditioned steps, the last ones (delayed subject conditioning); 1 is all of them,
    0 draws text only, None means the stack's. ``switch``: ``exact`` rounds (1 - alpha) x calls, ``official`` switches
    as the published loop does, usually a call later. ``checkpoint``: empty means the stack's. ``steps``, ``guidance``:
    0 means the stack's.
    """

    alpha: float | None = None
    switch: Literal["exact", "official"] = "exact"
    checkpoint: str = ""
    steps: int = 0
    guidance: float = 0.0
    _loaded: dict[tuple[str, str], Checkpoint] = field(default_factory=dict, init=False, repr=False)

    def __post_init__(self) -> None:
        if self.alpha is not None and not 0 <= self.alpha <= 1:
            raise UsageError(f"alpha is a share of the steps, from 0 to 1, not {self.alpha}")

    @property
    def capabilities(self) -> Capabilities:
        """Up to four subjects, as in training; one photo each."""
        return Capabilities(max_subjects=MAX_SUBJECTS, images_per_subject=1, own_unet=True)

    def fit(self, stack: Stack, subjects: Sequence[Subject], *, seed: int, workdir: Path) -> FastComposerSampler:
        """Embed the subjects' references, padded to squares, not cut out: there is nothing to tune."""
        if len(subjects) > MAX_SUBJECTS:
            raise UsageError(f"fastcomposer draws up to {MAX_SUBJECTS} subjects in a picture, not {len(subjects)}")
        parts = self._parts(stack)
        size = parts.image_encoder.config.image_size
        squares = [fit_reference(read_image(subject.reference), size) for subject in subjects]
        with torch.no_grad(), on_device(stack, parts.image_encoder) as image_encoder:
            embeds = embed_subjects(image_encoder, to_tensor(squares, stack.device))
        return FastComposerSampler(self, stack, parts, tuple(s.noun for s in subjects), embeds)

    def _parts(self, stack: Stack) -> Checkpoint:
        place = self.checkpoint or stack.checkpoint
        if place is None and stack.random_weights:  # nothing was trained: the stack's own roles stand in
            return Checkpoint(stack.role("unet"), stack.role("image_encoder"), stack.role("fusion"))
        if place is None:
            raise MissingError(f"stack {stack.name!r} names no FastComposer checkpoint: give one with --checkpoint")
        key = (place, stack.device)
        if key not in self._loaded:
            self._loaded[key] = load_checkpoint(place, stack)
        return self._loaded[key]


@dataclass(frozen=True)
class FastComposerSampler:
    """Draws its subjects; ``embeds`` (subjects, dim) in the order of ``nouns``."""

    method: FastComposer
    stack: Stack
    parts: Checkpoint
    nouns: tuple[str, ...]
    embeds: torch.Tensor

    @torch.no_grad()
    def __call__(self, prompts: Sequence[Prompt], seeds: Sequence[int]) -> list[Image]:
        """One picture for each (prompt, seed)."""
        text = sampling.encode_text(self.stack, [prompt.fill(subject_phrase(self.nouns)) for prompt in prompts])
        augmented = self.augment(text, prompts)
        options = self.method
        steps = options.steps or self.stack.sampling["steps"]
        calls = sampling.denoiser_calls(self.stack.role("scheduler"), steps)
        alpha = self.stack.sampling["alpha"] if options.alpha is None else options.alpha
        first = first_subject_call(alpha, calls, steps, switch=options.switch)
        return sampling.draw(
            self.stack,
            lambda call: text if call < first else augmented,
            seeds,
            unet=self.parts.unet,
            steps=steps,
            guidance=options.guidance,
        )

    def save(self, folder: Path) -> None:
        """Nothing is kept: the photo is enough."""

    def augment(self, text: torch.Tensor, prompts: Sequence[Prompt]) -> torch.Tensor:
        """The prompts' text conditioning (n, tokens, dim) with the subjects fused into their nouns' tokens."""
        at = torch.zeros(text.shape[:2], dtype=torch.bool, device=text.device)
        embeds = []
        for row, prompt in enumerate(prompts):
            filled, ends = fill_with_ends(prompt, self.nouns)
            _, positions = subject_tokens(self.stack.role("tokenizer"), filled, ends)
            for subject, position in enumerate(positions):
                if position >= 0:
                    at[row, position] = True
                    embeds.append(self.embeds[subject])
        return self.parts.fusion(text, torch.stack(embeds), at) if embeds else text


def fill_with_ends(prompt: Prompt, nouns: Sequence[str]) -> tuple[str, list[int]]:
    """The filled prompt and the exclusive character end of each subject's noun in it.

    >>> fill_with_ends(Prompt("snow", "{} in the snow", "context"), ["man", "woman"])
    ('a man and a woman in the snow', [5, 17])
    """
    start = prompt.text.index("{}")
    ends = [start + len(subject_phrase(nouns[: i + 1])) for i in range(len(nouns))]
    if len(nouns) > 2:  # "a, b and c": only the last subject is joined by "and"
        joined = [("an " if noun[0] in "aeiou" else "a ") + noun for noun in nouns]
        ends = [start + len(", ".join(joined[: i + 1])) for i in range(len(nouns) - 1)]
        ends.append(start + len(subject_phrase(nouns)))
    return prompt.fill(subject_phrase(nouns)), ends


def first_subject_call(alpha: float, calls: int, steps: int, *, switch: str = "exact") -> int:
    """The index of the first denoiser call with subject conditioning.

    ``exact``: ``round((1 - alpha) * calls)`` calls are text only. ``official``: those with index
    ``i <= (1 - alpha) * steps``, in floating point.

    >>> [first_subject_call(alpha, 50, 50) for alpha in (0, 0.5, 1)]
    [50, 25, 0]
    >>> first_subject_call(0.5, 50, 50, switch="official")
    26
    """
    if switch == "official":
        return sum(call <= (1 - alpha) * steps for call in range(calls))
    return round((1 - alpha) * calls)
