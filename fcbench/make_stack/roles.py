"""Trained models into a stack's folder: float16 safetensors, a folder a role."""

from __future__ import annotations

import shutil
from pathlib import Path

from transformers import CLIPModel, CLIPTextModel

from fcbench.weights import save_half


def save_text_encoder(folder: Path, clip: CLIPModel) -> None:
    """A contrastive model's text side."""
    text = CLIPTextModel(clip.config.text_config)
    text.load_state_dict(clip.text_model.state_dict())
    save_half(folder, text)


def copy_description(folder: Path) -> None:
    """The stack's YAML file, as it ships, beside the weights."""
    shipped = Path(__file__).parent.parent / "stacks" / "mini" / "stack.yaml"
    folder.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(shipped, folder / "stack.yaml")
