"""Less memory on a device at some cost in time: the option ``low_memory`` of a stack.

The encoders and the VAE wait on the CPU and visit the device for their own step alone; the VAE decodes a picture at a
time, in tiles of half its side, which changes pictures a little where tiles meet.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from fcbench.types import Stack

VISITORS = ("text_encoder", "image_encoder", "vae")
"""Roles that are on the device for their own step alone."""


@contextmanager
def on_device(stack: Stack, model: Any) -> Iterator[Any]:
    """``model`` on the stack's device in this block; after it, under ``low_memory``, on the CPU again."""
    if not stack.low_memory:
        yield model
        return
    try:
        yield model.to(stack.device)
    finally:
        model.to("cpu")


def spare(role: str, model: Any) -> Any:
    """Make a freshly loaded role a visitor, if it can be one."""
    if role in VISITORS:
        model.to("cpu")
    if role == "vae":
        model.enable_slicing()
        model.enable_tiling()
        model.tile_sample_min_size = model.config.sample_size // 2
        model.tile_latent_min_size = model.tile_sample_min_size // 2 ** (len(model.config.block_out_channels) - 1)
    return model
