"""DreamBooth-LoRA (Hu et al., 2021; diffusers): DreamBooth's photos and loss, low-rank adapters instead of all weights.

After diffusers' ``examples/dreambooth/train_dreambooth_lora.py``. Two subjects: each has an adapter of its own, both
are active; nothing is tuned together.
"""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from baselines.dreambooth import PhotosWithClass, named_photos, phrase_with
from baselines.tuning.loop import Batch, trainable
from baselines.tuning.losses import errors_of, schedule_of, with_prior
from baselines.tuning.method import Texts, Tuned, TunedSampler, TuningTask, Weights
from baselines.tuning.models import for_drawing, private_copy, with_models
from baselines.tuning.recipe import Recipe
from fcbench.types import Capabilities, Stack, Subject, subject_phrase

LAYERS = ("to_q", "to_k", "to_v", "to_out.0")
"""Projections of every attention that get an adapter."""

PREFIX = "unet."
"""Before adapters' names in diffusers' files."""


@dataclass
class DreamBoothLora(Tuned):
    """Adapters of the recipe's rank, scale 1, in all attention layers of the U-Net."""

    name = "dreambooth-lora"
    file = "pytorch_lora_weights.safetensors"

    @property
    def capabilities(self) -> Capabilities:
        """Fits of single subjects are joined."""
        return replace(super().capabilities, joins=True)

    def class_prompt(self, noun: str) -> str:
        """As DreamBooth's."""
        return f"a photo of {subject_phrase([noun])}"

    def task(self, stack: Stack, subjects: Sequence[Subject], recipe: Recipe, seed: int) -> LoraTask:
        """The adapters are trained."""
        return LoraTask(stack, recipe, seed, fast=self.track == "optimised")

    def photos(
        self, stack: Stack, subjects: Sequence[Subject], recipe: Recipe, priors: Sequence[list[Path]]
    ) -> PhotosWithClass:
        """As DreamBooth's."""
        words = [word_for(subject, recipe) for subject in subjects]
        return named_photos(self, stack, subjects, recipe, priors, words)

    def sampler(self, stack: Stack, fits: Sequence[Weights]) -> TunedSampler:
        """The U-Net with every fit's adapter active."""
        from peft import set_peft_model_state_dict

        unet = private_copy(stack.role("unet"), lambda name: False)
        names = [f"subject{number}" for number in range(len(fits))]
        for name, fit in zip(names, fits, strict=True):
            tensors = {key.removeprefix(PREFIX): tensor for key, tensor in fit.tensors.items()}
            add_adapter(unet, name, next(len(t) for key, t in tensors.items() if "lora_A" in key))
            unmatched: Any = set_peft_model_state_dict(unet, tensors, adapter_name=name)
            if unmatched.unexpected_keys:
                raise KeyError(unmatched.unexpected_keys[0])
        unet.set_adapters(names)
        unet = for_drawing(unet.to(stack.device), stack.role("unet"))
        subjects = [subject for fit in fits for subject in fit.subjects]
        recipe = self.recipe(stack)
        phrase = phrase_with([word_for(s, recipe) for s in subjects], [s.noun for s in subjects])
        return TunedSampler(with_models(stack, unet=unet), phrase, self.steps, self.guidance, tuple(fits))


class LoraTask(TuningTask):
    """DreamBooth's loss on adapters."""

    def __init__(self, stack: Stack, recipe: Recipe, seed: int, *, fast: bool) -> None:
        self.stack, self._recipe = stack, recipe
        self.unet = private_copy(stack.role("unet"), lambda name: False, frozen_dtype=None if fast else torch.float32)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            add_adapter(self.unet, "default", recipe.rank)
        self.unet.to(stack.device)
        for parameter in self.trained.values():
            parameter.data = parameter.data.float()
        self._schedule = schedule_of(stack)
        self._texts = Texts(stack, keep=fast)

    @property
    def trained(self) -> Mapping[str, torch.nn.Parameter]:
        """The adapters' two factors."""
        return trainable(self.unet.named_parameters())

    def loss(self, batch: Batch) -> torch.Tensor:
        """As DreamBooth's."""
        errors = errors_of(self.unet, self._schedule, batch, self._texts(batch.ids))
        if not self._recipe.prior_weight:
            return errors.mean()
        subject, prior = with_prior(errors, self._recipe.prior_weight)
        return subject.mean() + prior

    def weights(self) -> Mapping[str, torch.Tensor]:
        """The adapters, by the names that diffusers reads."""
        from peft import get_peft_model_state_dict

        return {PREFIX + key: tensor for key, tensor in get_peft_model_state_dict(self.unet).items()}


def add_adapter(unet: Any, name: str, rank: int) -> None:
    """Give the U-Net's attention layers an adapter: the first factor Gaussian, the second 0, scale 1."""
    from peft import LoraConfig

    config = LoraConfig(r=rank, lora_alpha=rank, init_lora_weights="gaussian", target_modules=list(LAYERS))
    with warnings.catch_warnings():  # it warns of a second adapter, which is wanted here
        warnings.filterwarnings("ignore", message="Already found a `peft_config` attribute")
        unet.add_adapter(config, adapter_name=name)


def word_for(subject: Subject, recipe: Recipe) -> str:
    """A subject's rare word: the same in every picture, so that its adapter serves every pair."""
    number = int.from_bytes(hashlib.sha256(subject.id.encode()).digest()[:4], "big")
    return recipe.words[number % len(recipe.words)]
