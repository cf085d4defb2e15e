"""Custom Diffusion (Kumari et al., 2023): keys and values of cross-attention, and a new word, learn a subject.

After diffusers' ``examples/custom_diffusion/train_custom_diffusion.py``. Two subjects are tuned together (``joint``),
or each alone and then merged in closed form (``merge``, the paper's equation 4).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path
from typing import Any, Literal

import torch
from PIL import Image as Pillow
from PIL import ImageOps

from baselines.tuning.batches import Squares, View, chance, open_photo, pick, to_pixels
from baselines.tuning.loop import Batch
from baselines.tuning.losses import errors_of, schedule_of, with_prior
from baselines.tuning.method import Tuned, TunedSampler, TuningTask, Weights
from baselines.tuning.models import for_drawing, private_copy, with_models
from baselines.tuning.recipe import Recipe
from baselines.tuning.words import longer_encoder, longer_tokenizer, row_of, word_of
from fcbench import sampling
from fcbench.errors import UsageError
from fcbench.types import Capabilities, Stack, Subject

TRAINED = {
    "kv": (".attn2.to_k.weight", ".attn2.to_v.weight"),
    "all": (
        ".attn2.to_k.weight",
        ".attn2.to_v.weight",
        ".attn2.to_q.weight",
        ".attn2.to_out.0.weight",
        ".attn2.to_out.0.bias",
    ),
}
"""Endings of the U-Net's tensors that are trained."""


@dataclass
class CustomDiffusion(Tuned):
    """Cross-attention and new words. ``pair``: how two subjects come together."""

    pair: Literal["joint", "merge"] = "joint"

    name = "custom-diffusion"
    file = "custom_diffusion.safetensors"

    @property
    def capabilities(self) -> Capabilities:
        """Fits of single subjects are joined if pairs are merged."""
        return replace(super().capabilities, joins=self.pair == "merge")

    def class_prompt(self, noun: str) -> str:
        """The bare class word."""
        return noun

    def recipe(self, stack: Stack) -> Recipe:
        """As every tuned method's; UsageError where it tunes what cannot be merged."""
        recipe = super().recipe(stack)
        if self.pair == "merge" and recipe.layers != "kv":
            raise UsageError(
                f"custom-diffusion merges keys and values only, and its preset {recipe.preset} tunes more: "
                "name another, as --set preset=reference"
            )
        return recipe

    def rate(self, recipe: Recipe) -> float:
        """With prior preservation the script counts the class images too."""
        return super().rate(recipe) * (2 if recipe.scale_lr and recipe.prior_weight else 1)

    def task(self, stack: Stack, subjects: Sequence[Subject], recipe: Recipe, seed: int) -> CustomTask:
        """One word for each subject, starting as the recipe's words in turn."""
        words = [word_of(subject) for subject in subjects]
        rows = [row_of(stack, known) for known in recipe.initial[: len(words)]]
        return CustomTask(stack, words, torch.stack(rows), recipe, fast=self.track == "optimised")

    def photos(
        self, stack: Stack, subjects: Sequence[Subject], recipe: Recipe, priors: Sequence[list[Path]]
    ) -> CustomPhotos:
        """All subjects' photos in one set, all class images in another."""
        captioned = [(file, caption_of(subject)) for subject in subjects for file in subject.images]
        classes = {
            file: self.class_prompt(subject.noun)
            for subject, files in zip(subjects, priors, strict=False)
            for file in files
        }
        vae = stack.role("vae").config
        side = stack.image_size // 2 ** (len(vae.block_out_channels) - 1)
        return CustomPhotos(captioned, list(classes.items()), stack.image_size, side, recipe)

    def sampler(self, stack: Stack, fits: Sequence[Weights]) -> TunedSampler:
        """U-Net, tokenizer and text encoder of one fit, or of two merged."""
        subjects = [subject for fit in fits for subject in fit.subjects]
        words = [word_of(subject) for subject in subjects]
        rows = torch.stack([fit.tensors[word_of(s)] for fit in fits for s in fit.subjects]).to(stack.device)
        own = with_models(
            stack,
            tokenizer=longer_tokenizer(stack, words),
            text_encoder=longer_encoder(stack, rows).eval().requires_grad_(False),
        )
        tuned = fits[0].tensors if len(fits) == 1 else merged(own, fits)
        unet = private_copy(stack.role("unet"), lambda name: name in tuned)
        parameters = dict(unet.named_parameters())
        for name, tensor in tuned.items():
            if name not in words:
                parameters[name].data.copy_(tensor)
        unet = for_drawing(unet, stack.role("unet"))
        phrase = " and ".join(f"a {word} {s.noun}" for word, s in zip(words, subjects, strict=True))
        return TunedSampler(with_models(own, unet=unet), phrase, self.steps, self.guidance, tuple(fits))


