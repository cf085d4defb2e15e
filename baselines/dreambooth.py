"""DreamBooth (Ruiz et al., 2023): the whole denoiser learns a rare word, class images keep it from forgetting.

After diffusers' ``examples/dreambooth/train_dreambooth.py``; two subjects as in ``multi_subject_dreambooth``: tuned
together, a picture of each in every batch.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from baselines.tuning.batches import Squares, View
from baselines.tuning.loop import Batch
from baselines.tuning.losses import errors_of, schedule_of, snr_weight, with_prior
from baselines.tuning.method import Texts, Tuned, TunedSampler, TuningTask, Weights
from baselines.tuning.models import for_drawing, private_copy, with_models
from baselines.tuning.recipe import Recipe
from fcbench.types import Stack, Subject, subject_phrase


@dataclass
class DreamBooth(Tuned):
    """All weights of the U-Net, and of the text encoder where the recipe says so."""

    name = "dreambooth"
    file = "dreambooth.safetensors"

    def class_prompt(self, noun: str) -> str:
        """The base model's own idea of the class word."""
        return f"a photo of {subject_phrase([noun])}"

    def task(self, stack: Stack, subjects: Sequence[Subject], recipe: Recipe, seed: int) -> DreamBoothTask:
        """Everything is trained."""
        return DreamBoothTask(stack, recipe, keep_texts=self.track == "optimised")

    def photos(
        self, stack: Stack, subjects: Sequence[Subject], recipe: Recipe, priors: Sequence[list[Path]]
    ) -> PhotosWithClass:
        """A photo of each subject and as many class images in every item."""
        return named_photos(self, stack, subjects, recipe, priors, subject_words(recipe, len(subjects)))

    def sampler(self, stack: Stack, fits: Sequence[Weights]) -> TunedSampler:
        """The tuned models in their roles."""
        (fit,) = fits
        models = {}
        for role in ("unet", "text_encoder"):
            own = {n.removeprefix(f"{role}."): t for n, t in fit.tensors.items() if n.startswith(f"{role}.")}
            if own:
                model = private_copy(stack.role(role), lambda name: True)
                model.load_state_dict(own)
                models[role] = for_drawing(model, stack.role(role))
        nouns = [subject.noun for subject in fit.subjects]
        phrase = phrase_with(subject_words(self.recipe(stack), len(nouns)), nouns)
        return TunedSampler(with_models(stack, **models), phrase, self.steps, self.guidance, (fit,))


class DreamBoothTask(TuningTask):
    """The loss of section 3.2 on all weights."""

    def __init__(self, stack: Stack, recipe: Recipe, *, keep_texts: bool) -> None:
        self.stack, self._recipe = stack, recipe
        self.unet = private_copy(stack.role("unet"), lambda name: True)
        self._schedule = schedule_of(stack)
        self._texts = Texts(stack, keep=keep_texts)
        if recipe.text_encoder:
            self.text_encoder = private_copy(stack.role("text_encoder"), lambda name: True).to(stack.device)

    @property
    def trained(self) -> Mapping[str, torch.nn.Parameter]:
        """The U-Net's tensors, then the text encoder's if it is trained."""
        models = {"unet": self.unet, **({"text_encoder": self.text_encoder} if self._recipe.text_encoder else {})}
        return {f"{role}.{name}": p for role, model in models.items() for name, p in model.named_parameters()}

    def text(self, ids: torch.Tensor) -> torch.Tensor:
        """Conditioning (n, tokens, dim) of ids (n, tokens)."""
        if not self._recipe.text_encoder:
            return self._texts(ids)
        hidden: torch.Tensor = self.text_encoder(ids).last_hidden_state
        return hidden

    def loss(self, batch: Batch) -> torch.Tensor:
        """The subject's mean error, weighted by timestep where the recipe says so, plus the class images'."""
        errors = errors_of(self.unet, self._schedule, batch, self.text(batch.ids))
        prior = errors.new_zeros(())
        if self._recipe.prior_weight:
            errors, prior = with_prior(errors, self._recipe.prior_weight)
        if not self._recipe.snr_gamma:
            return errors.mean() + prior
        weight = snr_weight(self._schedule, batch.timesteps[: len(errors)], self._recipe.snr_gamma)
        return (errors.flatten(1).mean(1) * weight).mean() + prior

    def weights(self) -> Mapping[str, torch.Tensor]:
        """All that was trained."""
        return self.trained


class PhotosWithClass:
    """Items of one photo of each subject beside one class image of each, both in turn."""

    def __init__(self, subjects: Sequence[Squares], classes: Sequence[Squares]) -> None:
        self._subjects, self._classes = subjects, classes

    @property
    def length(self) -> int:
        """The longest set's, so that each class image is seen."""
        return max(len(squares) for squares in (*self._subjects, *self._classes))

    def look(self, item: int, generator: torch.Generator) -> tuple[list[View], list[View]]:
        """A view of each subject, and of each one's class."""
        return (
            [squares.view(item % len(squares), generator) for squares in self._subjects],
            [squares.view(item % len(squares), generator) for squares in self._classes],
        )


def named_photos(
    method: Tuned,
    stack: Stack,
    subjects: Sequence[Subject],
    recipe: Recipe,
    priors: Sequence[list[Path]],
    words: Sequence[str],
) -> PhotosWithClass:
    """Photos captioned "a photo of sks man", class images "a photo of a man"."""

    def squares(files: Sequence[Path], caption: str) -> Squares:
        return Squares([(file, caption) for file in files], stack.image_size, centred=recipe.centre_crop)

    return PhotosWithClass(
        [squares(s.images, f"a photo of {word} {s.noun}") for s, word in zip(subjects, words, strict=True)],
        [squares(files, method.class_prompt(s.noun)) for s, files in zip(subjects, priors, strict=False)],
    )


def subject_words(recipe: Recipe, count: int) -> list[str]:
    """The rare words of ``count`` subjects."""
    return list(recipe.words[:count])


def phrase_with(words: Sequence[str], nouns: Sequence[str]) -> str:
    """The subjects as captions named them: "sks man and ohwx woman".

    >>> phrase_with(["sks", "ohwx"], ["man", "woman"])
    'sks man and ohwx woman'
    """
    return " and ".join(f"{word} {noun}" for word, noun in zip(words, nouns, strict=True))
