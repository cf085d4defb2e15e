"""The model that the official code's numbers were recorded from, as a stack of today's classes."""

from __future__ import annotations

import functools
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from safetensors.torch import load_file
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer, CLIPVisionConfig, CLIPVisionModelWithProjection

from fcbench.fastcomposer.encoder import Fusion
from fcbench.fastcomposer.official import FUSION, known_weights, stack_weights, weights_for
from fcbench.types import Stack

GOLDENS = Path(os.environ.get("FCBENCH_GOLDENS", Path(__file__).parent)) / "fastcomposer"


def read(name: str) -> Any:
    """A golden JSON file."""
    return json.loads((GOLDENS / name).read_text())


@functools.cache
def tensors(name: str) -> Mapping[str, torch.Tensor]:
    """A golden file of tensors."""
    return load_file(GOLDENS / name)


@functools.cache
def official_weights() -> Mapping[str, torch.Tensor]:
    """The recorded model's weights, in the order and by the names of an official file."""
    facts = read("stack_config.json")
    return {name: tensors(facts["shard_of"][name])[name] for name in facts["key_order"]}


@functools.cache
def golden_stack() -> tuple[Stack, Fusion]:
    """The recorded model, by our reader of official names: every model as a role, and the fusion. Not to be changed."""
    stack = bare_stack()
    fusion = Fusion(stack.role("image_encoder").config.projection_dim).eval().requires_grad_(False)
    known = known_weights(official_weights(), GOLDENS / "stack_state", stack_weights(stack))
    models = {role: stack.role(role) for role in ("text_encoder", "image_encoder", "vae", "unet")} | {FUSION: fusion}
    for role, model in models.items():
        model.load_state_dict(weights_for(role, model, known))
    return stack, fusion


def subject_maps(idmap: torch.Tensor, slots: int) -> torch.Tensor:
    """Recorded segment maps (n, side, side), k + 1 on subject k, as float masks (n, slots, side, side)."""
    return (idmap[:, None] == torch.arange(1, slots + 1)[:, None, None]).float()


def subject_positions(golden: Mapping[str, torch.Tensor]) -> torch.Tensor:
    """Recorded token positions (n, slots), -1 where there is no subject."""
    return torch.where(golden["image_token_idx_mask"], golden["image_token_idx"], -1)


def bare_stack() -> Stack:
    """A stack of the recorded model's classes, with random weights."""
    configs, scheduler = read("stack_config.json")["configs"], read("d_inference.json")["schedulers"]
    words = read("stack_tokenizer.json")
    special = {f"{key}_token": words[key] for key in ("bos", "eos", "pad", "unk")}
    ids = {f"{key}_token_id": words["vocab"][words[key]] for key in ("bos", "eos", "pad")}
    models = {
        "tokenizer": CLIPTokenizer(
            vocab=words["vocab"],
            merges=[tuple(pair.split()) for pair in words["merges"]],
            model_max_length=words["model_max_length"],
            **special,
        ),
        "text_encoder": CLIPTextModel(CLIPTextConfig(**configs["text"], **ids)),
        "image_encoder": CLIPVisionModelWithProjection(CLIPVisionConfig(**configs["vision"])),
        "vae": AutoencoderKL(**configs["vae"]),
        "unet": UNet2DConditionModel(**configs["unet"]),
        "scheduler": make_scheduler("ddim", scheduler["ddim"]["config"]),
    }
    for model in models.values():
        if isinstance(model, torch.nn.Module):
            model.eval().requires_grad_(False)
    load = {role: (lambda model=model: model) for role, model in models.items()}
    return Stack(
        "golden", load, image_size=configs["vae"]["sample_size"], sampling={"steps": 10, "guidance": 5.0, "alpha": 0.5}
    )


def make_scheduler(name: str, config: Mapping[str, Any]) -> Any:
    """A scheduler of diffusers by its short name in the goldens."""
    import diffusers

    names = {"euler": "EulerDiscreteScheduler", "ddim": "DDIMScheduler", "pndm": "PNDMScheduler"}
    return getattr(diffusers, names[name]).from_config(dict(config))
