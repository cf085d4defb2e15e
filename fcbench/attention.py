"""Attention in training, by whichever of torch's ways has the fastest backward pass on the device."""

from __future__ import annotations

from typing import Any

import torch
from diffusers.models.attention_processor import AttnProcessor, AttnProcessor2_0
from torch.nn import functional

SMALL = 2**14
"""The largest map, in queries times keys, to keep for the backward pass: those of 64-pixel pictures fit."""
REPLACED = (AttnProcessor, AttnProcessor2_0)
"""The attention that diffusers uses where nobody asked for another."""


def attend(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, scale: float) -> torch.Tensor:
    """Softmax attention of ``query`` (n, heads, positions, channels) to keys and values (n, heads, tokens, channels).

    Small maps in bfloat16 on a CPU are multiplied out: with its backward pass the fused kernel takes three to six
    times as long (torch 2.13, ``benchmarks/attention.py``). Scores are then rounded to bfloat16 before the softmax,
    which is coarser than the fused kernel where attention is very sharp.
    """
    small = query.shape[2] * key.shape[2] <= SMALL
    if small and query.dtype is torch.bfloat16 and query.device.type == "cpu":
        return (query @ key.transpose(-1, -2) * scale).softmax(dim=-1) @ value
    return functional.scaled_dot_product_attention(query, key, value, scale=scale)


class Attention:
    """A transformer block's attention as diffusers computes it, by :func:`attend`."""

    def __call__(
        self,
        attn: Any,
        hidden_states: torch.Tensor,
        encoder_hidden_states: torch.Tensor | None = None,
        attention_mask: torch.Tensor | None = None,
        **_: Any,
    ) -> torch.Tensor:
        """What positions (n, positions, channels) take from the text (n, tokens, channels), or from each other.

        Raises ValueError for a mask: no prompt is masked here, in training or in drawing.
        """
        if attention_mask is not None:
            raise ValueError("attention masks are not taken here")
        context = hidden_states if encoder_hidden_states is None else encoder_hidden_states
        query, key, value = (
            project(x).unflatten(-1, (attn.heads, -1)).transpose(1, 2)
            for project, x in ((attn.to_q, hidden_states), (attn.to_k, context), (attn.to_v, context))
        )
        self.see(query, key, attn.scale)
        joined = attend(query, key, value, attn.scale).transpose(1, 2).flatten(2)
        made: torch.Tensor = attn.to_out[1](attn.to_out[0](joined)) / attn.rescale_output_factor
        return made

    def see(self, query: torch.Tensor, key: torch.Tensor, scale: float) -> None:
        """Look at queries and keys before they are used: does nothing here, watchers override it."""


def attend_in_blocks(unet: Any) -> None:
    """Have all transformer blocks of a denoiser use :class:`Attention`, to themselves and to the text.

    What attends differently on purpose, an adapter or a watcher say, is left as it is.
    """
    for name, module in unet.named_modules():
        if name.endswith((".attn1", ".attn2")) and type(getattr(module, "processor", None)) in REPLACED:
            module.set_processor(Attention())
