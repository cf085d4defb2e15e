"""The loss on photos that no training sees: the same photos, references, noise and times again and again."""

from __future__ import annotations

from dataclasses import replace
from random import Random

import torch

from fcbench.config import Recipe
from fcbench.diffusion import noised, training_scheduler
from fcbench.errors import UsageError
from fcbench.fastcomposer.checkpoint import Checkpoint
from fcbench.fastcomposer.data import Example, make_example, without_chance
from fcbench.fastcomposer.photos import Photos
from fcbench.fastcomposer.samples import conditioning
from fcbench.fastcomposer.transforms import fit_photo
from fcbench.images import to_tensor
from fcbench.sampling import encode_posterior
from fcbench.types import Stack

MOST = 256
_AT_ONCE = 8


class Unseen:
    """Up to ``MOST`` photos with subjects, each with the noise and the time that the seed gives it.

    The photos that they are taken from are closed: those of a large split fill gigabytes. Raises UsageError where no
    caption names its subjects early enough.
    """

    def __init__(self, photos: Photos, stack: Stack, recipe: Recipe, *, reference_side: int) -> None:
        self._stack = stack
        self._scheduler = training_scheduler(stack.role("scheduler"))
        rows = [row for row in range(len(photos)) if photos.segments[row]]
        rows = Random(recipe.seed).sample(rows, min(MOST, len(rows)))
        examples = [_example(photos, row, stack, recipe, reference_side) for row in rows]
        self._examples = [example for example in examples if example.references]
        if not self._examples:
            raise UsageError(
                "train: no caption of the validation split names a subject within what the text encoder reads; "
                "--set validate_every=0 does without"
            )
        self._latents = _latents(photos, [example.row for example in self._examples], stack)
        photos.close()
        generator = torch.Generator().manual_seed(recipe.seed)
        self._noise = torch.randn(self._latents.shape, generator=generator)
        times = self._scheduler.config.num_train_timesteps
        self._times = torch.randint(times, (len(self._examples),), generator=generator)

    @torch.no_grad()
    def loss(self, parts: Checkpoint) -> float:
        """The mean denoising loss of whole pictures, all subjects given. A training goes on as if none were taken."""
        total = 0.0
        for start in range(0, len(self._examples), _AT_ONCE):
            some = slice(start, start + _AT_ONCE)
            clean, noise, times = (
                each[some].to(self._stack.device) for each in (self._latents, self._noise, self._times)
            )
            noisy, target, weight = noised(self._scheduler, clean, noise, times)
            _, text = conditioning(self._stack, parts, self._examples[some])
            made = parts.unet(noisy, times, text).sample.float()
            total += float((weight * (made - target).pow(2).mean(dim=(1, 2, 3))).sum())
        return total / len(self._examples)


def _example(photos: Photos, row: int, stack: Stack, recipe: Recipe, reference_side: int) -> Example:
    """Without its masks, which no loss here asks for."""
    sides = {"side": stack.image_size, "reference_side": reference_side}
    made = make_example(photos, row, stack.role("tokenizer"), without_chance(recipe), Random(row), **sides)
    return replace(made, masks=[])


@torch.no_grad()
def _latents(photos: Photos, rows: list[int], stack: Stack) -> torch.Tensor:
    """The photos' latents, float32 (n, c, h, w), on the CPU."""
    made = []
    for start in range(0, len(rows), _AT_ONCE):
        images = [fit_photo(photos.image(row), stack.image_size) for row in rows[start : start + _AT_ONCE]]
        made.append(encode_posterior(stack.role("vae"), to_tensor(images, stack.device))[0].float().cpu())
    return torch.cat(made)
