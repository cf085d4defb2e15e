"""AdamW over what is trained: plain, fused or in 8 bits; the image encoder at its own rate where the recipe says so."""

from __future__ import annotations

from importlib.util import find_spec
from typing import Any

import torch
from torch import nn

from fcbench.config import Recipe
from fcbench.errors import MissingError


def make_optimiser(model: nn.Module, image_encoder: nn.Module, recipe: Recipe) -> Any:
    """AdamW with the paper's decay of 1e-2 over what is trained of ``model``, ``image_encoder`` being a part of it.

    An image encoder may need a lower rate than a fusion that begins from nothing: what it knows of people is soon
    lost.
    """
    groups: list[dict[str, Any]] = [{"params": trained(model)}]
    if recipe.vision_learning_rate not in (None, recipe.learning_rate):
        slow = {id(parameter) for parameter in trained(image_encoder)}
        rest = [parameter for parameter in trained(model) if id(parameter) not in slow]
        groups = [{"params": rest}, {"params": trained(image_encoder), "lr": recipe.vision_learning_rate}]
    options: dict[str, Any] = {"lr": recipe.learning_rate, "betas": (0.9, 0.999), "eps": 1e-8, "weight_decay": 1e-2}
    if recipe.optimiser == "adamw-8bit":
        import bitsandbytes

        return bitsandbytes.optim.AdamW8bit(groups, **options)
    return torch.optim.AdamW(groups, fused=recipe.optimiser == "adamw-fused", **options)


def trained(model: nn.Module) -> list[nn.Parameter]:
    """The parameters that are not frozen."""
    return [parameter for parameter in model.parameters() if parameter.requires_grad]


def require_bitsandbytes(recipe: Recipe) -> None:
    """Raise MissingError where moments are to be kept in 8 bits and the package is absent."""
    if recipe.optimiser == "adamw-8bit" and find_spec("bitsandbytes") is None:
        raise MissingError("optimiser adamw-8bit needs bitsandbytes: pip install bitsandbytes")
