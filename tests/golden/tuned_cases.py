"""What the reference scripts were recorded on, and their cases, as ours; FCBENCH_GOLDENS names another recording."""

from __future__ import annotations

import functools
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderKL, DDPMScheduler, UNet2DConditionModel
from safetensors.torch import load_file
from transformers import CLIPTextModel, CLIPTokenizer

from baselines.custom_diffusion import CustomDiffusion
from baselines.dreambooth import DreamBooth
from baselines.textual_inversion import TextualInversion
from baselines.tuning.loop import Batch, Course, Tuner
from baselines.tuning.method import Tuned
from baselines.tuning.recipe import Recipe
from fcbench.types import Stack, Subject

GOLDENS = Path(os.environ.get("FCBENCH_GOLDENS", Path(__file__).parent)) / "baselines"
METHODS: Mapping[str, type[Tuned]] = {"db": DreamBooth, "ti": TextualInversion, "cd": CustomDiffusion}
CASES = sorted(path.parent.name for path in GOLDENS.glob("*/case.json") if "method" in json.loads(path.read_text()))
FLAGS: Mapping[str, tuple[str, type]] = {
    "train_batch_size": ("batch_size", int),
    "gradient_accumulation_steps": ("accumulation", int),
    "learning_rate": ("learning_rate", float),
    "prior_loss_weight": ("prior_weight", float),
    "max_grad_norm": ("clip", float),
    "max_train_steps": ("steps", int),
    "lr_scheduler": ("schedule", str),
    "snr_gamma": ("snr_gamma", float),
    "num_vectors": ("vectors", int),
    "repeats": ("repeats", int),
    "resolution": ("", int),
}
"""The scripts' flags that carry a value, and what our recipe calls it."""


@functools.cache
def tuned_stack() -> Stack:
    """The recorded models as a stack. Not to be changed."""
    folder = GOLDENS / "stack"
    return Stack(
        "golden",
        {
            "tokenizer": lambda: CLIPTokenizer.from_pretrained(folder / "tokenizer"),
            "text_encoder": lambda: CLIPTextModel.from_pretrained(folder / "text_encoder").eval(),
            "vae": lambda: AutoencoderKL.from_pretrained(folder / "vae").eval(),
            "unet": lambda: UNet2DConditionModel.from_pretrained(folder / "unet").eval(),
            "scheduler": lambda: DDPMScheduler.from_pretrained(folder / "scheduler"),
        },
        image_size=64,
        sampling={"steps": 2, "guidance": 3.0},
    )


@dataclass(frozen=True)
class TunedCase:
    """One recorded fit."""

    name: str
    facts: Any
    method: Tuned
    recipe: Recipe
    subjects: tuple[Subject, ...]

    @property
    def stack(self) -> Stack:
        """The recorded models, predicting what the case did."""
        stack = tuned_stack()
        if "vpred" not in self.name:
            return stack
        scheduler = DDPMScheduler.from_config(stack.role("scheduler").config, prediction_type="v_prediction")
        return replace(stack, _loaded={**stack._loaded, "scheduler": scheduler})

    @functools.cached_property
    def steps(self) -> Mapping[str, torch.Tensor]:
        """What went into each micro-step, and came out."""
        return load_file(GOLDENS / self.name / "steps.safetensors")

    @functools.cached_property
    def final(self) -> Mapping[str, torch.Tensor]:
        """Where it ended."""
        return load_file(GOLDENS / self.name / "final.safetensors")

    def batch(self, micro: int) -> Batch:
        """The recorded batch of a micro-step."""
        part = {name: self.steps[f"micro{micro}.{name}"] for name in ("latents", "noise", "timesteps")}
        return Batch(**part, ids=self.steps[f"micro{micro}.input_ids"], mask=self.steps.get(f"micro{micro}.mask"))

    def tuner(self, *, passes: int = 0, keep: bool = False) -> Tuner:
        """Our fit of the case, not begun; ``keep`` takes the optimised track."""
        method = replace(self.method, track="optimised" if keep else "reference")
        course = Course(
            steps=self.recipe.steps,
            learning_rate=method.rate(self.recipe),
            passes=passes or self.passes,
            accumulation=self.recipe.accumulation,
            clip=self.recipe.clip,
            schedule=self.recipe.schedule,
            fused=keep,
        )
        return Tuner(method.task(self.stack, self.subjects, self.recipe, 0), course)

    @property
    def passes(self) -> int:
        """Micro-steps in a pass over the recorded photos, by the methods' own rule."""
        files = sorted((GOLDENS / "stack" / "img" / "instA").glob("*.png"))
        classes = sorted((GOLDENS / "stack" / "img" / "classA").glob("*.png"))
        subjects = [replace(subject, images=tuple(files)) for subject in self.subjects]
        priors = [classes] * len(subjects) if self.recipe.prior_weight else []
        length = self.method.photos(self.stack, subjects, self.recipe, priors).length
        return -(-length // self.recipe.batch_size)


@functools.cache
def tuned_case(name: str) -> TunedCase:
    """A recorded fit by its folder's name."""
    facts = json.loads((GOLDENS / name / "case.json").read_text())
    given = dict(flag.removeprefix("--").partition("=")[::2] for flag in facts["argv"])
    recipe = Recipe(source=name, steps=0, learning_rate=0.0)
    values: dict[str, Any] = {ours: kind(given[flag]) for flag, (ours, kind) in FLAGS.items() if ours and flag in given}
    values |= {
        "scale_lr": "scale_lr" in given,
        "prior_weight": values.get("prior_weight", 1.0) if "with_prior_preservation" in given else 0.0,
        "text_encoder": "train_text_encoder" in given,
        "centre_crop": "center_crop" in given,
        "flips": "hflip" in given or facts["method"] == "ti",
        "augment": "noaug" not in given,
        "layers": "all" if given.get("freeze_model") == "crossattn" else "kv",
        "initial": ("person",) if facts["method"] == "ti" else ("ktn", "pll"),
    }
    if facts["method"] == "ti":
        values["clip"] = 0.0
    words = given.get("modifier_token") or given.get("placeholder_token") or "<person>"
    subjects = tuple(Subject(word.strip("<>"), "person", ()) for word in words.split("+"))
    return TunedCase(name, facts, METHODS[facts["method"]](), replace(recipe, **values), subjects)