class CustomTask(TuningTask):
    """The masked loss on cross-attention and new rows; the first token's key and value get no gradient."""

    def __init__(self, stack: Stack, words: Sequence[str], rows: torch.Tensor, recipe: Recipe, *, fast: bool) -> None:
        self._words, self._recipe = list(words), recipe
        self.text_encoder = longer_encoder(stack, rows)
        self.unet = private_copy(
            stack.role("unet"),
            lambda name: name.endswith(TRAINED[recipe.layers]),
            frozen_dtype=None if fast else torch.float32,
        )
        for name, module in self.unet.named_modules():
            if name.endswith((".attn2.to_k", ".attn2.to_v")):
                module.register_forward_hook(hold_first_token)
        self.stack = with_models(stack, tokenizer=longer_tokenizer(stack, words))
        self._schedule = schedule_of(stack)

    @property
    def trained(self) -> Mapping[str, torch.nn.Parameter]:
        """The new rows, then the attention's tensors. The script trains the table and decays its other rows too."""
        attention = {name: p for name, p in self.unet.named_parameters() if p.requires_grad}
        return {"words": self.text_encoder.get_input_embeddings().rows, **attention}

    def text(self, ids: torch.Tensor) -> torch.Tensor:
        """Conditioning (n, tokens, dim) of ids (n, tokens)."""
        hidden: torch.Tensor = self.text_encoder(ids).last_hidden_state
        return hidden

    def loss(self, batch: Batch) -> torch.Tensor:
        """Per photo, summed errors by the mask's area (as in the reference, not by channels too); plus the prior."""
        errors = errors_of(self.unet, self._schedule, batch, self.text(batch.ids))
        prior = errors.new_zeros(())
        if self._recipe.prior_weight:
            errors, prior = with_prior(errors, self._recipe.prior_weight)
        assert batch.mask is not None, "Custom Diffusion's photos have masks"
        mask = batch.mask[: len(errors)]
        return ((errors * mask).sum((1, 2, 3)) / mask.sum((1, 2, 3))).mean() + prior

    def weights(self) -> Mapping[str, torch.Tensor]:
        """The attention's tensors by their names in the U-Net, each row by its word."""
        tensors: dict[str, torch.Tensor] = dict(self.trained)
        rows = tensors.pop("words")
        return {**tensors, **{word: row.clone() for word, row in zip(self._words, rows, strict=True)}}


def hold_first_token(module: Any, inputs: Any, made: torch.Tensor) -> torch.Tensor:
    """The projection (n, tokens, dim) unchanged, with no gradient through the first token."""
    return torch.cat([made[:, :1].detach(), made[:, 1:]], dim=1)


class CustomPhotos:
    """Photos shrunk or enlarged, under captions that say so; class images beside them."""

    def __init__(
        self,
        captioned: Sequence[tuple[Path, str]],
        classes: Sequence[tuple[Path, str]],
        size: int,
        side: int,
        recipe: Recipe,
    ) -> None:
        self._photos = [(open_photo(file), caption) for file, caption in captioned]
        self._classes = Squares(classes, size, centred=False, flips=recipe.flips)
        self._size, self._side, self._recipe = size, side, recipe

    @property
    def length(self) -> int:
        """The longer set's."""
        return max(len(self._photos), len(self._classes))

    def look(self, item: int, generator: torch.Generator) -> tuple[list[View], list[View]]:
        """A photo and, with prior preservation, a class image."""
        number = item % len(self._photos)
        photo, caption = self._photos[number]
        turned = self._recipe.flips and chance(generator) < 0.5
        scale, prefix = draw_scale(self._size, generator) if self._recipe.augment else (self._size, "")
        room = abs(self._size - scale) + 1
        top, left = pick(generator, 0, room), pick(generator, 0, room)
        source = ImageOps.mirror(photo) if turned else photo
        mask = seen(self._size, self._side, scale, top, left)
        view = View(
            prefix + caption,
            lambda: placed(source, self._size, scale, top, left),
            None if self._recipe.augment else (number, turned),
            mask,
        )
        return [view], ([self._classes.view(item % len(self._classes), generator)] if len(self._classes) else [])


