"""Operations on tensors, large ones having a shape but no numbers: what large models take, without computing."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch.utils import _pytree as pytree

aten = torch.ops.aten
LARGE = 2**14
"""A tensor of more elements has no numbers; those that tell who is where in a prompt have fewer."""


def without_numbers(call: Callable[..., Any], func: Any, args: Any, kwargs: dict[str, Any]) -> Any:
    """What ``func``, computed by ``call``, makes of tensors with and without numbers; an unknown number is 1."""
    tensors = [x for x in pytree.tree_leaves((args, kwargs)) if isinstance(x, torch.Tensor)]
    if any(x.is_meta for x in tensors):
        if func.overloadpacket is aten._local_scalar_dense:
            return torch.ones((), dtype=args[0].dtype).item()
        if func.overloadpacket is aten._to_copy and kwargs.get("device") is not None:
            kwargs = {**kwargs, "device": torch.device("meta")}
        if func.overloadpacket is aten.index:
            args = (args[0], _places(args[1]))
        args, kwargs = pytree.tree_map_only(torch.Tensor, _shape, (args, kwargs))
    made = call(*args, **kwargs)
    return pytree.tree_map_only(torch.Tensor, lambda x: _shape(x) if x.numel() > LARGE else x, made)


def with_numbers(made: Any) -> Any:
    """What comes back from the GPU: zeros for unknown numbers."""
    return pytree.tree_map_only(torch.Tensor, lambda x: torch.zeros(x.shape, dtype=x.dtype) if x.is_meta else x, made)


def _shape(x: torch.Tensor) -> torch.Tensor:
    return x if x.is_meta else x.to("meta")


def _places(indices: Any) -> list[torch.Tensor | None]:
    """Indices in place of masks, as only a mask's numbers tell how many elements it takes."""
    found: list[torch.Tensor | None] = []
    for index in indices:
        masks = index is not None and index.dtype is torch.bool
        found += index.nonzero().unbind(1) if masks else [index]
    return found
