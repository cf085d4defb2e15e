"""Trained models into a stack's folder: float16 safetensors, a folder a role."""

from __future__ import annotations

import shutil
from pathlib import Path

from transformers import CLIPModel, CLIPTextModel, CLIPTokenizer, CLIPVisionModelWithProjection

from fcbench.weights import save_half


def save_contrastive(folder: Path, clip: CLIPModel, tokenizer: CLIPTokenizer) -> None:
    """The roles that one contrastive model gives: tokenizer, text encoder, image encoder."""
    tokenizer.save_pretrained(folder / "tokenizer")
    text = CLIPTextModel(clip.config.text_config)
    text.load_state_dict(clip.text_model.state_dict())
    save_half(folder / "text_encoder", text)
    image = CLIPVisionModelWithProjection(clip.config.vision_config)
    image.vision_model.load_state_dict(clip.vision_model.state_dict())
    image.visual_projection.load_state_dict(clip.visual_projection.state_dict())
    save_half(folder / "image_encoder", image)


def copy_description(folder: Path) -> None:
    """The stack's YAML file, as it ships, beside the weights."""
    shipped = Path(__file__).parent.parent / "stacks" / "mini" / "stack.yaml"
    folder.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(shipped, folder / "stack.yaml")
