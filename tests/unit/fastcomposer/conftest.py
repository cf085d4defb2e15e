"""A stack of the real classes a few channels wide, with random weights, and six photos to train on."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow
import pyarrow.parquet
import pytest
import torch
import yaml
from diffusers import AutoencoderKL, DDIMScheduler, UNet2DConditionModel
from PIL import Image as Pillow
from transformers import CLIPTextConfig, CLIPTextModel, CLIPVisionConfig, CLIPVisionModelWithProjection

from fcbench.config import Recipe
from fcbench.make_stack.clip import train_tokenizer
from fcbench.masks import box_of, encode_mask
from fcbench.store import DataFolder
from fcbench.types import Stack

WIDTH = 16
CAPTIONS = ("a man and a woman in the snow", "a bald man wearing a red hat", "a woman holding a book")


@pytest.fixture(scope="session")
def stack() -> Stack:
    torch.manual_seed(0)
    tokenizer = train_tokenizer(CAPTIONS)
    tower: dict[str, Any] = {"hidden_size": WIDTH, "intermediate_size": 32, "num_attention_heads": 2}
    text = CLIPTextConfig(
        **tower,
        num_hidden_layers=1,
        vocab_size=len(tokenizer),
        max_position_embeddings=tokenizer.model_max_length,
        eos_token_id=tokenizer.eos_token_id,
    )
    vision = CLIPVisionConfig(**tower, num_hidden_layers=3, image_size=16, patch_size=8, projection_dim=WIDTH)
    models = {
        "tokenizer": tokenizer,
        "text_encoder": CLIPTextModel(text).eval(),
        "image_encoder": CLIPVisionModelWithProjection(vision).eval(),
        "unet": UNet2DConditionModel(
            sample_size=4,
            layers_per_block=1,
            block_out_channels=(8, 8),
            down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"),
            up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"),
            cross_attention_dim=WIDTH,
            attention_head_dim=2,
            norm_num_groups=4,
        ).eval(),
        "vae": AutoencoderKL(
            down_block_types=("DownEncoderBlock2D",) * 3,
            up_block_types=("UpDecoderBlock2D",) * 3,
            block_out_channels=(4, 4, 4),
            norm_num_groups=2,
            scaling_factor=1.0,
            mid_block_add_attention=False,
        ).eval(),
        "scheduler": DDIMScheduler(),
    }
    load = {role: (lambda model=model: model) for role, model in models.items()}
    return Stack(
        "tiny", load, image_size=16, digests={"unet": "u1"}, sampling={"steps": 4, "guidance": 2.0, "alpha": 0.8}
    )


@pytest.fixture(scope="session")
def stack_file(stack: Stack, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny stack on disk, with its YAML file."""
    folder = tmp_path_factory.mktemp("stack")
    roles = {}
    for role in stack.load:
        model = stack.role(role)
        model.save_pretrained(folder / role)
        library = type(model).__module__.partition(".")[0]
        roles[role] = {"class": f"{library}.{type(model).__name__}", "path": role}
    described = {"name": "tiny", "image_size": stack.image_size, "sampling": dict(stack.sampling), "roles": roles}
    (folder / "stack.yaml").write_text(yaml.safe_dump(described))
    return folder / "stack.yaml"


@pytest.fixture(scope="session")
def recipe() -> Recipe:
    return Recipe(
        name="tiny", steps=2, batch_size=3, learning_rate=1e-3, other_photo=0.5, masked_loss=1.0, precision="float32"
    )


@pytest.fixture(scope="session")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A dataset with a training shard; the man of row 0 is in row 3 too."""
    folder = tmp_path_factory.mktemp("data")
    shard = DataFolder(folder).shard("train")
    shard.parent.mkdir(parents=True)
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist([row(number) for number in range(6)]), shard)
    return folder


def row(number: int) -> dict[str, Any]:
    """A photo of noise whose people stand in its left and its right half."""
    drawn = np.random.default_rng(number).integers(0, 256, (16, 16, 3), dtype=np.uint8)
    picture = io.BytesIO()
    Pillow.fromarray(drawn).save(picture, "PNG")
    caption = CAPTIONS[number % 3]
    ends = [caption.index(noun) + len(noun) for noun in (" man", " woman") if noun in caption]
    return {
        "image": {"bytes": picture.getvalue(), "path": f"{number}.png"},
        "caption": caption,
        "segments": [segment(place, end, f"p{number % 3}{place}") for place, end in enumerate(ends)],
    }


def segment(place: int, end: int, person: str) -> dict[str, Any]:
    mask = np.zeros((16, 16), bool)
    mask[3:15, 8 * place : 8 * place + 7] = True
    return {"label": "person", "end": end, "rle": encode_mask(mask), "bbox": list(box_of(mask)), "person_id": person}
