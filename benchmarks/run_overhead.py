"""How much longer the runner takes for a suite than calling the sampler directly.

Both draw the same cases in the same batches, in turns; a picture's cost is set by ``--milliseconds``. The ratio of
the medians is printed, and the difference for one case. Starting the worker's process is not in it.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from time import perf_counter

import numpy as np

from fcbench import store
from fcbench.run.cases import Group, case_seed
from fcbench.run.draw import Drawing
from fcbench.run.measure import MEASURED, meter_of
from fcbench.types import Capabilities, Case, Image, Prompt, Stack, Subject


@dataclass
class Busy:
    """A method, its own sampler, that computes for ``seconds`` per picture."""

    seconds: float
    capabilities = Capabilities(max_subjects=1)

    def fit(self, stack: Stack, subjects: Sequence[Subject], *, seed: int, workdir: Path) -> Busy:
        """Nothing to do."""
        return self

    def __call__(self, prompts: Sequence[Prompt], seeds: Sequence[int]) -> list[Image]:
        """Noise of 64 x 64 pixels."""
        end = perf_counter() + self.seconds * len(seeds)
        pictures = [np.random.default_rng(seed).integers(0, 256, (64, 64, 3), np.uint8) for seed in seeds]
        while perf_counter() < end:
            pass
        return pictures

    def save(self, folder: Path) -> None:
        """Nothing to keep."""


def groups(subjects: int, prompts: int) -> list[Group]:
    """A suite's worth of cases."""
    people = [Subject(f"s{i}", "man", (Path("0.png"),)) for i in range(subjects)]
    texts = [Prompt(f"p{i}", "{} in the snow", "context") for i in range(prompts)]
    return [Group((person,), tuple(Case((person,), text, 0) for text in texts)) for person in people]


def seconds_direct(method: Busy, suite: Sequence[Group]) -> float:
    """The sampler alone."""
    start = perf_counter()
    for group in suite:
        for batch in group.batches:
            method([case.prompt for case in batch], [case_seed(case) for case in batch])
    return perf_counter() - start


def seconds_run(method: Busy, suite: Sequence[Group]) -> float:
    """The runner's loop, from an empty folder to the last committed row, less its warm-up picture."""
    with TemporaryDirectory() as folder:
        stack = Stack("none", {}, 64)
        record = dict.fromkeys(MEASURED)
        run = store.RunFolder(Path(folder))
        start = perf_counter()
        Drawing(run, method, stack, meter_of(stack), record, lambda event: None, fail_fast=True).draw(suite)
        return perf_counter() - start - float(record["warm_up_seconds"] or 0)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--milliseconds", type=float, default=100, help="what one picture costs")
    parser.add_argument("--subjects", type=int, default=6)
    parser.add_argument("--prompts", type=int, default=12)
    parser.add_argument("--repeats", type=int, default=3)
    arguments = parser.parse_args()
    method, suite = Busy(arguments.milliseconds / 1000), groups(arguments.subjects, arguments.prompts)
    cases = sum(len(group.cases) for group in suite)
    pairs = [(seconds_direct(method, suite), seconds_run(method, suite)) for _ in range(arguments.repeats)]
    direct, run = (median(column) for column in zip(*pairs, strict=True))
    device = meter_of(Stack("none", {}, 64)).device
    print(f"{cases} cases of {arguments.milliseconds:g} ms, median of {arguments.repeats}, on {device}")
    print(f"sampler alone {direct:.2f} s, run {run:.2f} s: ratio {run / direct:.3f}")
    print(f"{(run - direct) / cases * 1e3:.1f} ms more a case")


if __name__ == "__main__":
    main()