def draw_scale(size: int, generator: torch.Generator) -> tuple[int, str]:
    """A photo's new side, smaller in two cases of three, and what the caption says of it."""
    is_small = chance(generator) < 0.66
    scale = pick(generator, size // 3, size + 1) if is_small else pick(generator, int(1.2 * size), int(1.4 * size))
    words = ("a far away ", "very small ") if scale < 0.6 * size else ("zoomed in ", "close up ")
    return scale, "" if 0.6 * size <= scale <= size else words[pick(generator, 0, 2)]


def placed(photo: Pillow.Image, size: int, scale: int, top: int, left: int) -> torch.Tensor:
    """The photo squeezed to ``scale``, on a grey square of side ``size`` or, if it is larger, cut to one."""
    pixels = to_pixels(photo.resize((scale, scale), Pillow.Resampling.BILINEAR))
    if scale > size:
        return pixels[:, top : top + size, left : left + size]
    canvas = torch.zeros(3, size, size)
    canvas[:, top : top + scale, left : left + scale] = pixels
    return canvas


def seen(size: int, side: int, scale: int, top: int, left: int) -> torch.Tensor:
    """Where the loss counts, (side, side): the latents that lie wholly within the photo, less one at each border."""
    if scale > size:
        return torch.ones(side, side)
    factor = size // side
    mask = torch.zeros(side, side)
    mask[top // factor + 1 : (top + scale) // factor - 1, left // factor + 1 : (left + scale) // factor - 1] = 1
    if not mask.any():
        raise UsageError(f"photos of {size} px are too small for Custom Diffusion's augment: no latent is left of them")
    return mask


def caption_of(subject: Subject) -> str:
    """The caption of a subject's photos."""
    return f"photo of a {word_of(subject)} {subject.noun}"


REGULAR = tuple(
    f"{kind} of a {noun} {place}"
    for kind, noun, place in product(
        ("a photo", "a painting", "a picture", "a drawing"),
        ("man", "woman", "dog", "house", "car"),
        (
            "in the snow",
            "on the beach",
            "in the city at night",
            "in the jungle",
            "wearing a red hat",
            "wearing black glasses",
            "holding a book",
            "with long brown hair",
            "under a blue sky",
            "with yellow flowers",
        ),
    )
)
"""200 captions of other things, on which a merge changes as little as it can."""


def merged(stack: Stack, fits: Sequence[Weights]) -> dict[str, torch.Tensor]:
    """Keys and values that give each subject's words what its own fit gave them (equation 4).

    ``stack``: tokenizer and text encoder know all words.
    """
    regular = features(stack, REGULAR, [1] * len(REGULAR))
    texts = [(f"{word_of(s)} {s.noun}", caption_of(s)) for fit in fits for s in fit.subjects]
    targets = [features(stack, pair, (1, 4)) for pair in texts]
    base = dict(stack.role("unet").named_parameters())
    names = [name for name in fits[0].tensors if name in base]
    solve = Merge(regular, targets)
    return {name: solve(base[name].detach(), [fit.tensors[name] for fit in fits]).float() for name in names}


def features(stack: Stack, texts: Sequence[str], drop_first: Sequence[int]) -> torch.Tensor:
    """The text encoder's output (rows, dim), float64: of each text its tokens from ``drop_first`` to its end token."""
    tokenizer, rows = stack.role("tokenizer"), []
    for start in range(0, len(texts), 50):
        part = list(texts[start : start + 50])
        ids, hidden = sampling.tokenize(stack, part), sampling.encode_text(stack, part)
        for row, state, first in zip(ids.tolist(), hidden, drop_first[start : start + 50], strict=True):
            rows.append(state[first : row.index(tokenizer.eos_token_id, 1) + 1])
    return torch.cat(rows).double().cpu()


class Merge:
    """The change of a matrix that is least on ``regular`` (n, dim) and exact on all targets; solved in float64.

    By pseudo-inverses, as untrained text encoders and equal targets make singular systems.
    """

    def __init__(self, regular: torch.Tensor, targets: Sequence[torch.Tensor]) -> None:
        self._targets = [rows.double() for rows in targets]
        gram = regular.double().T @ regular.double()
        self.condition = float(torch.linalg.cond(gram))
        rows = torch.cat(self._targets)
        self._directions = rows @ torch.linalg.pinv(gram, hermitian=True)
        overlap = self._directions @ rows.T
        self._solve = torch.linalg.pinv((overlap + overlap.T) / 2, hermitian=True)

    def __call__(self, base: torch.Tensor, tuned: Sequence[torch.Tensor]) -> torch.Tensor:
        """The merged matrix (out, dim): each of ``tuned`` says what its own targets become."""
        start = base.double().cpu()
        missing = torch.cat(
            [rows @ (own.double().cpu() - start).T for rows, own in zip(self._targets, tuned, strict=True)]
        )
        merged: torch.Tensor = start + (self._solve @ missing).T @ self._directions
        return merged
