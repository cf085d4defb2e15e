"""Means with intervals and paired differences with p values, as every table of the report shows them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from fcbench.report.statistics.bootstrap import half_width
from fcbench.report.statistics.flips import sign_flip
from fcbench.report.statistics.table import Group, tabulate
from fcbench.report.statistics.variance import LEAST_CLUSTERS

ALIKE = 1e-6
"""Scores that differ by no more than this are equal but for rounding."""


@dataclass(frozen=True)
class Estimate:
    """A mean over ``count`` pictures of ``subjects`` people with its 95 % interval.

    ``note``: why it has no interval, or that it is over people alone.
    """

    value: float | None
    low: float | None = None
    high: float | None = None
    count: int = 0
    subjects: int = 0
    note: str = ""


@dataclass(frozen=True)
class Difference:
    """A mean of paired differences with its interval, and the sign-flip test's two-sided ``p``."""

    estimate: Estimate
    p: float | None


def mean(
    values: Sequence[float],
    groups: Sequence[Group],
    prompts: Sequence[str],
    *,
    bounds: tuple[float, float] | None = None,
) -> Estimate:
    """The mean of one score per picture with its 95 % interval, cut to ``bounds`` (the score's range) if given.

    ``groups[i]`` are the subjects in picture ``i``, ``prompts[i]`` its prompt's id. No interval below six subjects, nor
    if all pictures score alike, as nothing then tells how much others would differ. Below six prompts it holds for
    these prompts only, over people alone.
    """
    if not values:
        return Estimate(None, note="no picture was scored")
    table = tabulate(values, groups, prompts)
    if table.subjects < LEAST_CLUSTERS:
        note = f"no interval below {LEAST_CLUSTERS} subjects"
        return Estimate(table.mean, count=len(values), subjects=table.subjects, note=note)
    if np.ptp(values) <= ALIKE:
        note = "no interval: all pictures score alike"
        return Estimate(table.mean, count=len(values), subjects=table.subjects, note=note)
    half = half_width(table)
    least, most = bounds if bounds is not None else (-np.inf, np.inf)
    low, high = float(max(table.mean - half, least)), float(min(table.mean + half, most))
    few = f"interval over people alone: below {LEAST_CLUSTERS} prompts" if table.prompts < LEAST_CLUSTERS else ""
    return Estimate(table.mean, low, high, len(values), table.subjects, few)


def difference(
    first: Sequence[float],
    second: Sequence[float],
    groups: Sequence[Group],
    prompts: Sequence[str],
    *,
    bounds: tuple[float, float] | None = None,
) -> Difference:
    """The mean of ``first - second``: two methods' scores (within ``bounds``) of the same cases in the same order."""
    differences = [a - b for a, b in zip(first, second, strict=True)]
    span = None if bounds is None else bounds[1] - bounds[0]
    estimate = mean(differences, groups, prompts, bounds=None if span is None else (-span, span))
    if estimate.value is None or estimate.subjects < LEAST_CLUSTERS:
        return Difference(estimate, None)
    if not any(differences):
        return Difference(estimate, 1.0)
    return Difference(estimate, sign_flip(tabulate(differences, groups, prompts)))
