"""The photos' latents, encoded once: what a training would otherwise encode again each time it sees a photo.

Where photos may be mirrored each is kept both ways, where latents are sampled their deviations beside their means: that
is the distribution that the official code draws from anew each time, in float16.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from fcbench.config import Recipe
from fcbench.fastcomposer.data import Example
from fcbench.fastcomposer.loader import fitted, workers_for
from fcbench.fastcomposer.photos import Photos
from fcbench.files import atomic
from fcbench.images import to_tensor
from fcbench.sampling import encode_posterior
from fcbench.types import Stack

_BATCH = 64


def photo_latents(photos: Photos, stack: Stack, recipe: Recipe, file: Path) -> torch.Tensor:
    """The latents of all photos, float16, computed once, kept in ``file`` and read from there as they are needed.

    (n, c, h, w), the posterior's means; with ``recipe.mirror`` (2 n, c, h, w), the mirrored ones after the others; with
    ``recipe.sample_latents`` (..., 2 c, h, w), deviations after means.
    """
    if not file.exists():
        print(f"train: latents of {len(photos)} photos", file=sys.stderr, flush=True)
        with atomic(file) as temporary:
            _encode(photos, stack, recipe, temporary)
    return torch.from_numpy(np.load(file, mmap_mode="c", allow_pickle=False))


def take_latents(
    latents: torch.Tensor, examples: Sequence[Example], recipe: Recipe, generator: torch.Generator
) -> torch.Tensor:
    """The examples' latents out of those of all photos, float32 (n, c, h, w); draws where the recipe samples them."""
    count = len(latents) // 2 if recipe.mirror else len(latents)
    taken = latents[[example.row + count * example.mirrored for example in examples]].float()
    if not recipe.sample_latents:
        return taken
    mean, deviation = taken.chunk(2, dim=1)
    return mean + deviation * torch.randn(mean.shape, generator=generator)


@torch.no_grad()
def _encode(photos: Photos, stack: Stack, recipe: Recipe, file: Path) -> None:
    vae, ways = stack.role("vae"), (False, True) if recipe.mirror else (False,)
    kept: np.memmap[Any, np.dtype[np.float16]] | None = None
    for way, mirrored in enumerate(ways):
        start = way * len(photos)
        for images in fitted(photos, stack.image_size, _BATCH, workers_for(stack.device), flip=mirrored):
            mean, deviation = encode_posterior(vae, to_tensor(images).to(stack.device))
            made = torch.cat([mean, deviation], 1) if recipe.sample_latents else mean
            if kept is None:  # on disk: those of a large dataset need not fit into memory
                kept = np.lib.format.open_memmap(file, "w+", np.float16, (len(photos) * len(ways), *made.shape[1:]))
            kept[start : start + len(images)] = made.half().cpu().numpy()
            start += len(images)
    if kept is not None:
        kept.flush()
