"""The photos' latents, encoded once: what a training would otherwise encode again each time it sees a photo.

Where photos may be mirrored, each is kept both ways; where latents are sampled, deviations are kept beside means, in
float16: the distribution that the official code draws from anew each time.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from fcbench.config import Recipe
from fcbench.errors import DataError, FcbenchError
from fcbench.fastcomposer.data import Example
from fcbench.fastcomposer.loader import fitted, workers_for
from fcbench.fastcomposer.photos import Photos
from fcbench.files import atomic
from fcbench.images import to_tensor
from fcbench.sampling import encode_posterior
from fcbench.types import Stack

_PICTURES = 16
"""Pictures that the VAE encodes at once: five gigabytes at 512 px."""
_SHOW_SECONDS = 15
_PART = 1024
"""Photos per part: what is redone after a kill, and what one process encodes while the others encode theirs."""


def photo_latents(photos: Photos, stack: Stack, recipe: Recipe, file: Path) -> torch.Tensor:
    """The latents of all photos, float16, computed once, kept in ``file`` and read from there as they are needed.

    (n, c, h, w), the posterior's means; with ``recipe.mirror`` (2 n, c, h, w), the mirrored ones after the others; with
    ``recipe.sample_latents`` (..., 2 c, h, w), deviations after means.
    """
    encode_latents(photos, stack, recipe, file)
    join_latents(photos, file)
    return open_latents(file)


def encode_latents(
    photos: Photos, stack: Stack, recipe: Recipe, file: Path, *, process: int = 0, processes: int = 1
) -> None:
    """Encode this process's parts of all photos, beside ``file``; parts that are there already are not made again."""
    if file.exists():
        return
    missing = [part for part in list(_parts(photos, file).items())[process::processes] if not part[1].exists()]
    if missing and not process:
        print(f"train: latents of {len(photos)} photos", file=sys.stderr, flush=True)
    begun = shown = time.monotonic()
    for done, (start, path) in enumerate(missing, 1):
        made = _encode(photos, stack, recipe, range(start, min(start + _PART, len(photos))))
        with atomic(path) as temporary, temporary.open("wb") as handle:
            np.save(handle, made)
        if not process and time.monotonic() - shown > _SHOW_SECONDS:
            shown = time.monotonic()
            left = (shown - begun) / done * (len(missing) - done)
            print(f"train: latents, {left / 60:.1f} min left", file=sys.stderr, flush=True)


def join_latents(photos: Photos, file: Path) -> None:
    """Join the parts into ``file``, unless it exists. FcbenchError if one is missing."""
    if file.exists():
        return
    parts = _parts(photos, file)
    with atomic(file) as temporary:
        _join(parts, len(photos), temporary)
    for path in parts.values():
        path.unlink()
    _folder(file).rmdir()


def open_latents(file: Path, *, patience: float = 0.0) -> torch.Tensor:
    """The latents in ``file``, see ``photo_latents``; waits ``patience`` seconds for another machine's to appear."""
    end = time.monotonic() + patience
    while True:
        try:
            return torch.from_numpy(np.load(file, mmap_mode="c", allow_pickle=False))
        except FileNotFoundError:
            if time.monotonic() > end:
                raise FcbenchError(f"{file}: not there; all machines need one output folder") from None
            time.sleep(1)


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
def _encode(photos: Photos, stack: Stack, recipe: Recipe, rows: range) -> npt.NDArray[np.float16]:
    """Float16 (photos, ways, c, h, w): as they are, and mirrored where the recipe mirrors."""
    vae, ways = stack.role("vae"), (False, True) if recipe.mirror else (False,)
    made: list[npt.NDArray[np.float16]] = []
    for images in fitted(photos, rows, stack.image_size, _PICTURES // len(ways), workers_for(stack.device), ways=ways):
        mean, deviation = encode_posterior(vae, to_tensor(images, stack.device))
        kept = torch.cat([mean, deviation], 1) if recipe.sample_latents else mean
        made.append(kept.half().cpu().numpy().reshape(-1, len(ways), *kept.shape[1:]))
        finite = np.isfinite(made[-1]).all(axis=tuple(range(1, made[-1].ndim)))
        if not finite.all():
            row = rows.start + sum(map(len, made[:-1])) + int(finite.argmin())
            raise DataError(f"{photos.name(row)}: the autoencoder makes no finite latents of it; leave it out")
    return np.concatenate(made)


def _join(parts: Mapping[int, Path], count: int, file: Path) -> None:
    kept: np.memmap[Any, np.dtype[np.float16]] | None = None
    for start, path in parts.items():
        try:
            part = np.load(path, allow_pickle=False)
        except FileNotFoundError:
            raise FcbenchError(f"{path}: another process's part is not there; all need one output folder") from None
        ways = part.shape[1]
        if kept is None:  # on disk: those of a large dataset need not fit into memory
            kept = np.lib.format.open_memmap(file, "w+", np.float16, (count * ways, *part.shape[2:]))
        for way in range(ways):
            kept[way * count + start : way * count + start + len(part)] = part[:, way]
    if kept is not None:
        kept.flush()


def _folder(file: Path) -> Path:
    return file.with_suffix("")


def _parts(photos: Photos, file: Path) -> dict[int, Path]:
    """The file of each part, by its first photo."""
    return {start: _folder(file) / f"{start:08d}.npy" for start in range(0, len(photos), _PART)}
