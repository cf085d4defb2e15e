"""What the localisation loss costs a training step: without it, as we take it, and from recorded attention maps.

Bytes are those of all tensors kept for the backward pass, weights not counted; seconds are the median over
``--repeats`` turns (CPU time on a CPU). Ratios are to the step without it.
"""

from __future__ import annotations

import argparse
import statistics
import time
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from speed_training import Recorded, Training

from fcbench.fastcomposer.localize import Localizer
from fcbench.stacks import load_stack


class Absent:
    """No localisation loss."""

    def __init__(self, unet: Any) -> None:
        self._device = unet.device

    def watch(self, positions: torch.Tensor, masks: torch.Tensor) -> AbstractContextManager[None]:
        """Nothing is watched."""
        return nullcontext()

    def loss(self) -> torch.Tensor:
        """Nothing is added."""
        return torch.zeros((), device=self._device)


def kept_bytes(training: Training) -> int:
    """Bytes that a step's forward pass keeps for the backward pass, each storage once, without weights."""
    weights = {p.untyped_storage().data_ptr() for p in training.unet.parameters()}
    kept: dict[int, tuple[torch.Tensor, int]] = {}

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in weights:
            kept[storage.data_ptr()] = tensor, storage.nbytes()  # held, so that no other gets its address
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        training.step()
    return sum(size for _, size in kept.values())


def seconds(training: Training, device: str) -> float:
    """What a step takes: on a GPU until it is done, on a CPU in CPU time."""
    if device != "cpu":
        torch.cuda.synchronize()
    clock = time.process_time if device == "cpu" else time.perf_counter
    begun = clock()
    training.step()
    if device != "cpu":
        torch.cuda.synchronize()
    return clock() - begun


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--stack", default="mini")
    parser.add_argument("--random-weights", action="store_true")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--side", type=int, default=0, help="of the latents; 0: the stack's own")
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--repeats", type=int, default=5)
    options = parser.parse_args()
    stack = load_stack(options.stack, device=options.device, random_weights=options.random_weights)
    config = stack.role("unet").config
    config["sample_size"] = options.side or config["sample_size"]
    precision = "bfloat16" if stack.device.startswith("cuda") else "float32"
    ways = {
        name: Training(stack, options.batch, precision, plain=False, watch=watch)
        for name, watch in (("without", Absent), ("ours", Localizer), ("recorded maps", Recorded))
    }
    print(f"{stack.name}, latents of {config['sample_size']}, batch {options.batch}, {precision}, {stack.device}")
    kept = {name: kept_bytes(way) for name, way in ways.items()}
    taken: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(options.repeats):
        for name, way in ways.items():
            taken[name].append(seconds(way, torch.device(stack.device).type))
    for name in ways:
        times = statistics.median(a / b for a, b in zip(taken[name], taken["without"], strict=True))
        print(
            f"{name:14} kept {kept[name] / 2**20:9.1f} MiB ({kept[name] / kept['without']:.3f} x)"
            f"   a step {statistics.median(taken[name]):7.3f} s ({times:.3f} x)"
        )


if __name__ == "__main__":
    main()
