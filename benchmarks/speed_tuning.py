"""Seconds per step and peak memory of the tuned methods, on both tracks, and what a subject costs by each preset.

``--stack sd15 --random-weights`` on a GPU is what it is for; ``--stack mini`` shows the table's shape anywhere. After
``--warm-up`` steps ``--steps`` are timed, the tracks of a method in turns, ``--repeats`` times; medians are printed. A
subject's cost is extrapolated: steps of the preset times their seconds. Class images are pictures of noise here: what
making them costs is sampling, which ``benchmarks/speed.py`` times. The paper's figures (one subject, an A6000,
customising and drawing together) stand beside it. A method that does not fit into memory says so; on a CPU give it a
limit (``ulimit -v``), or the system kills the whole program. *CPU s*: the program's own processor time per step, all
threads together, which other work on the machine does not lengthen.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from PIL import Image as Pillow

from baselines.tuning.batches import Batches
from baselines.tuning.loop import Tuner
from baselines.tuning.method import Tuned
from fcbench import plugins
from fcbench.run.calls import reason
from fcbench.run.measure import meter_of
from fcbench.stacks import load_stack
from fcbench.types import Stack, Subject

HEADER = (
    f"{'':29} {'preset':10} {'batch':>9} {'s/step':>9} {'CPU s':>9} {'ratio':>6} {'peak GiB':>9} "
    f"{'reserved':>9} {'steps':>6} {'s/subject':>10}   paper"
)

METHODS = ("dreambooth", "dreambooth-lora", "textual-inversion", "custom-diffusion")
TRACKS = ("reference", "optimised")
ROLES = ("tokenizer", "text_encoder", "vae", "unet", "scheduler")
PAPER = {"dreambooth": (1084, 40), "textual-inversion": (2500, 17), "custom-diffusion": (789, 29)}
"""Seconds and GB of one subject, by the paper's table."""


def pictures(folder: Path, name: str, count: int, size: int) -> list[Path]:
    """Pictures of noise."""
    files = [folder / f"{name}{number}.png" for number in range(count)]
    for number, file in enumerate(files):
        Pillow.fromarray(np.random.default_rng(number).integers(0, 256, (size, size, 3), dtype=np.uint8)).save(file)
    return files


class Way:
    """A method on one track, ready to step."""

    def __init__(self, name: str, options: dict[str, str], stack: Stack, scratch: Path) -> None:
        self.method: Any = plugins.load("methods", name, options)
        assert isinstance(self.method, Tuned)
        self.stack, self.recipe = stack, self.method.recipe(stack)
        self.subject = Subject("noise", "man", tuple(pictures(scratch, "photo", 5, stack.image_size)))
        has_prior = bool(self.method.class_prompt("man") and self.recipe.prior_weight)
        self.priors = [pictures(scratch, "class", 8, stack.image_size)] if has_prior else []
        self.seconds: list[float] = []
        self.processor: list[float] = []
        self.peak = self.reserved = 0

    @property
    def batch(self) -> str:
        """Pictures in a step: subjects' and class images', by accumulation."""
        of_class = f"+{self.recipe.batch_size}" if self.priors else ""
        return f"{self.recipe.batch_size}{of_class} x {self.recipe.accumulation}"

    def measure(self, warm_up: int, steps: int) -> None:
        """Begin a new fit, and time steps of it."""
        meter = meter_of(self.stack)
        meter.settle()
        with meter.phase() as whole:
            _, tuner, batches = self.method.begin(self.stack, [self.subject], self.priors, seed=0)
            advance(tuner, batches, warm_up)
        begun = time.process_time()
        with meter.phase() as cost:
            advance(tuner, batches, steps)
        self.processor.append((time.process_time() - begun) / steps)
        self.seconds.append(cost.seconds / steps)
        self.peak = max(self.peak, whole.peak_bytes, cost.peak_bytes)
        if self.stack.device.startswith("cuda"):
            self.reserved = max(self.reserved, torch.cuda.max_memory_reserved(self.stack.device))


def advance(tuner: Tuner, batches: Batches, steps: int) -> None:
    """Take so many steps of the optimiser."""
    until = tuner.step + steps
    while tuner.step < until:
        tuner.advance(batches(tuner.micro))


def turns(ways: Sequence[Way], options: argparse.Namespace) -> str:
    """Measure the ways in turns; returns what ended it, or an empty text."""
    try:
        for _ in range(options.repeats):
            for way in ways:
                way.measure(options.warm_up, options.steps)
    except (MemoryError, RuntimeError) as error:
        if reason(error) != "out of memory":
            raise
        return f"does not fit into memory: {str(error).splitlines()[0]}"
    return ""


def report(name: str, ways: dict[str, Way]) -> None:
    """The lines of a method."""
    first = next(iter(ways.values())).seconds
    for track, way in ways.items():
        second = statistics.median(way.seconds)
        ratio = statistics.median(a / b for a, b in zip(way.seconds, first, strict=True))
        paper = "{} s, {} GB".format(*PAPER[name]) if name in PAPER else "-"
        print(
            f"{name:18} {track:10} {way.recipe.preset:10} {way.batch:>9} {second:9.4f} "
            f"{statistics.median(way.processor):9.4f} {ratio:6.3f} "
            f"{way.peak / 2**30:9.2f} {way.reserved / 2**30:9.2f} {way.recipe.steps:6} "
            f"{way.recipe.steps * second:10.1f}   {paper}",
            flush=True,
        )


def chosen(options: argparse.Namespace, track: str) -> dict[str, str]:
    """A method's options on a track."""
    return {
        "track": track,
        "preset": options.preset,
        "mixed_precision": options.mixed_precision,
        "gradient_checkpointing": str(options.gradient_checkpointing).lower(),
    }


def read_options() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--stack", default="mini")
    parser.add_argument("--random-weights", action="store_true")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--preset", default="", help="empty: the one that a run takes")
    parser.add_argument("--methods", nargs="+", choices=METHODS, default=list(METHODS))
    parser.add_argument("--tracks", nargs="+", choices=TRACKS, default=list(TRACKS))
    parser.add_argument("--mixed-precision", choices=("", "fp16", "bf16"), default="")
    parser.add_argument("--gradient-checkpointing", action="store_true")
    parser.add_argument("--warm-up", type=int, default=3)
    parser.add_argument("--steps", type=int, default=50)
    parser.add_argument("--repeats", type=int, default=3)
    return parser.parse_args()


def main() -> None:
    """Measure and print."""
    options = read_options()
    stack = load_stack(options.stack, device=options.device, random_weights=options.random_weights)
    for role in ROLES:
        stack.role(role)
    told = f"{meter_of(stack).device}; torch {torch.__version__}; {stack.role('unet').dtype}"
    ways_of_computing = ", ".join(
        [options.mixed_precision or "no mixed precision asked for"]
        + ["gradient checkpointing"] * options.gradient_checkpointing
    )
    print(f"{stack.name}, {stack.image_size} px; {told}; {ways_of_computing}")
    print(HEADER)
    for name in options.methods:
        with TemporaryDirectory() as scratch:
            ways = {track: Way(name, chosen(options, track), stack, Path(scratch)) for track in options.tracks}
            failure = turns(list(ways.values()), options)
        if failure:
            print(f"{name:18} {failure}", flush=True)
        else:
            report(name, ways)


if __name__ == "__main__":
    main()
