"""Run on the pretended GPU, with numbers or with shapes alone: checks what its tensors take."""

from __future__ import annotations

import copy
import gc
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from torch.nn import functional
from transformers import CLIPTextConfig, CLIPTextModel

from fcbench.weights import save_half
from tests.pretended_gpu.memory import memory
from tests.pretended_gpu.tensors import SHAPES_ALONE

SIDE = 1024
SQUARE = 4 * SIDE**2
"""Bytes of a square matrix."""


def main() -> None:
    assert memory.alive == 0
    model = torch.nn.Linear(SIDE, SIDE, bias=False).to("cuda")
    assert memory.alive == SQUARE
    flat = model.weight.view(-1)  # a view takes nothing
    assert (flat.numel(), memory.alive) == (SIDE**2, SQUARE)
    twice = copy.deepcopy(model)
    assert isinstance(twice.weight, torch.nn.Parameter)
    assert memory.alive == 2 * SQUARE
    del twice
    gc.collect()
    assert memory.alive == SQUARE
    optimiser = torch.optim.AdamW(model.parameters(), fused=True)
    given = torch.ones(SIDE, SIDE).to("cuda")
    for _ in range(2):
        memory.forget_peak()
        model(given).sum().backward()
        optimiser.step()
        optimiser.zero_grad()
        assert abs(memory.alive - 4 * SQUARE) < 10_000  # weights, two moments, what is given
    assert abs(memory.peak - 5 * SQUARE) < 10_000, memory.peak / SQUARE  # and what is made, then the gradient
    check_attention()
    before = memory.alive
    loss = given.requires_grad_().exp().sum()  # what the backward pass needs stays
    assert abs(memory.alive - before - SQUARE) < 10_000
    loss.backward()
    del loss
    given.grad = None
    assert abs(memory.alive - before) < 10_000
    assert isinstance(given.sum().item(), float)
    assert given.cpu().shape == (SIDE, SIDE)
    if not SHAPES_ALONE:
        check_saving()


def check_attention() -> None:
    """Attention in pieces, as on a GPU: the map would take 64 times as much as a query."""
    query = torch.ones(1, 1, 4096, 64, device="cuda", dtype=torch.float16, requires_grad=True)
    as_diffusers: dict[str, Any] = {"attn_mask": None, "dropout_p": 0.0, "is_causal": False}
    for options in ({}, as_diffusers, as_diffusers | {"is_causal": True, "scale": 0.1}):
        before = memory.alive
        memory.forget_peak()
        made = functional.scaled_dot_product_attention(query, query, query, **options)
        assert memory.peak - before < 4 * query.nbytes
        made.sum().backward()
        assert memory.peak - before < 12 * query.nbytes
        del made
        query.grad = None


def check_saving() -> None:
    """A model is saved without taking more of the GPU."""
    config = CLIPTextConfig(hidden_size=64, intermediate_size=64, num_hidden_layers=1, num_attention_heads=2)
    model = CLIPTextModel(config).to("cuda")
    before = memory.alive
    memory.forget_peak()
    with TemporaryDirectory() as folder:
        save_half(Path(folder), model)
        saved = CLIPTextModel.from_pretrained(folder)
    assert memory.peak == memory.alive == before
    assert saved.dtype is torch.float16
    assert torch.equal(saved.embeddings.token_embedding.weight, model.embeddings.token_embedding.weight.cpu().half())


if __name__ == "__main__":
    main()
