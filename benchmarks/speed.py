"""Seconds, memory and share of peak FLOP/s of sampling and training, each beside the plain way in the same run.

``--stack mini`` (two CPU cores) and ``--stack sd15 --random-weights`` (a GPU) print the same table. The ways in a group
of rows take turns, ``--repeats`` times; medians are printed, and the median of the ratios to the group's first way.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import statistics
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import diffusers
import torch
import transformers
from speed_sampling import Way, check_calls, low_memory_way, sampling_ways, unet_flops
from speed_training import training_flops, training_ways

from fcbench.run.measure import meter_of
from fcbench.sampling import denoiser_calls
from fcbench.stacks import load_stack
from fcbench.types import Stack

PEAKS = {"H200": 989e12, "H100": 989e12, "A100": 312e12, "A6000": 155e12, "4090": 165e12, "L40S": 362e12, "L4": 121e12}
"""Dense half-precision FLOP/s by what is in a GPU's name, from its data sheet."""

HEADER = (
    f"{'':34} {'batch':>5} {'s/image':>9} {'steps/s':>8} {'ratio':>6} {'peak GiB':>9} {'reserved':>9} {'of peak':>8}"
)


@dataclass
class Taken:
    """What the repeats of one way took."""

    seconds: list[float] = field(default_factory=list)
    peak: int = 0
    reserved: int = 0
    failure: str = ""


def measure(ways: Mapping[str, Way], stack: Stack, repeats: int) -> dict[str, Taken]:
    """Let the ways take turns after one unmeasured turn each; a way that runs out of memory stays out."""
    meter = meter_of(stack)
    taken = {name: Taken() for name in ways}
    for turn in range(repeats + 1):
        for name, way in ways.items():
            result = taken[name]
            if result.failure:
                continue
            try:
                meter.settle()
                with way.around(), meter.phase() as cost:
                    way.work()
            except torch.OutOfMemoryError:
                result.failure = "out of memory"
                continue
            if turn:
                result.seconds.append(cost.seconds)
                others = sum(other.holds() for other in ways.values() if other is not way)
                is_cuda = stack.device.startswith("cuda")
                result.peak = max(result.peak, cost.peak_bytes - (others if is_cuda else 0))
                if is_cuda:
                    result.reserved = max(result.reserved, torch.cuda.max_memory_reserved(stack.device))
    return taken


def rows(
    taken: Mapping[str, Taken], batch: int, steps: int, flops: float, stack: Stack, first: Sequence[float] = ()
) -> Iterator[str]:
    """The table's lines of one group: ``steps`` and ``flops`` are those of one turn of any of its ways.

    Ratios are to the seconds ``first``, else to those of the group's first way.
    """
    first = first or next(iter(taken.values())).seconds
    peak = peak_flops(stack)
    for name, result in taken.items():
        if result.failure:
            yield f"{name:34} {batch:5} {result.failure}"
            continue
        seconds = statistics.median(result.seconds)
        ratio = statistics.median(a / b for a, b in zip(result.seconds, first, strict=False)) if first else float("nan")
        reserved = f"{result.reserved / 2**30:9.2f}" if result.reserved else f"{'-':>9}"
        share = f"{flops / seconds / peak:8.1%}" if peak else f"{'-':>8}"
        yield (
            f"{name:34} {batch:5} {seconds / batch:9.4f} {steps / seconds:8.2f} {ratio:6.3f} "
            f"{result.peak / 2**30:9.2f} {reserved} {share}"
        )


def peak_flops(stack: Stack) -> float | None:
    """The device's peak, None where it is not known."""
    if not stack.device.startswith("cuda"):
        return None
    name = torch.cuda.get_device_name(stack.device)
    return next((peak for part, peak in PEAKS.items() if part in name), None)


def describe(stack: Stack, options: argparse.Namespace) -> str:
    """What was measured, on what."""
    meter = meter_of(stack)
    found = [f"{name} {importlib.metadata.version(name)}" for name in ("torch", "diffusers")]
    steps = options.steps or stack.sampling["steps"]
    return (
        f"{stack.name}, {stack.image_size} px, {steps} steps, guidance {stack.sampling['guidance']}, {options.dtype}; "
        f"{meter.device}; {', '.join(found)}; median of {options.repeats}\n"
        f"peak: {meter.kind}"
        + ("" if stack.device.startswith("cuda") else ", in excess of what the loaded models hold")
        + "; ratio: time against the group's first line"
    )


def parse() -> argparse.Namespace:
    """The arguments."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--stack", default="mini")
    parser.add_argument("--random-weights", action="store_true")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--dtype", choices=("float32", "bfloat16", "float16"), default=None)
    parser.add_argument("--batches", type=int, nargs="+", default=[1, 4, 16])
    parser.add_argument("--steps", type=int, default=0, help="0: the stack's own")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--parts", nargs="+", choices=("sampling", "training"), default=["sampling", "training"])
    return parser.parse_args()


def load(options: argparse.Namespace, **more: Any) -> Stack:
    """The stack, its models in the type asked for: float32 on a CPU, bfloat16 on a GPU unless told otherwise."""
    stack = load_stack(options.stack, device=options.device, random_weights=options.random_weights, **more)
    options.dtype = options.dtype or ("bfloat16" if stack.device.startswith("cuda") else "float32")
    for role in ("text_encoder", "vae", "unet", "image_encoder", "fusion"):
        model = stack.role(role) if role in stack.load else None
        if model is not None and next(model.parameters()).dtype != getattr(torch, options.dtype):
            model.to(getattr(torch, options.dtype))
    return stack


def sampling_part(stack: Stack, options: argparse.Namespace) -> list[float]:
    """Print the lines on sampling; returns text only's seconds with the first batch."""
    first: list[float] = []
    steps = options.steps or stack.sampling["steps"]
    print(*check_calls(stack), sep="\n", flush=True)
    work = unet_flops(stack)
    with TemporaryDirectory() as scratch:
        for batch in options.batches:
            ways, calls = sampling_ways(stack, Path(scratch), batch, steps)
            taken = measure(ways, stack, options.repeats)
            print(*rows(taken, batch, calls, calls * batch * work, stack), sep="\n", flush=True)
            first = first or taken["text only"].seconds
    return first


def low_memory_part(options: argparse.Namespace, first: list[float]) -> None:
    """Print the line on the low-memory option, when nothing else is in memory, against ``first`` without it."""
    stack = load(options, low_memory=True)
    steps, batch = options.steps or stack.sampling["steps"], options.batches[0]
    calls = denoiser_calls(stack.role("scheduler"), steps)
    taken = measure(low_memory_way(stack, batch, steps), stack, options.repeats)
    print(*rows(taken, batch, calls, calls * batch * unet_flops(stack), stack, first), sep="\n", flush=True)


def training_part(stack: Stack, options: argparse.Namespace) -> None:
    """Print the lines on training."""
    work = training_flops(stack)
    for batch in options.batches:
        ways, losses = training_ways(stack, batch, options.dtype)
        taken = measure(ways, stack, options.repeats)
        print(*rows(taken, batch, 1, batch * work, stack), losses(), sep="\n", flush=True)
        del ways, losses  # the next batch brings optimisers of its own


def main() -> None:
    """Measure and print."""
    options = parse()
    diffusers.logging.set_verbosity_error()
    transformers.logging.set_verbosity_error()
    stack = load(options)
    print(describe(stack, options), HEADER, sep="\n", flush=True)
    first = sampling_part(stack, options) if "sampling" in options.parts else []
    if "training" in options.parts:
        training_part(stack, options)
    if first:
        del stack
        low_memory_part(options, first)


if __name__ == "__main__":
    main()
