"""Recipes of the tuned methods: presets in YAML, each with its source, and what an option changes in them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, Literal

import yaml

from fcbench.errors import UsageError, did_you_mean
from fcbench.types import Stack

_PRESETS = Path(__file__).parent.parent / "presets"


@dataclass(frozen=True)
class Recipe:
    """How a subject is tuned. What a method does not know has no effect on it.

    ``learning_rate`` is as the reference script takes it; with ``scale_lr`` it is multiplied as that script does.
    """

    source: str
    """Where the values are from."""
    steps: int
    """Steps of the optimiser for one subject."""
    learning_rate: float
    scale_lr: bool = False
    batch_size: int = 1
    accumulation: int = 1
    schedule: Literal["constant", "linear"] = "constant"
    clip: float = 1.0
    mixed_precision: Literal["", "fp16", "bf16"] = ""
    """What forward passes compute in; empty: float32, but bfloat16 on a GPU where the track is ``optimised``."""
    gradient_checkpointing: bool = False
    """Whether activations are computed again in the backward pass rather than kept: less memory, more time."""
    sample_latents: bool = True
    """Whether each step draws latents from the VAE's posterior, as the scripts do; else they are its means. A denoiser
    trained on means alone wants them."""
    prior_weight: float = 1.0
    """Weight of the class images' loss; 0: no prior preservation."""
    prior_images: int = 200
    """Class images of each class word."""
    prior_steps: int = 50
    prior_guidance: float = 7.5
    """How class images are drawn."""
    centre_crop: bool = False
    flips: bool = False
    """Whether half of the views are mirrored."""
    text_encoder: bool = False
    """DreamBooth: whether the text encoder is trained too."""
    snr_gamma: float = 0.0
    """DreamBooth: min-SNR weighting; 0: none."""
    words: tuple[str, ...] = ("sks", "ohwx")
    """Rare words that name subjects (DreamBooth, LoRA)."""
    rank: int = 4
    """LoRA: the adapters' rank."""
    vectors: int = 1
    """Textual Inversion: new tokens of each subject."""
    repeats: int = 100
    """Textual Inversion: how often a pass shows each photo."""
    initial: tuple[str, ...] = ()
    """Known words that new tokens start as; Textual Inversion without any: the class word."""
    layers: Literal["kv", "all"] = "kv"
    """Custom Diffusion: keys and values alone, or queries and outputs too."""
    augment: bool = True
    """Custom Diffusion: whether photos are shrunk and enlarged."""
    joint_steps: int = 0
    """Steps where two subjects are tuned together; 0: twice ``steps``."""
    preset: str = ""
    """The preset that it was made from."""

    def steps_for(self, subjects: int) -> int:
        """Steps where ``subjects`` are tuned together."""
        return self.steps if subjects == 1 else self.joint_steps or subjects * self.steps


def preset_name(preset: str, stack: Stack, method: str) -> str:
    """The preset to take: the named one; else the one that is called like the stack; else ``face``."""
    known = presets(method)
    if preset and preset not in known:
        raise UsageError(f"{method} has no preset {preset!r}: {did_you_mean(preset, known)}")
    return preset or (stack.name if stack.name in known else "face")


def presets(method: str) -> dict[str, Recipe]:
    """A method's presets by name, from ``baselines/presets/<method>.yaml``."""
    file = _PRESETS / f"{method}.yaml"
    read: Mapping[str, Mapping[str, Any]] = yaml.safe_load(file.read_text(encoding="utf-8"))
    return {name: _recipe({**values, "preset": name}, f"{file}: {name}") for name, values in read.items()}


def changed(recipe: Recipe, **options: Any) -> Recipe:
    """The recipe with the options that are set (neither 0 nor empty nor False) in place of its own values."""
    return replace(recipe, **{name: value for name, value in options.items() if value})


def _recipe(values: Mapping[str, Any], where: str) -> Recipe:
    known = [field.name for field in fields(Recipe)]
    for key in values:
        if key not in known:
            raise UsageError(f"{where}: unknown key {key!r}: {did_you_mean(key, known)}")
    given: dict[str, Any] = {key: tuple(value) if isinstance(value, list) else value for key, value in values.items()}
    return Recipe(**given)
