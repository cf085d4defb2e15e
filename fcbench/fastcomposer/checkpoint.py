"""A FastComposer checkpoint: a folder of what training changed.

::

    fastcomposer.json       what it was trained from and how
    unet/  image_encoder/   as diffusers and transformers save models
    fusion.safetensors
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from fcbench.errors import DataError, MissingError
from fcbench.fastcomposer.encoder import Fusion
from fcbench.store import atomic, read_json, write_json
from fcbench.types import Stack
from fcbench.weights import save_half

_MODELS = ("unet", "image_encoder")


@dataclass(frozen=True)
class Checkpoint:
    """The trained parts, on their device, in evaluation mode."""

    unet: Any
    image_encoder: Any
    fusion: Fusion


def save_checkpoint(folder: Path, parts: Checkpoint, facts: dict[str, Any]) -> None:
    """Write a checkpoint in float16; ``fastcomposer.json`` comes last, so its existence means that all is there."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in _MODELS:
        save_half(folder / name, getattr(parts, name))
    weights = {key: value.half().contiguous() for key, value in parts.fusion.state_dict().items()}
    with atomic(folder / "fusion.safetensors") as temporary:
        save_file(weights, temporary)
    write_json(folder / "fastcomposer.json", facts)


def load_checkpoint(place: str, stack: Stack) -> Checkpoint:
    """Read a checkpoint folder onto the stack's device.

    Raises MissingError when it is not there or not complete, DataError when a file does not fit.
    """
    folder = Path(place)
    if not (folder / "fastcomposer.json").is_file():
        raise MissingError(
            f"{folder}: no FastComposer checkpoint (fastcomposer.json) there; make one with: fcbench train"
        )
    from diffusers import UNet2DConditionModel
    from transformers import CLIPVisionModelWithProjection

    dtype = torch.float32 if stack.device == "cpu" else torch.float16
    try:
        unet = UNet2DConditionModel.from_pretrained(folder / "unet", torch_dtype=dtype, local_files_only=True)
        image_encoder = CLIPVisionModelWithProjection.from_pretrained(
            folder / "image_encoder", dtype=dtype, local_files_only=True
        )
    except Exception as error:  # safetensors, JSON and each library have errors of their own
        raise DataError(f"{folder}: not a whole checkpoint ({' '.join(str(error).split())[:200]})") from error
    fusion = load_fusion(folder).to(stack.device, dtype)
    return Checkpoint(unet.to(stack.device).eval(), image_encoder.to(stack.device).eval(), fusion)


def load_fusion(place: Path) -> Fusion:
    """The fusion module of a checkpoint folder, float32; DataError names what is missing, unexpected or misshapen."""
    file = place / "fusion.safetensors"
    try:
        weights = load_file(file)
        fusion = Fusion(len(weights["layer_norm.weight"]))
        fusion.load_state_dict(weights)
    except FileNotFoundError:
        raise MissingError(f"{file}: not there; make a checkpoint with: fcbench train") from None
    except (SafetensorError, OSError, KeyError, RuntimeError) as error:
        raise DataError(f"{file}: not the weights of a fusion module ({' '.join(str(error).split())})") from error
    return fusion.float().eval()


def checkpoint_facts(place: str) -> dict[str, Any]:
    """What a checkpoint says of itself."""
    facts: dict[str, Any] = read_json(Path(place) / "fastcomposer.json")
    return facts
