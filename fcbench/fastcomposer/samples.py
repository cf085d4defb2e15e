"""The same few training cases drawn again and again, to see a training progress."""

from __future__ import annotations

from collections.abc import Sequence
from random import Random
from typing import Any

import numpy as np
import torch

from fcbench.config import Recipe
from fcbench.fastcomposer.checkpoint import Checkpoint
from fcbench.fastcomposer.data import Example, make_example, without_chance
from fcbench.fastcomposer.encoder import embed_subjects
from fcbench.fastcomposer.photos import Photos
from fcbench.fastcomposer.transforms import fit_photo, resize
from fcbench.images import to_tensor
from fcbench.sampling import draw
from fcbench.types import Image, Stack

CASES = 4


class Samples:
    """The first photos with subjects: what was photographed, and what is drawn from its caption and references."""

    def __init__(self, photos: Photos, stack: Stack, recipe: Recipe, *, reference_side: int) -> None:
        self._stack = stack
        self._side = stack.image_size
        plain = without_chance(recipe)
        sides = {"side": self._side, "reference_side": reference_side}
        tokenizer = stack.role("tokenizer")
        rows = [row for row in range(len(photos)) if photos.segments[row]][:CASES]
        examples = [make_example(photos, row, tokenizer, plain, Random(row), **sides) for row in rows]
        self._examples = [example for example in examples if example.references]
        self._photos = [fit_photo(photos.image(example.row), self._side) for example in self._examples]

    @torch.no_grad()
    def draw(self, parts: Checkpoint) -> Image | None:
        """A sheet, uint8, one row per case: photo, text-only picture, subject-conditioned picture, references.

        None where no photo shows a subject. Draws from seeds of its own: a training goes on as if none were drawn.
        """
        if not self._examples:
            return None
        text, augmented = conditioning(self._stack, parts, self._examples)
        seeds = range(len(self._examples))
        plain = draw(self._stack, lambda call: text, seeds, unet=parts.unet)
        drawn = draw(self._stack, lambda call: augmented, seeds, unet=parts.unet)
        most = max(len(example.references) for example in self._examples)
        blank = np.full((self._side, self._side, 3), 255, np.uint8)
        rows = []
        for case, example in enumerate(self._examples):
            cells = [self._photos[case], plain[case], drawn[case], *example.references]
            cells += [blank] * (most - len(example.references))
            rows.append(np.concatenate([resize(cell, self._side, self._side) for cell in cells], axis=1))
        return np.concatenate(rows)


def conditioning(stack: Stack, parts: Checkpoint, examples: Sequence[Example]) -> tuple[torch.Tensor, torch.Tensor]:
    """Text of examples (n, tokens, width), and the same with their subjects in it; one of them must show a subject."""
    ids = torch.tensor([example.ids for example in examples], device=stack.device)
    text: Any = stack.role("text_encoder")(ids).last_hidden_state.float()
    at = _subject_places(examples, text.shape[1]).to(stack.device)
    pictures = [picture for example in examples for picture in example.references]
    subjects = embed_subjects(parts.image_encoder, to_tensor(pictures, stack.device))
    return text, parts.fusion(text, subjects, at)


def _subject_places(examples: Sequence[Example], tokens: int) -> torch.Tensor:
    at = torch.zeros(len(examples), tokens, dtype=torch.bool)
    for row, example in enumerate(examples):
        at[row, example.positions] = True
    return at
