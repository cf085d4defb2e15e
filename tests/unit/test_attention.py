from __future__ import annotations

import pytest
import torch
from torch.nn import functional

from fcbench.attention import SMALL, attend


def inputs(positions: int, tokens: int, dtype: torch.dtype) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    return [
        torch.randn(2, 3, count, 8, generator=generator).to(dtype).requires_grad_()
        for count in (positions, tokens, tokens)
    ]


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize(("positions", "tokens", "scale"), [(16, 6, 0.3), (16, 16, 1.0), (SMALL, 2, 0.3)])
def test_attention_and_its_gradients_are_torch_s(dtype: torch.dtype, positions: int, tokens: int, scale: float) -> None:
    ours, theirs = inputs(positions, tokens, dtype), inputs(positions, tokens, torch.float32)
    made = attend(ours[0], ours[1], ours[2], scale)
    told = functional.scaled_dot_product_attention(theirs[0], theirs[1], theirs[2], scale=scale)
    assert made.dtype is dtype
    made.float().pow(2).sum().backward()
    told.pow(2).sum().backward()
    near = 0.05 if dtype is torch.bfloat16 else 1e-4  # of the largest
    torch.testing.assert_close(made.float(), told, rtol=0.0, atol=near)
    for mine, its in zip(ours, theirs, strict=True):
        assert mine.grad is not None
        assert its.grad is not None
        largest = float(its.grad.abs().max())
        torch.testing.assert_close(mine.grad.float() / largest, its.grad / largest, rtol=0.0, atol=near)


@pytest.mark.parametrize(
    ("dtype", "positions", "tokens", "fused"),
    [
        (torch.bfloat16, 64, 64, False),
        (torch.bfloat16, 2, SMALL // 2, False),
        (torch.bfloat16, 2, SMALL // 2 + 1, True),
        (torch.float32, 2, 4, True),
    ],
)
def test_only_small_maps_in_bfloat16_are_multiplied_out(
    dtype: torch.dtype, positions: int, tokens: int, fused: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[torch.Tensor] = []
    real = functional.scaled_dot_product_attention

    def counted(*tensors: torch.Tensor, scale: float) -> torch.Tensor:
        calls.extend(tensors)
        query, key, value = tensors
        return real(query, key, value, scale=scale)

    monkeypatch.setattr(functional, "scaled_dot_product_attention", counted)
    query, key, value = inputs(positions, tokens, dtype)
    attend(query, key, value, 1.0)
    assert bool(calls) == fused
