"""Do 95 % intervals cover the truth 95 times in 100, and does the test find nothing where there is nothing?

Scores are made up of what people, prompts, pairs and single pictures add, with a true mean of 0. Each line is a suite's
shape and a mix of those parts. Prints the share of intervals that hold 0, and of comparisons of two equal
methods in which the test finds a difference at 5 %. Aims: 93-97 %, and at most 5 %, up to the simulation's own error.

    python benchmarks/simulate_statistics.py --draws 2000
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import combinations

import numpy as np
import numpy.typing as npt

from fcbench.report.statistics import bootstrap, flips
from fcbench.report.statistics.table import Table
from fcbench.run.cases import balanced

Array = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Shape:
    """Who is drawn with whom, under how many prompts."""

    name: str
    people: int
    groups: tuple[tuple[int, ...], ...]
    prompts: int


@dataclass(frozen=True)
class Mix:
    """Standard deviations of what people, prompts and single pictures add; skewed: the first two are exponential.

    ``rare``: instead, a picture scores 1 that often and else 0, as outcomes do.
    """

    name: str
    people: float
    prompts: float
    pictures: float
    skewed: bool = False
    rare: float = 0.0


def singles(people: int, prompts: int) -> Shape:
    """Everybody alone."""
    return Shape(f"{people} people x {prompts}", people, tuple((i,) for i in range(people)), prompts)


def pairs(people: int, count: int, prompts: int) -> Shape:
    """``count`` of the pairs that the people make."""
    every = list(combinations(range(people), 2))
    twos = every if count == len(every) else balanced(people, 2, count)
    return Shape(f"{people} people, {count} pairs x {prompts}", people, tuple(twos), prompts)


def trios(people: int, count: int, prompts: int) -> Shape:
    """``count`` of the trios that the people make."""
    return Shape(f"{people} people, {count} trios x {prompts}", people, tuple(balanced(people, 3, count)), prompts)


ALONE = (singles(15, 40), singles(24, 12), singles(50, 12))
TOGETHER = (pairs(15, 105, 21), pairs(24, 24, 8), pairs(50, 100, 12), trios(24, 16, 8), trios(50, 100, 12))
SMALL = (singles(6, 8), pairs(6, 6, 6))
MIXES = (
    Mix("pictures alone", 0.0, 0.0, 1.0),
    Mix("people a little", 0.3, 0.0, 1.0),
    Mix("people much", 1.0, 0.0, 0.5),
    Mix("people and prompts", 1.0, 0.5, 1.0),
    Mix("prompts much", 0.3, 1.0, 1.0),
)
SKEWED = Mix("skewed people", 1.0, 0.5, 1.0, skewed=True)
RARE = tuple(Mix(f"1 in {n}, else 0", 0.0, 0.0, 0.0, rare=1 / n) for n in (10, 30))


def draw(shape: Shape, mix: Mix, random: np.random.Generator) -> Table:
    """A table of scores whose true mean is 0."""
    if mix.rare:
        scores = (random.random((len(shape.groups), shape.prompts)) < mix.rare) - mix.rare
        return Table(scores, np.ones_like(scores), _members(shape))
    member = _members(shape)

    def effects(count: int) -> Array:
        return random.exponential(size=count) - 1 if mix.skewed else random.standard_normal(count)

    scores = (member @ effects(shape.people) * mix.people)[:, None] + effects(shape.prompts) * mix.prompts
    scores = scores + mix.pictures * random.standard_normal(scores.shape)
    if len(shape.groups[0]) > 1:  # several together are more than the sum of them
        scores = scores + 0.3 * random.standard_normal((len(scores), 1))
    return Table(scores, np.ones_like(scores), member)


def _members(shape: Shape) -> Array:
    member = np.zeros((len(shape.groups), shape.people))
    for row, group in enumerate(shape.groups):
        member[row, list(group)] = 1.0
    return member


def covered(shape: Shape, mix: Mix, draws: int, *, resamples: int = bootstrap.DRAWS) -> float:
    """The share of intervals that hold the truth."""
    random = np.random.default_rng(0)
    hits = []
    for i in range(draws):
        table = draw(shape, mix, random)
        half = bootstrap.half_width(table, seed=2 * (i % 8), draws=resamples)  # few seeds: drawing takes the most time
        hits.append(abs(table.mean) <= half)
    return float(np.mean(hits))


def found(shape: Shape, mix: Mix, draws: int, *, resamples: int = 999) -> float:
    """The share of comparisons of two equal methods that come out as different at 5 %."""
    tables = _alike(shape, mix, draws, np.random.default_rng(1))
    return float(np.mean([flips.sign_flip(table, seed=i, flips=resamples) <= 0.05 for i, table in enumerate(tables)]))


def _alike(shape: Shape, mix: Mix, draws: int, random: np.random.Generator) -> Iterator[Table]:
    """Differences of two methods' tables, drawn alike."""
    for _ in range(draws):
        first, second = draw(shape, mix, random), draw(shape, mix, random)
        yield Table((first.sums - second.sums) / np.sqrt(2), first.counts, first.member)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--draws", type=int, default=1000)
    draws = parser.parse_args().draws
    error = 100 * np.sqrt(0.05 * 0.95 / draws)
    print(f"{draws} draws a line; the simulation's own standard error is {error:.1f} points")
    print(f"{'suite':30} {'what scores are made of':22} {'covered %':>10} {'found %':>8}")
    for shape in (*ALONE, *TOGETHER, *SMALL):
        for mix in (*MIXES, SKEWED, *RARE):
            row = 100 * covered(shape, mix, draws), 100 * found(shape, mix, draws)
            print(f"{shape.name:30} {mix.name:22} {row[0]:10.1f} {row[1]:8.1f}", flush=True)


if __name__ == "__main__":
    main()
