"""Class images for prior preservation: the base model's own pictures of a class word, made once and kept by content."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

import torch
from PIL import Image as Pillow

from baselines.tuning.loop import replace
from fcbench import sampling
from fcbench.types import Stack

BATCH = 4
"""Pictures drawn together, as the reference scripts do."""

DRAWING = ("tokenizer", "text_encoder", "vae", "unet", "scheduler")
"""Roles whose weights decide a class image."""


def class_images(stack: Stack, prompt: str, *, count: int, steps: int, guidance: float, shelf: Path) -> Path:
    """The folder under ``shelf`` with ``count`` pictures of the class prompt, missing ones drawn now.

    Its name is a digest of all that decides the pictures. Steps and guidance are the script's on a stack of its size;
    0 means the stack's own.
    """
    digests: Mapping[str, str] = {role: stack.digests.get(role, "") for role in DRAWING}
    facts = [digests, prompt, count, steps, guidance, stack.image_size, dict(stack.sampling)]
    name = hashlib.sha256(json.dumps(facts, sort_keys=True, default=str).encode()).hexdigest()[:16]
    folder = shelf / name
    folder.mkdir(parents=True, exist_ok=True)
    for start in range(0, count, BATCH):
        files = [folder / f"{number:04d}.png" for number in range(start, min(start + BATCH, count))]
        if all(file.exists() for file in files):
            continue
        text = sampling.encode_text(stack, [prompt] * len(files))
        seeds = range(start, start + len(files))
        made = sampling.draw(stack, _always(text), seeds, steps=steps, guidance=guidance)
        for file, image in zip(files, made, strict=True):
            replace(file, partial(Pillow.fromarray(image).save, format="PNG"))
    return folder


def pictures_in(folder: Path) -> list[Path]:
    """The class images of a folder, in order."""
    return sorted(path for path in folder.glob("*.png") if not path.name.startswith("."))


def _always(text: torch.Tensor) -> Callable[[int], torch.Tensor]:
    return lambda call: text
