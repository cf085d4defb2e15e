"""What a forward and a backward pass of attention cost a processor: torch's fused kernel, and multiplied out.

Where the ratio is above 1, training multiplies out (``fcbench/attention.py``).

    python benchmarks/attention.py

The shapes are the miniature U-Net's at a batch of 64: self-attention and attention to 60 tokens, at 8 x 8 and 4 x 4.
Milliseconds of CPU time of one thread, medians; the two take turns.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable

import torch
from torch.nn import functional

BATCH, REPEATS = 64, 15
SHAPES = {
    "8 x 8, itself": (2, 64, 64, 48),
    "8 x 8, text": (2, 64, 60, 48),
    "4 x 4, itself": (4, 16, 16, 32),
    "4 x 4, text": (4, 16, 60, 32),
}
"""Heads, positions, tokens, channels of a head."""

Attend = Callable[[torch.Tensor, torch.Tensor, torch.Tensor, float], torch.Tensor]


def main() -> None:
    """Print a row per shape and precision."""
    torch.set_num_threads(1)
    print("| attention | precision | fused, ms | multiplied out, ms | ratio |\n| --- | --- | --: | --: | --: |")
    for precision in (torch.bfloat16, torch.float32):
        for name, shape in SHAPES.items():
            fused_ms, plain_ms = measured(shape, precision)
            print(
                f"| {name} | {str(precision).removeprefix('torch.')} | {fused_ms:.2f} | {plain_ms:.2f} "
                f"| {fused_ms / plain_ms:.2f} |"
            )


def fused(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, scale: float) -> torch.Tensor:
    """What diffusers calls."""
    return functional.scaled_dot_product_attention(query, key, value, scale=scale)


def multiplied_out(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, scale: float) -> torch.Tensor:
    """What is taken in its place."""
    return (query @ key.transpose(-1, -2) * scale).softmax(dim=-1) @ value


def measured(shape: tuple[int, int, int, int], precision: torch.dtype) -> tuple[float, float]:
    """Milliseconds of the two."""
    heads, positions, tokens, channels = shape
    query = torch.randn(BATCH, heads, positions, channels, dtype=precision, requires_grad=True)
    key, value = (torch.randn(BATCH, heads, tokens, channels, dtype=precision, requires_grad=True) for _ in range(2))
    taken: dict[Attend, list[float]] = {fused: [], multiplied_out: []}
    for _ in range(REPEATS):
        for way, times in taken.items():
            begun = time.process_time()
            way(query, key, value, channels**-0.5).sum().backward()
            times.append(1000 * (time.process_time() - begun))
    return statistics.median(taken[fused]), statistics.median(taken[multiplied_out])


if __name__ == "__main__":
    main()
