"""Private copies of a stack's models: what is trained is new and float32, all else is the stack's own memory."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch

from fcbench.types import Stack


def private_copy(
    module: torch.nn.Module, trained: Callable[[str], bool], *, frozen_dtype: torch.dtype | None = None
) -> Any:
    """A copy of ``module`` in training mode; the parameters that ``trained`` names take gradients.

    Frozen tensors share the module's memory, unless ``frozen_dtype`` asks for another type than theirs. The module
    itself stays as it was, its parameters' gradients included.
    """
    memo: dict[int, Any] = {}
    for name, parameter in module.named_parameters():
        value = parameter.detach()
        if trained(name):
            memo[id(parameter)] = torch.nn.Parameter(value.to(torch.float32, copy=True))
        else:
            memo[id(parameter)] = torch.nn.Parameter(value.to(frozen_dtype or value.dtype), requires_grad=False)
    for buffer in module.buffers():
        memo[id(buffer)] = buffer
    made = copy.deepcopy(module, memo)
    return made.train()


def for_drawing(model: Any, base: Any) -> Any:
    """A tuned copy, ready to draw as ``base`` is: in its number format and mode, without gradients."""
    if any(parameter.dtype != base.dtype for parameter in model.parameters()):
        torch.nn.Module.to(model, base.dtype)  # diffusers' own warns of layers to keep in float32, even if none
    return model.train(base.training).requires_grad_(False)


def with_models(stack: Stack, **models: Any) -> Stack:
    """The stack with other models in some roles; the rest are loaded once for both."""
    load = {role: (lambda role=role: stack.role(role)) for role in stack.load}
    return replace(stack, load=load, _loaded=dict(models))


class LongerTable(torch.nn.Module):
    """A token table with rows of its own behind the old ones: ``rows`` (n, dim), the only trained ones."""

    def __init__(self, old: torch.nn.Embedding, rows: torch.Tensor) -> None:
        super().__init__()
        self.old = old
        self.rows = torch.nn.Parameter(rows.detach().to(torch.float32, copy=True))

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        """Embeddings (..., dim) of ids (...)."""
        first = self.old.num_embeddings
        known = self.old(ids.clamp(max=first - 1))
        new = torch.nn.functional.embedding((ids - first).clamp(min=0), self.rows)
        return torch.where((ids >= first)[..., None], new.to(known.dtype), known)
