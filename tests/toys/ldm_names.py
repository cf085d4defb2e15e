"""A Stable Diffusion v1 model's weights under the names that its single file has for them (latent diffusion's)."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import torch

RESNET = {"norm1": "in_layers.0", "conv1": "in_layers.2", "time_emb_proj": "emb_layers.1", "norm2": "out_layers.0"}
RESNET |= {"conv2": "out_layers.3", "conv_shortcut": "skip_connection"}
ENDS = {"conv_in": "input_blocks.0.0", "conv_norm_out": "out.0", "conv_out": "out.2"}
ENDS |= {"time_embedding.linear_1": "time_embed.0", "time_embedding.linear_2": "time_embed.2"}
ATTENTION = {"group_norm": "norm", "to_q": "q", "to_k": "k", "to_v": "v", "to_out.0": "proj_out"}
MIDDLE = {"resnets.0": 0, "attentions.0": 1, "resnets.1": 2}


def single_file(unet: Any, vae: Any, text_encoder: Any) -> dict[str, torch.Tensor]:
    """All weights as one file holds them."""
    blocks = unet.config.up_block_types
    named = {f"model.diffusion_model.{unet_name(k, unet.config.layers_per_block, blocks)}": v for k, v in _of(unet)}
    stages = len(vae.config.block_out_channels)
    for key, value in _of(vae):
        as_convolution = "attentions" in key and value.ndim == 2
        named[f"first_stage_model.{vae_name(key, stages)}"] = value[:, :, None, None] if as_convolution else value
    prefix = "cond_stage_model.transformer.text_model."
    named |= {prefix + key.removeprefix("text_model."): value for key, value in _of(text_encoder)}
    places = text_encoder.config.max_position_embeddings
    return named | {f"{prefix}embeddings.position_ids": torch.arange(places)[None]}


def unet_name(key: str, layers: int, up_block_types: list[str]) -> str:
    """A U-Net's weight: all blocks of a side are counted through, a downsampler as a block, an upsampler in one."""
    for ours, theirs in ENDS.items():
        if key.startswith(f"{ours}."):
            return key.replace(ours, theirs, 1)
    if found := re.fullmatch(r"mid_block\.(\w+\.\d)\.(.+)", key):
        return f"middle_block.{MIDDLE[found[1]]}.{_inside(found[1], found[2])}"
    found = re.fullmatch(r"(down|up)_blocks\.(\d)\.(\w+)\.(\d)\.(.+)", key)
    assert found is not None, key
    side, block, kind, place, rest = found.groups()
    first = int(block) * (layers + 1)
    if side == "down":
        number = 1 + first + (layers if kind == "downsamplers" else int(place))
        where = {"resnets": "0", "attentions": "1", "downsamplers": "0.op"}[kind]
        return f"input_blocks.{number}.{where}.{_inside(kind, rest).removeprefix('conv.')}"
    number = first + (layers if kind == "upsamplers" else int(place))
    after = 2 if "CrossAttn" in up_block_types[int(block)] else 1
    where = {"resnets": "0", "attentions": "1", "upsamplers": str(after)}[kind]
    return f"output_blocks.{number}.{where}.{_inside(kind, rest)}"


def vae_name(key: str, stages: int) -> str:
    """An autoencoder's weight: upward stages are counted from the finest, the middle's blocks from 1."""
    key = key.replace("conv_norm_out", "norm_out").replace("conv_shortcut", "nin_shortcut")
    key = re.sub(r"mid_block\.resnets\.(\d)", lambda found: f"mid.block_{int(found[1]) + 1}", key)
    if "mid_block.attentions.0" in key:
        inside, _, end = key.partition("attentions.0.")[2].rpartition(".")
        return f"{key.partition('.')[0]}.mid.attn_1.{ATTENTION[inside]}.{end}"
    key = re.sub(r"up_blocks\.(\d)", lambda found: f"up.{stages - 1 - int(found[1])}", key)
    key = key.replace("down_blocks", "down").replace("resnets", "block")
    return key.replace("downsamplers.0", "downsample").replace("upsamplers.0", "upsample")


def _inside(kind: str, rest: str) -> str:
    if not kind.startswith("resnets"):
        return rest
    part, _, end = rest.rpartition(".")
    return f"{RESNET[part]}.{end}"


def _of(model: Any) -> list[tuple[str, torch.Tensor]]:
    state: Mapping[str, torch.Tensor] = model.state_dict()
    return [(key, value.detach()) for key, value in state.items()]
