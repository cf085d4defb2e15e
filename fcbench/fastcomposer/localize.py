"""Localised cross-attention: a subject's token may look only where the subject is (the paper's loss, balanced L1).

The maps are taken inside the attention layers, for the subjects' tokens alone: a full map is never kept for the loss,
it lives only as long as one layer's forward or backward pass.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeAlias

import torch
from torch.nn import functional
from torch.utils.checkpoint import checkpoint

from fcbench.attention import Attention

_TINY = 1e-5

Measure: TypeAlias = Callable[[torch.Tensor, torch.Tensor, torch.Tensor], torch.Tensor]
"""A scalar from one layer's attention to the subjects, their masks, and which of them there are."""


def subject_attention(query: torch.Tensor, key: torch.Tensor, tokens: torch.Tensor, scale: float) -> torch.Tensor:
    """Attention to some of the tokens, (n, heads, subjects, positions); the softmax is over all tokens.

    ``query`` (n, heads, positions, channels); ``key`` (n, heads, all tokens, channels); ``tokens`` (n, subjects).
    """
    probabilities = (query @ key.transpose(-1, -2) * scale).softmax(dim=-1)
    index = tokens[:, None, None, :].expand(*probabilities.shape[:3], -1)
    return probabilities.gather(3, index).transpose(2, 3)


def localization_loss(
    attention: torch.Tensor, masks: torch.Tensor, valid: torch.Tensor, *, normalize: bool = False
) -> torch.Tensor:
    """One layer's loss: mean attention outside each subject's mask minus mean attention inside it.

    ``attention`` (n, heads, subjects, positions); ``masks`` (n, subjects, positions) in [0, 1]; ``valid`` bool
    (n, subjects). Averaged over a row's subjects, then over all rows and heads; a row without subjects counts as 0.
    ``normalize`` divides each token's attention by its maximum first.
    """
    if normalize:
        attention = attention / (attention.amax(dim=-1, keepdim=True) + _TINY)
    inside = masks[:, None].to(attention.dtype)
    outside = 1 - inside
    mean_inside = (attention * inside).sum(-1) / (inside.sum(-1) + _TINY)
    mean_outside = (attention * outside).sum(-1) / (outside.sum(-1) + _TINY)
    counted = (mean_outside - mean_inside) * valid[:, None].to(attention.dtype)
    return (counted.sum(-1) / (valid.sum(-1)[:, None] + _TINY)).mean()


def attention_inside(attention: torch.Tensor, masks: torch.Tensor, valid: torch.Tensor) -> torch.Tensor:
    """The share of the subject tokens' attention that falls inside their masks: a scalar in [0, 1].

    Shapes as in ``localization_loss``; averaged over heads and over all subjects. NaN without subjects.
    """
    share = (attention * masks[:, None].to(attention.dtype)).sum(-1) / (attention.sum(-1) + _TINY)
    return share.mean(1)[valid].mean()


class Localizer:
    """Watches the cross-attention of a denoiser's middle blocks and sums up the localisation loss.

    One for each U-Net; ``with localizer.watch(positions, masks)`` around its forward pass, then ``loss()``. Another
    ``measure`` can be taken in the loss's place.
    """

    def __init__(self, unet: Any, blocks: int = 5, *, measure: Measure = localization_loss) -> None:
        self._measure = measure
        self._losses: dict[str, torch.Tensor] = {}
        self._taken = False
        self._positions: torch.Tensor | None = None
        self._masks: torch.Tensor | None = None
        self._resized: dict[int, torch.Tensor] = {}
        self.layers = localized_layers(unet, blocks)
        modules = dict(unet.named_modules())
        for name in self.layers:
            modules[name].set_processor(_WatchedAttention(self, name))

    @contextmanager
    def watch(self, positions: torch.Tensor, masks: torch.Tensor) -> Iterator[None]:
        """Take the loss of the forward passes in this block.

        With gradient checkpointing the backward pass belongs in the block too: it runs the forward pass again.
        ``positions`` int64 (n, subjects): each subject's token, -1 where a row has fewer; ``masks`` float
        (n, subjects, height, width), 1 on the subject.
        """
        self._positions, self._masks = positions, masks
        self._losses, self._taken = {}, False
        try:
            yield
        finally:
            self._positions = self._masks = None
            self._resized = {}

    @property
    def watching(self) -> bool:
        """Whether a forward pass is being watched."""
        return self._positions is not None

    def loss(self) -> torch.Tensor:
        """The mean over layers of the last watched forward pass: a scalar, -1 (all inside) to 1 (all outside).

        Taken once: it is not kept, nor is what it was computed from.
        """
        return torch.stack(list(self.layer_losses().values())).mean()

    def layer_losses(self) -> dict[str, torch.Tensor]:
        """The loss of each layer, in forward order; taken once, as ``loss()`` is."""
        losses, self._losses, self._taken = self._losses, {}, True
        return losses

    def take(self, layer: str, query: torch.Tensor, key: torch.Tensor, scale: float) -> None:
        """Take a layer's loss from queries (n, heads, positions, channels) and keys (n, heads, tokens, channels)."""
        positions, masks = self._positions, self._masks
        assert positions is not None  # called while watching only
        assert masks is not None
        side = round(query.shape[2] ** 0.5)
        if side not in self._resized:
            resized = functional.interpolate(masks, (side, side), mode="bilinear", antialias=True, align_corners=False)
            self._resized[side] = resized.flatten(2)
        attention: torch.Tensor = checkpoint(
            subject_attention, query, key, positions.clamp(min=0), scale, use_reentrant=False
        )
        loss = self._measure(attention, self._resized[side], positions >= 0)
        if not self._taken:  # else a backward pass runs the forward pass again, for gradients alone
            self._losses[layer] = loss


def localized_layers(unet: Any, blocks: int = 5) -> list[str]:
    """Names of the cross-attention layers (``attn2``) in the middle ``blocks`` of the blocks that have any.

    If they cannot be centred, the odd block is one on the way down, as in the official code.
    """
    names = [name for name, _ in unet.named_modules() if name.endswith("attn2")]
    order = {"down": 0, "mid": 1, "up": 2}

    def block(name: str) -> tuple[int, int]:
        kind, _, rest = name.partition("_block")
        return order[kind], int(rest.split(".")[1]) if rest.startswith("s.") else 0

    found = sorted({block(name) for name in names})
    skip = max(0, (len(found) - blocks) // 2)
    middle = set(found[skip : skip + blocks])
    return sorted((name for name in names if block(name) in middle), key=lambda name: (block(name), name))


class _WatchedAttention(Attention):
    """Cross-attention whose queries and keys are shown to the localizer while it watches."""

    def __init__(self, localizer: Localizer, layer: str) -> None:
        self._localizer, self._layer = localizer, layer

    def see(self, query: torch.Tensor, key: torch.Tensor, scale: float) -> None:
        if self._localizer.watching:
            self._localizer.take(self._layer, query, key, scale)
