"""What a step minimises beside the localisation loss: the denoising error, at times of the subjects alone."""

from __future__ import annotations

from collections.abc import Sequence
from random import Random

import torch
from torch.nn import functional

from fcbench.config import Recipe


def draw_masked(recipe: Recipe, pictures: int, random: Random) -> torch.Tensor:
    """For which pictures the loss covers the subjects alone: bool (pictures,), one draw for all or one each."""
    draws = 1 if recipe.masked_loss_per == "batch" else pictures
    return torch.tensor([random.random() < recipe.masked_loss for _ in range(draws)]).expand(pictures)


def loss_masks(masks: torch.Tensor, masked: torch.Tensor) -> torch.Tensor | None:
    """Subjects' masks (n, subjects, height, width), all ones for pictures not ``masked``; None if no picture is."""
    if not bool(masked.any()):
        return None
    if not masks.shape[1]:  # nobody in any picture
        masks = masks.new_zeros(len(masks), 1, *masks.shape[2:])
    return torch.where(masked[:, None, None, None], masks, 1.0)


def denoising_loss(
    made: torch.Tensor, target: torch.Tensor, weight: torch.Tensor, masks: torch.Tensor | None
) -> torch.Tensor:
    """Weighted mean squared error of predictions (n, c, h, w).

    With ``masks`` (n, subjects, H, W) prediction and target are first multiplied by the union of the subjects (the
    paper's masked loss); as in the official code a picture without subjects then counts as 0.
    """
    if masks is not None:
        union = loss_mask(masks, made.shape[-2:])
        made, target = made * union, target * union
    return (weight * (made - target).pow(2).mean(dim=(1, 2, 3))).mean()


def loss_mask(masks: torch.Tensor, size: Sequence[int]) -> torch.Tensor:
    """The union of subject masks (n, subjects, H, W), float (n, 1, *size): bilinear, not antialiased."""
    union = masks.amax(dim=1, keepdim=True) if masks.shape[1] else masks.new_zeros(len(masks), 1, *masks.shape[2:])
    return functional.interpolate(union, tuple(size), mode="bilinear", align_corners=False)
