"""Textual Inversion (Gal et al., 2023): a new word's embedding is all that is learned; every model stays frozen.

After diffusers' ``examples/textual_inversion/textual_inversion.py``. Two subjects: two embeddings, each learned alone.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from PIL import Image as Pillow
from PIL import ImageOps

from baselines.tuning.batches import View, chance, open_photo, pick, to_pixels
from baselines.tuning.loop import Batch
from baselines.tuning.losses import errors_of, schedule_of
from baselines.tuning.method import Tuned, TunedSampler, TuningTask, Weights
from baselines.tuning.models import private_copy, with_models
from baselines.tuning.recipe import Recipe
from baselines.tuning.words import longer_encoder, longer_tokenizer, row_of, word_of
from fcbench.types import Capabilities, Stack, Subject

_PLACES = (
    ("a photo of {} X", ("a", "my", "the", "one", "a clean", "a dirty", "a nice", "a cool", "a small")),
    ("a photo of the {} X", ("cool", "clean", "nice", "small", "weird", "large")),
    ("{} X", ("a rendering of a", "the photo of a", "a dark photo of the", "a bright photo of the")),
    ("a cropped photo of {} X", ("the", "a")),
    ("a close-up photo of {} X", ("a", "the")),
    ("a good photo of {} X", ("the", "a")),
    ("a rendition of {} X", ("a", "the")),
)

TEMPLATES = tuple(template.format(words) for template, choices in _PLACES for words in choices)
"""The paper's captions of a thing, X in the new word's place."""


@dataclass
class TextualInversion(Tuned):
    """One row of the token table for each of a subject's new words."""

    name = "textual-inversion"
    file = "learned_embeds.safetensors"

    @property
    def capabilities(self) -> Capabilities:
        """Fits of single subjects are joined."""
        return replace(super().capabilities, joins=True)

    def task(self, stack: Stack, subjects: Sequence[Subject], recipe: Recipe, seed: int) -> InversionTask:
        """Train the subject's rows, starting as its class word's unless the recipe names another."""
        (subject,) = subjects
        first = recipe.initial[0] if recipe.initial else subject.noun
        return InversionTask(stack, word_of(subject), first, recipe.vectors, fast=self.track == "optimised")

    def photos(
        self, stack: Stack, subjects: Sequence[Subject], recipe: Recipe, priors: Sequence[list[Path]]
    ) -> InversionPhotos:
        """Each photo many times, with a new caption each time."""
        (subject,) = subjects
        return InversionPhotos(subject.images, stack.image_size, " ".join(words_of(subject, recipe.vectors)), recipe)

    def sampler(self, stack: Stack, fits: Sequence[Weights]) -> TunedSampler:
        """Tokenizer and text encoder with every fit's words."""
        names: list[list[str]] = []
        for fit in fits:
            (subject,) = fit.subjects
            names.append(words_of(subject, len(fit.tensors[word_of(subject)])))
        rows = torch.cat([fit.tensors[words[0]] for fit, words in zip(fits, names, strict=True)])
        encoder = longer_encoder(stack, rows.to(stack.device)).eval().requires_grad_(False)
        tokenizer = longer_tokenizer(stack, [word for words in names for word in words])
        phrase = " and ".join(f"a {' '.join(words)}" for words in names)
        own = with_models(stack, tokenizer=tokenizer, text_encoder=encoder)
        return TunedSampler(own, phrase, self.steps, self.guidance, tuple(fits))


class InversionTask(TuningTask):
    """The plain denoising loss on new rows of the token table. The script trains the table and restores the rest."""

    def __init__(self, stack: Stack, word: str, initial: str, vectors: int, *, fast: bool) -> None:
        self.word = word
        self.text_encoder = longer_encoder(stack, row_of(stack, initial).repeat(vectors, 1))
        self.unet = private_copy(stack.role("unet"), lambda name: False, frozen_dtype=None if fast else torch.float32)
        self.stack = with_models(stack, tokenizer=longer_tokenizer(stack, numbered(word, vectors)))
        self._schedule = schedule_of(stack)

    @property
    def trained(self) -> Mapping[str, torch.nn.Parameter]:
        """The new rows."""
        return {self.word: self.text_encoder.get_input_embeddings().rows}

    def text(self, ids: torch.Tensor) -> torch.Tensor:
        """Conditioning (n, tokens, dim) of ids (n, tokens)."""
        hidden: torch.Tensor = self.text_encoder(ids).last_hidden_state
        return hidden

    def loss(self, batch: Batch) -> torch.Tensor:
        """The mean error."""
        return errors_of(self.unet, self._schedule, batch, self.text(batch.ids)).mean()

    def weights(self) -> Mapping[str, torch.Tensor]:
        """The rows by the first word's name, as diffusers reads them."""
        return self.trained


class InversionPhotos:
    """Photos squeezed to squares, half of them mirrored, under captions drawn anew."""

    def __init__(self, files: Sequence[Path], size: int, words: str, recipe: Recipe) -> None:
        self._photos = [to_square(open_photo(file), size, centre_crop=recipe.centre_crop) for file in files]
        self._words, self._repeats, self._flips = words, recipe.repeats, recipe.flips

    @property
    def length(self) -> int:
        """Every photo as often as the recipe repeats it."""
        return len(self._photos) * self._repeats

    def look(self, item: int, generator: torch.Generator) -> tuple[list[View], list[View]]:
        """One photo; no class image."""
        number = item % len(self._photos)
        caption = TEMPLATES[pick(generator, 0, len(TEMPLATES))].replace("X", self._words)
        turned = self._flips and chance(generator) < 0.5
        photo = ImageOps.mirror(self._photos[number]) if turned else self._photos[number]
        return [View(caption, lambda: to_pixels(photo), (number, turned))], []


def to_square(photo: Pillow.Image, size: int, *, centre_crop: bool) -> Pillow.Image:
    """The photo, or the square in its middle, squeezed to ``size`` x ``size``, bicubic."""
    if centre_crop:
        short = min(photo.size)
        left, top = (photo.width - short) // 2, (photo.height - short) // 2
        photo = photo.crop((left, top, (photo.width + short) // 2, (photo.height + short) // 2))
    return photo.resize((size, size), Pillow.Resampling.BICUBIC)


def words_of(subject: Subject, vectors: int) -> list[str]:
    """A subject's new words, one per vector."""
    return numbered(word_of(subject), vectors)


def numbered(word: str, vectors: int) -> list[str]:
    """A word and its further vectors, as diffusers names them.

    >>> numbered("<ann>", 3)
    ['<ann>', '<ann>_1', '<ann>_2']
    """
    return [word] + [f"{word}_{number}" for number in range(1, vectors)]
