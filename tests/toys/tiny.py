"""A Stable Diffusion of the real classes a few channels wide: what each model role's class and configuration are."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from fcbench.files import write_json
from fcbench.stacks import load_stack
from fcbench.types import Stack

WIDTH = 16
_TOWER = {"hidden_size": WIDTH, "intermediate_size": 32, "num_attention_heads": 2, "projection_dim": WIDTH}

CLASSES = {
    "text_encoder": "transformers.CLIPTextModel",
    "image_encoder": "transformers.CLIPVisionModelWithProjection",
    "unet": "diffusers.UNet2DConditionModel",
    "vae": "diffusers.AutoencoderKL",
}

CONFIGURATIONS: dict[str, dict[str, Any]] = {
    "text_encoder": {**_TOWER, "num_hidden_layers": 1, "vocab_size": 49408, "max_position_embeddings": 77},
    "image_encoder": {**_TOWER, "num_hidden_layers": 2, "image_size": 16, "patch_size": 8},
    "unet": {
        "sample_size": 4,
        "layers_per_block": 1,
        "block_out_channels": [8, 8],
        "down_block_types": ["CrossAttnDownBlock2D", "DownBlock2D"],
        "up_block_types": ["UpBlock2D", "CrossAttnUpBlock2D"],
        "cross_attention_dim": WIDTH,
        "attention_head_dim": 2,
        "norm_num_groups": 4,
    },
    "vae": {
        "down_block_types": ["DownEncoderBlock2D"] * 3,
        "up_block_types": ["UpDecoderBlock2D"] * 3,
        "block_out_channels": [4, 4, 4],
        "norm_num_groups": 2,
    },
}


def write_configurations(folder: Path, **others: dict[str, Any]) -> None:
    """A folder for each model role with a ``config.json`` in it; ``others`` in place of the configurations here."""
    for role, configuration in (CONFIGURATIONS | others).items():
        write_json(folder / role / "config.json", configuration)


def stack_of(folder: Path, **roles: dict[str, Any]) -> Stack:
    """A stack of these roles, its YAML file in ``folder``."""
    return load_stack(_described(folder, roles))


def untrained_stack(folder: Path, *roles: str) -> Stack:
    """A stack of these roles with random weights, their configurations in ``folder``."""
    described = {role: {"class": CLASSES[role], "path": role} for role in roles}
    return load_stack(_described(folder, described), random_weights=True)


def _described(folder: Path, roles: dict[str, dict[str, Any]]) -> str:
    file = folder / "tiny.yaml"
    file.write_text(yaml.safe_dump({"name": "tiny", "image_size": 16, "roles": roles}))
    return str(file)
