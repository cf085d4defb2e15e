"""Whether two methods differ: their paired differences with signs flipped at random.

If the methods were alike, what a person adds to the difference could as well have gone to the other method, and so
could what a prompt adds. So the differences are taken apart into what people, groups, prompts and single cells add,
each of these parts gets a random sign, and the whole is put together again. The p value is the share of such tables
whose mean is at least as many standard errors from 0 as the observed one. Each table is measured in its own standard
error, which keeps the test honest where groups share people and cells share prompts, whose signs no exact test could
flip one by one.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from fcbench.report.statistics.table import Array, Table
from fcbench.report.statistics.variance import LEAST_CLUSTERS, prompt_part, subject_part, together

FLIPS = 4_999
"""How many sign patterns are drawn beside the observed one."""


@dataclass(frozen=True)
class _Parts:
    """What the differences are made of; a cell's parts add up to its difference."""

    subjects: Array
    groups: Array
    """What groups add beyond their people: 0 for singles."""
    prompts: Array
    cells: Array


def sign_flip(table: Table, *, seed: int = 0, flips: int = FLIPS) -> float:
    """The two-sided p value of "the mean of these differences is 0"; needs six subjects."""
    parts, random = _parts(table), np.random.default_rng(seed)

    def signs(size: int) -> Array:
        drawn = random.integers(0, 2, (flips, size), dtype=np.int8) * 2 - 1
        return np.concatenate([np.ones((1, size)), drawn.astype(np.float64)])  # the observed pattern first

    by_group = (signs(table.subjects) * parts.subjects) @ table.member.T + signs(len(parts.groups)) * parts.groups
    by_prompt = signs(table.prompts) * parts.prompts
    distances = _distances(table, by_group, by_prompt, parts.cells, signs(len(parts.groups)), signs(table.prompts))
    # Patterns that tie in exact arithmetic must tie here too.
    return float(np.mean(distances >= distances[0] * (1 - 1e-9)))


def _parts(table: Table) -> _Parts:
    counts = table.counts
    means = table.sums.sum(1) / counts.sum(1)
    subjects = np.linalg.lstsq(table.member, means, rcond=None)[0]
    rest = np.where(counts > 0, table.sums / np.maximum(counts, 1) - means[:, None], 0.0)
    prompts = np.zeros(table.prompts)
    if table.prompts >= LEAST_CLUSTERS:  # fewer count as given: no sample whose signs could differ
        prompts = (rest * counts).sum(0) / np.maximum(counts.sum(0), 1)
    return _Parts(subjects, means - table.member @ subjects, prompts, np.where(counts > 0, rest - prompts, 0.0))


def _distances(table: Table, a: Array, b: Array, cells: Array, v: Array, w: Array) -> Array:
    """How many standard errors from 0 a table's mean is if its cell (g, p) holds a[g] + b[p] + v[g] w[p] cells[g, p].

    ``a`` and ``v`` have shape (tables, groups), ``b`` and ``w`` (tables, prompts), ``cells`` (groups, prompts). The
    tables themselves, gigabytes of them, are never written out: sums over their cells are products of matrices.
    """
    n, size = table.counts, table.counts.sum()
    group_sums = a * n.sum(1) + b @ n.T + v * (w @ (n * cells).T)
    means = group_sums.sum(1) / size
    everyone = np.ones((1, table.subjects))
    between = subject_part(table, group_sums - means[:, None] * n.sum(1), everyone, np.ones((1, len(n))))
    variance = between
    if table.prompts >= LEAST_CLUSTERS:
        prompt_sums = a @ n + b * n.sum(0) + w * (v @ (n * cells))
        across = prompt_part(prompt_sums - means[:, None] * n.sum(0), np.ones((1, table.prompts)))
        squares = _squares(n**2, a - means[:, None], b, cells, v, w)
        variance = together(between, across, squares)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(np.abs(means) < 1e-12, 0.0, np.abs(means) * size / np.sqrt(variance))


def _squares(n: Array, a: Array, b: Array, cells: Array, v: Array, w: Array) -> Array:
    """Sum over the cells of n (a + b + v w cell)^2, multiplied out; shape (tables,)."""
    weighted = n * cells
    plain = a**2 @ n.sum(1) + b**2 @ n.sum(0) + float((weighted * cells).sum())
    mixed = (a * (b @ n.T)).sum(1) + (a * v * (w @ weighted.T)).sum(1) + (b * w * (v @ weighted)).sum(1)
    return np.asarray(plain + 2 * mixed)
