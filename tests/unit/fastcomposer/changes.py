"""A recipe with other values, and how far one training's weights lie from another's."""

from __future__ import annotations

from typing import Any

import torch

from fcbench.config import Recipe


def changed(recipe: Recipe, **keys: Any) -> Recipe:
    return recipe.model_copy(update=keys)


def furthest(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> float:
    return max(float((one[key].float() - other[key].float()).abs().max()) for key in one)
