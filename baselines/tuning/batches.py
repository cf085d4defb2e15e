"""Batches from photos: views as pictures, pictures as latents, noise, times; a micro-step's number decides all."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from PIL import Image as Pillow
from PIL import ImageOps

from baselines.tuning.loop import Batch
from fcbench.errors import DataError
from fcbench.sampling import scaled_posterior, tokenize
from fcbench.types import Stack


@dataclass(frozen=True)
class View:
    """A photo as one step sees it.

    ``pixels`` gives it, float32 (3, side, side) in [-1, 1]; views with the same ``key`` are the same picture, None
    equals no other. ``mask`` (latent side, latent side): 1 where the loss counts.
    """

    caption: str
    pixels: Callable[[], torch.Tensor]
    key: Hashable | None = None
    mask: torch.Tensor | None = None


class Photos(Protocol):
    """The photos of a fit, as items that a pass goes through once."""

    @property
    def length(self) -> int:
        """Items in a pass."""
        ...

    def look(self, item: int, generator: torch.Generator) -> tuple[Sequence[View], Sequence[View]]:
        """An item's views: of the subjects, and of their class (none without prior preservation)."""
        ...


class Batches:
    """The batch of every micro-step, a function of (seed, micro-step).

    ``sample``: whether latents are drawn from the VAE's posterior, or are its means. ``keep``: whether means and
    deviations of a picture are kept rather than made again; latents are drawn anew from them at each step, so nothing
    else changes.
    """

    def __init__(
        self, stack: Stack, photos: Photos, *, batch_size: int, seed: int, keep: bool, sample: bool = True
    ) -> None:
        self._stack, self._photos = stack, photos
        self._batch_size, self._seed, self._keep, self._sample = batch_size, seed, keep, sample
        self._posteriors: dict[Hashable, tuple[torch.Tensor, torch.Tensor]] = {}
        self._ids: dict[str, torch.Tensor] = {}
        self._times = int(stack.role("scheduler").config.num_train_timesteps)

    @property
    def passes(self) -> int:
        """Micro-steps in a pass."""
        return math.ceil(self._photos.length / self._batch_size)

    def __call__(self, micro: int) -> Batch:
        """The batch of a micro-step: shuffled photos, a fresh draw from each posterior, noise, times."""
        number, within = divmod(micro, self.passes)
        order = torch.randperm(self._photos.length, generator=draws(self._seed, "order", number)).tolist()
        generator = draws(self._seed, "step", micro)
        start = within * self._batch_size
        looks = [self._photos.look(item, generator) for item in order[start : start + self._batch_size]]
        views = [view for place in (0, 1) for look in looks for view in look[place]]
        means, deviations = self._encode(views)
        noises = [torch.randn(means.shape, generator=generator).to(means) for _ in range(2)]
        times = torch.randint(self._times, (len(views),), generator=generator)
        masks = [view.mask for view in views if view.mask is not None]
        return Batch(
            latents=means + deviations * noises[0] if self._sample else means,
            noise=noises[1],
            timesteps=times.to(means.device),
            ids=torch.cat([self._tokens(view.caption) for view in views]),
            mask=torch.stack(masks)[:, None].to(means.device) if masks else None,
        )

    def _encode(self, views: Sequence[View]) -> tuple[torch.Tensor, torch.Tensor]:
        """Means and deviations, each as float32 (n, channels, height, width).

        What is kept is encoded one by one: in a batch the last bits depend on what else is new, and a resumed fit
        finds other pictures new.
        """
        passing = [view for view in views if not self._keep or view.key is None]
        made = dict(zip(map(id, passing), self._posterior(passing), strict=True)) if passing else {}
        for view in views:
            if id(view) not in made and view.key not in self._posteriors:
                (self._posteriors[view.key],) = self._posterior([view])
        pairs = [made[id(view)] if id(view) in made else self._posteriors[view.key] for view in views]
        return torch.stack([mean for mean, _ in pairs]), torch.stack([deviation for _, deviation in pairs])

    def _posterior(self, views: Sequence[View]) -> list[tuple[torch.Tensor, torch.Tensor]]:
        means, deviations = scaled_posterior(self._stack, torch.stack([view.pixels() for view in views]))
        return list(zip(means.float(), deviations.float(), strict=True))

    def _tokens(self, caption: str) -> torch.Tensor:
        if caption not in self._ids:
            self._ids[caption] = tokenize(self._stack, [caption])
        return self._ids[caption]


def draws(*key: Any) -> torch.Generator:
    """A CPU generator that a key seeds."""
    digest = hashlib.sha256(json.dumps(key).encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:8], "big") >> 1)


def pick(generator: torch.Generator, low: int, high: int) -> int:
    """A whole number in [low, high)."""
    return int(torch.randint(low, high, (), generator=generator))


def chance(generator: torch.Generator) -> float:
    """A number in [0, 1)."""
    return float(torch.rand((), generator=generator))


def open_photo(path: Path) -> Pillow.Image:
    """A photo in RGB, turned as its EXIF says. DataError names one that cannot be read."""
    try:
        with Pillow.open(path) as opened:
            return ImageOps.exif_transpose(opened).convert("RGB")
    except (OSError, ValueError, SyntaxError, Pillow.DecompressionBombError) as error:
        raise DataError(f"{path}: not a picture that can be read ({error})") from error


def to_pixels(photo: Pillow.Image) -> torch.Tensor:
    """A photo as float32 (3, height, width) in [-1, 1]."""
    return torch.from_numpy(np.array(photo)).permute(2, 0, 1).float() / 127.5 - 1


def fit_short_side(photo: Pillow.Image, size: int) -> Pillow.Image:
    """The photo with its short side at ``size``, bilinear; the long side is rounded down."""
    width, height = photo.size
    short = min(width, height)
    return photo.resize((int(size * width / short), int(size * height / short)), Pillow.Resampling.BILINEAR)


def crop(photo: Pillow.Image, size: int, left: int, top: int) -> Pillow.Image:
    """A square of the photo."""
    return photo.crop((left, top, left + size, top + size))


def middle(photo: Pillow.Image, size: int) -> tuple[int, int]:
    """Left and top of the square in the middle, halves rounded to even."""
    return round((photo.width - size) / 2), round((photo.height - size) / 2)


class Squares:
    """Photos with one caption each, their short side at ``size``: cropped in the middle, or at random."""

    def __init__(self, photos: Sequence[tuple[Path, str]], size: int, *, centred: bool, flips: bool = False) -> None:
        self._captions = [caption for _, caption in photos]
        self._photos = [fit_short_side(open_photo(path), size) for path, _ in photos]
        self._names = [str(path) for path, _ in photos]
        self._size, self._centred, self._flips = size, centred, flips

    def __len__(self) -> int:
        return len(self._photos)

    def view(self, index: int, generator: torch.Generator) -> View:
        """One photo; its latents can be kept if it has only one crop."""
        photo, size = self._photos[index], self._size
        turned = self._flips and chance(generator) < 0.5
        left, top = middle(photo, size)
        if not self._centred:
            left, top = pick(generator, 0, photo.width - size + 1), pick(generator, 0, photo.height - size + 1)
        source = ImageOps.mirror(photo) if turned else photo
        is_fixed = self._centred or photo.size == (size, size)
        key = (self._names[index], turned) if is_fixed else None
        return View(self._captions[index], lambda: to_pixels(crop(source, size, left, top)), key)
