"""Trained models to disk, as they ship: float16 safetensors."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any


def quiet() -> None:
    """Keep transformers' bars of a few milliseconds out of our own progress lines."""
    from transformers.utils import logging

    logging.disable_progress_bar()


def save_half(folder: Path, model: Any) -> None:
    """Save a diffusers or transformers model in float16; the model itself stays as it is."""
    quiet()
    copy.deepcopy(model).half().save_pretrained(folder, safe_serialization=True)
