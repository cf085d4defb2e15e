"""A Stable Diffusion of the real classes a few channels wide: its configurations, or with weights, in a folder."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

WIDTH = 16
TOWER = {"hidden_size": WIDTH, "intermediate_size": 32, "num_attention_heads": 2, "projection_dim": WIDTH}
CONFIGURATIONS: dict[str, dict[str, Any]] = {
    "text_encoder": {**TOWER, "num_hidden_layers": 1, "vocab_size": 49408, "max_position_embeddings": 77},
    "image_encoder": {**TOWER, "num_hidden_layers": 2, "image_size": 16, "patch_size": 8},
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
        "mid_block_add_attention": False,
    },
}


@pytest.fixture
def configurations(tmp_path: Path) -> Path:
    """A folder with the folder of each model role, a ``config.json`` in it."""
    for role, configuration in CONFIGURATIONS.items():
        folder = tmp_path / role
        folder.mkdir()
        (folder / "config.json").write_text(json.dumps(configuration))
    return tmp_path
