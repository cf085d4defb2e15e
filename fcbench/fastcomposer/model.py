"""What is trained, and which parts of it stay frozen."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

import torch
from torch import nn

from fcbench.config import Recipe
from fcbench.fastcomposer.checkpoint import MODELS, Checkpoint
from fcbench.fastcomposer.data import Example
from fcbench.fastcomposer.encoder import Fusion, embed_subjects
from fcbench.fastcomposer.optimiser import trained
from fcbench.types import Stack


class FastComposerModel(nn.Module):
    """What is trained, as one module: the denoiser, the image encoder's last layers, the fusion."""

    def __init__(self, stack: Stack, recipe: Recipe, start: Checkpoint | None = None) -> None:
        super().__init__()
        torch.manual_seed(recipe.seed)
        with stack.borrowed(*MODELS):  # only to be copied: two of each would crowd a GPU
            if start is None:
                image_encoder = stack.role("image_encoder")
                start = Checkpoint(stack.role("unet"), image_encoder, Fusion(image_encoder.config.projection_dim))
            self.unet = copy.deepcopy(start.unet).float()
            self.image_encoder = copy.deepcopy(start.image_encoder).float()
            self.fusion = copy.deepcopy(start.fusion).float()
        self.train().requires_grad_(True)
        freeze_image_encoder(self.image_encoder, recipe.vision_layers)

    def forward(
        self, noisy: torch.Tensor, times: torch.Tensor, text: torch.Tensor, at: torch.Tensor, references: torch.Tensor
    ) -> torch.Tensor:
        """Predict from noisy latents, with ``references`` (subjects, 3, size, size) fused at ``at`` (n, tokens)."""
        if len(references):
            text = self.fusion(text, embed_subjects(self.image_encoder, references), at)
        made: torch.Tensor = self.unet(noisy, times, text).sample
        if not len(references) and torch.is_grad_enabled():
            # Without a subject their gradient is 0, not absent: every process then has the same gradients to average,
            # whatever its pictures show, even where it averages only after several parts.
            made = made + 0.0 * sum(p.sum() for part in (self.image_encoder, self.fusion) for p in trained(part))
        return made


def subject_masks(examples: Sequence[Example], side: int) -> tuple[torch.Tensor, torch.Tensor]:
    """A batch's subject tokens, int64 (n, most), -1 where there are fewer, and masks, float (n, most, side, side)."""
    most = max((len(e.positions) for e in examples), default=0)
    positions = torch.full((len(examples), most), -1)
    masks = torch.zeros(len(examples), most, side, side)
    for row, example in enumerate(examples):
        for place, (position, mask) in enumerate(zip(example.positions, example.masks, strict=True)):
            positions[row, place] = position
            masks[row, place] = torch.from_numpy(mask)
    return positions, masks


def token_mask(positions: torch.Tensor, tokens: int) -> torch.Tensor:
    """Positions (n, subjects), -1 for none, as bool (n, tokens), True on subject tokens."""
    at = torch.zeros(len(positions), tokens + 1, dtype=torch.bool, device=positions.device)
    at.scatter_(1, torch.where(positions < 0, tokens, positions), True)
    return at[:, :tokens]


def freeze_image_encoder(image_encoder: Any, layers: int) -> None:
    """Leave only the last ``layers`` transformer layers to train; all of the tower if it has no more than that."""
    stack = (
        image_encoder.vision_model.encoder.layers
        if hasattr(image_encoder, "vision_model")
        else image_encoder.encoder.layers
    )
    if layers >= len(stack):
        return
    image_encoder.requires_grad_(False)
    for layer in stack[len(stack) - layers :]:
        layer.requires_grad_(True)
