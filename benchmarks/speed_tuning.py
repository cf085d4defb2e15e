"""Seconds a step and peak memory of the tuned methods, on both tracks, and what a subject costs by each preset.

``--stack sd15 --random-weights`` on a GPU is what it is for; ``--stack mini`` shows the table's shape anywhere. After
``--warm-up`` steps ``--steps`` are timed, the tracks of a method in turns, ``--repeats`` times; medians are printed. A
subject's cost is extrapolated: steps of the preset times seconds a step, class images apart. The paper's figures (one
subject, an A6000, customising and drawing together) stand beside it.
"""

from __future__ import annotations

import argparse
import statistics
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from PIL import Image as Pillow

from baselines.tuning.batches import Batches
from baselines.tuning.loop import Course, Tuner
from baselines.tuning.method import Tuned
from baselines.tuning.prior import pictures_in
from fcbench import plugins
from fcbench.run.measure import meter_of
from fcbench.stacks import load_stack
from fcbench.types import Stack, Subject

HEADER = (
    f"{'':29} {'preset':10} {'s/step':>9} {'ratio':>6} {'peak GiB':>9} {'reserved':>9} {'steps':>6} "
    f"{'s/subject':>10}   paper"
)

METHODS = ("dreambooth", "dreambooth-lora", "textual-inversion", "custom-diffusion")
PAPER = {"dreambooth": (1084, 40), "textual-inversion": (2500, 17), "custom-diffusion": (789, 29)}
"""Seconds and GB of one subject, by the paper's table."""


def photos(folder: Path, size: int) -> Subject:
    """A subject of five photos of noise."""
    files = tuple(folder / f"{view}.png" for view in range(5))
    for view, file in enumerate(files):
        Pillow.fromarray(np.random.default_rng(view).integers(0, 256, (size, size, 3), dtype=np.uint8)).save(file)
    return Subject("noise", "man", files)


class Way:
    """A method on one track, ready to step."""

    def __init__(self, name: str, track: str, preset: str, stack: Stack, subject: Subject, shelf: Path) -> None:
        self.method: Any = plugins.load("methods", name, {"track": track, "preset": preset, "prior_images": "4"})
        assert isinstance(self.method, Tuned)
        self.stack, self.subject, self.shelf = stack, subject, shelf
        self.recipe = replace(self.method.recipe(stack), prior_steps=1)
        self.seconds: list[float] = []
        self.peak = self.reserved = 0

    def measure(self, warm_up: int, steps: int) -> None:
        """Begin a fit of its own, and time steps of it."""
        meter, fast = meter_of(self.stack), self.method.track == "optimised"
        meter.settle()
        folder = self.method.prepare(self.stack, self.subject.noun, shelf=self.shelf)
        priors = [pictures_in(folder)] if folder else []
        with meter.phase() as whole:
            task = self.method.task(self.stack, [self.subject], self.recipe, 0)
            pictures = self.method.photos(self.stack, [self.subject], self.recipe, priors)
            batches = Batches(task.stack, pictures, batch_size=self.recipe.batch_size, seed=0, keep=fast)
            tuner = Tuner(task, course(self.method, self.stack, batches.passes))
            advance(tuner, batches, warm_up)
        with meter.phase() as cost:
            advance(tuner, batches, steps)
        self.seconds.append(cost.seconds / steps)
        self.peak = max(self.peak, whole.peak_bytes, cost.peak_bytes)
        if self.stack.device.startswith("cuda"):
            self.reserved = max(self.reserved, torch.cuda.max_memory_reserved(self.stack.device))


def course(method: Any, stack: Stack, passes: int) -> Course:
    """The method's own course on this track."""
    recipe = method.recipe(stack)
    fast = method.track == "optimised"
    return Course(
        steps=recipe.steps,
        learning_rate=method.rate(recipe),
        passes=passes,
        accumulation=recipe.accumulation,
        clip=recipe.clip,
        autocast=torch.bfloat16 if fast and stack.device != "cpu" else None,
        fused=fast,
    )


def advance(tuner: Tuner, batches: Batches, steps: int) -> None:
    """Take so many steps of the optimiser."""
    until = tuner.step + steps
    while tuner.step < until:
        tuner.advance(batches(tuner.micro))


def report(ways: dict[str, Way], name: str) -> None:
    """The lines of a method."""
    first = next(iter(ways.values())).seconds
    for track, way in ways.items():
        second = statistics.median(way.seconds)
        ratio = statistics.median(a / b for a, b in zip(way.seconds, first, strict=True))
        paper = "{} s, {} GB".format(*PAPER[name]) if name in PAPER else "-"
        print(
            f"{name:18} {track:10} {way.recipe.preset:10} {second:9.4f} {ratio:6.3f} {way.peak / 2**30:9.2f} "
            f"{way.reserved / 2**30:9.2f} {way.recipe.steps:6} {way.recipe.steps * second:10.1f}   {paper}",
            flush=True,
        )


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--stack", default="mini")
    parser.add_argument("--random-weights", action="store_true")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--preset", default="", help="empty: the one that a run takes")
    parser.add_argument("--methods", nargs="+", choices=METHODS, default=list(METHODS))
    parser.add_argument("--warm-up", type=int, default=3)
    parser.add_argument("--steps", type=int, default=50)
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args()
    stack = load_stack(options.stack, device=options.device, random_weights=options.random_weights)
    where = f"{meter_of(stack).device}; torch {torch.__version__}"
    print(f"{stack.name}, {stack.image_size} px; {where}; class images: 4, apart")
    print(HEADER)
    with TemporaryDirectory() as scratch:
        subject = photos(Path(scratch), stack.image_size)
        for name in options.methods:
            ways = {
                track: Way(name, track, options.preset, stack, subject, Path(scratch) / "shelf")
                for track in ("reference", "optimised")
            }
            for _ in range(options.repeats):
                for way in ways.values():
                    way.measure(options.warm_up, options.steps)
            report(ways, name)


if __name__ == "__main__":
    main()
