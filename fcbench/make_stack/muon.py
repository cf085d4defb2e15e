"""Muon: momentum whose update is made orthogonal, for matrices and convolutions (Jordan et al., 2024).

torch has one for matrices only; here a convolution's weight is the matrix (out, in x height x width). The miniature's
networks learn faster by it than by AdamW (LOG.md). Vectors, and first and last layers, are AdamW's in the same object.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch

_QUINTIC = (3.4445, -4.7750, 2.0315)
"""Jordan's coefficients: five steps bring all singular values to between 0.7 and 1.2."""

ENDS = ("conv_in", "conv_out", "time_embedding")
"""The first and last layers of an autoencoder or a U-Net, which stay AdamW's."""


class Muon(torch.optim.AdamW):
    """Nesterov momentum, orthogonalised, for groups with ``orthogonal`` true; AdamW for the others.

    In an orthogonal group ``lr`` is the size of a step in spectral norm, about 0.02, ``betas[0]`` the momentum, and
    all parameters have two or more dimensions, the first being the output.
    """

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]
        """Move every parameter that has a gradient."""
        groups = self.param_groups
        for group in groups:
            if group["orthogonal"]:
                for weight in group["params"]:
                    if weight.grad is not None:
                        _move(weight, weight.grad, self.state[weight], group)
        try:
            self.param_groups = [group for group in groups if not group["orthogonal"]]
            super().step(closure)
        finally:
            self.param_groups = groups


def muon_groups(
    model: torch.nn.Module, *, lr: float, adam_lr: float, weight_decay: float, skip: Iterable[str] = ENDS
) -> list[dict[str, Any]]:
    """Two groups of a model's trainable parameters: matrices; vectors and whatever has one of ``skip`` in its name."""
    names = tuple(skip)
    matrices: list[torch.nn.Parameter] = []
    rest: list[torch.nn.Parameter] = []
    for name, weight in model.named_parameters():
        if weight.requires_grad:
            (matrices if weight.ndim >= 2 and not any(part in name for part in names) else rest).append(weight)
    return [
        {"params": matrices, "orthogonal": True, "lr": lr, "betas": (0.95, 0.0), "weight_decay": weight_decay},
        {"params": rest, "orthogonal": False, "lr": adam_lr, "weight_decay": weight_decay},
    ]


def level_then_down(step: int, steps: int, *, level: float = 0.4) -> float:
    """The factor on Muon's learning rate: up over 20 steps, level until ``level`` of all, then linearly to 0.01.

    >>> level_then_down(0, 100), level_then_down(30, 100), level_then_down(70, 100)
    (0.05, 1.0, 0.5)
    """
    return min(1.0, (step + 1) / 20, max(0.01, (steps - step) / ((1 - level) * steps)))


def _move(weight: torch.Tensor, gradient: torch.Tensor, state: Any, group: dict[str, Any]) -> None:
    if not state:
        state["momentum"] = torch.zeros_like(weight)
        state["step"] = torch.zeros(())  # AdamW looks for it when it loads a state
    momentum = state["momentum"]
    momentum.lerp_(gradient, 1 - group["betas"][0])
    ahead = gradient.lerp(momentum, group["betas"][0]).flatten(1)
    # A tall matrix's orthogonal factor has small entries: scaled so that outputs move alike whatever the shape.
    scale = max(1.0, ahead.shape[0] / ahead.shape[1]) ** 0.5
    weight.mul_(1 - group["lr"] * group["weight_decay"])
    weight.add_(orthogonal(ahead).view_as(weight), alpha=-group["lr"] * scale)


def orthogonal(matrix: torch.Tensor, steps: int = 5) -> torch.Tensor:
    """Roughly the matrix nearest to ``matrix`` (rows, columns) with singular values 1, by Newton-Schulz iterations.

    Each iteration multiplies by a polynomial of the Gram matrix, and all of these commute: so they are gathered on the
    smaller side, and the matrix is multiplied only once. A convolution's is up to twenty times as wide as high.
    """
    first, second, third = _QUINTIC
    wide = matrix.shape[0] <= matrix.shape[1]
    flat = matrix if wide else matrix.T
    flat = flat / (flat.norm() + 1e-7)
    gram, eye = flat @ flat.T, torch.eye(len(flat), dtype=flat.dtype, device=flat.device)
    gathered = eye
    for _ in range(steps):
        factor = first * eye + second * gram + third * gram @ gram
        gathered, gram = factor @ gathered, factor @ gram @ factor
    found: torch.Tensor = gathered @ flat
    return found if wide else found.T
