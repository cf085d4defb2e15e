"""How much a mean over subjects x prompts would vary with other subjects and other prompts.

Two pictures depend on each other when they share a subject or a prompt. The variance is that of subjects plus that of
prompts minus that of single cells, which both include (two-way clustering: Cameron, Gelbach, Miller, "Robust inference
with multiway clustering", JBES 2011); two groups that share a person are dependent (dyadic clustering: Aronow,
Samii, Assenova, Political Analysis 2015). It is never taken below either part alone, though the sum can be.
"""

from __future__ import annotations

import numpy as np

from fcbench.report.statistics.table import Array, Table

LEAST_CLUSTERS = 6
"""Below this many subjects there is no interval; below this many prompts they count as given, not as a sample."""


def resampled_means(table: Table, subjects: Array, prompts: Array) -> tuple[Array, Array]:
    """Means and their standard errors where subject ``s`` was drawn ``subjects[b, s]`` times, likewise prompts.

    ``subjects`` has shape (draws, subjects), ``prompts`` (draws, prompts), whole numbers from 0; a group counts as
    often as its members' product. Returns two arrays of shape (draws,); for a draw without a picture both are nan.
    """
    groups = _group_weights(table, subjects)
    sums, counts = prompts @ table.sums.T, prompts @ table.counts.T
    size = (groups * counts).sum(1)
    with np.errstate(invalid="ignore", divide="ignore"):
        means = (groups * sums).sum(1) / size
        between = subject_part(table, sums - means[:, None] * counts, subjects, groups)
        if table.prompts < LEAST_CLUSTERS:
            return means, np.sqrt(between) / size
        by_prompt = groups @ table.sums - means[:, None] * (groups @ table.counts)
        across = prompt_part(by_prompt, prompts)
        return means, np.sqrt(together(between, across, _cell_part(table, groups, prompts, means))) / size


def subject_part(table: Table, deviations: Array, subjects: Array, groups: Array) -> Array:
    """Sum over every two groups that share people, and every group with itself, of the product of their deviations.

    Summed by person, two groups count once for each person they share: so the sum over pairs of people is taken off,
    that over trios added again, and so on up to whole groups, which share all members with themselves alone.
    ``deviations`` (one per group) and ``groups`` (how often each counts) have shape (draws, groups).
    """
    weighted, copies = groups * deviations, np.where(subjects > 0, subjects, 1.0)
    shared = ((weighted @ table.member) ** 2 / copies).sum(1)
    if not table.overlap:
        return _scaled(shared, subjects.sum(1))
    own = groups * deviations**2
    for size in range(2, table.largest):
        people = table.together(size)
        both = weighted @ table.member[:, people].prod(2)
        shared = shared + (-1) ** (size - 1) * (both**2 / copies[:, people].prod(2)).sum(1)
    whole = np.where(table.sizes == table.largest, own, 0.0).sum(1)
    shared = shared + (-1) ** (table.largest - 1) * whole
    return np.asarray(np.maximum(_scaled(shared, subjects.sum(1)), own.sum(1)))


def prompt_part(deviations: Array, prompts: Array) -> Array:
    """Sum over prompts of the square of their summed deviations; both have shape (draws, prompts)."""
    return _scaled((prompts * deviations**2).sum(1), prompts.sum(1))


def together(between: Array, across: Array, within: Array) -> Array:
    """The variance of subjects and prompts together: what both share, the cells, counts once."""
    return np.asarray(np.maximum(between + across - np.maximum(within, 0.0), np.maximum(between, across)))


def _group_weights(table: Table, subjects: Array) -> Array:
    """The product of the members' weights, shape (draws, groups)."""
    members = np.argsort(-table.member, axis=1, kind="stable")  # a group's members come first
    weights = subjects[:, members[:, 0]]
    for place in range(1, table.largest):
        weights = weights * np.where(place < table.sizes, subjects[:, members[:, place]], 1.0)
    return np.asarray(weights)


def _cell_part(table: Table, groups: Array, prompts: Array, means: Array) -> Array:
    """Sum over cells of their squared deviations."""

    def total(cells: Array) -> Array:
        return np.asarray(((groups @ cells) * prompts).sum(1))

    return total(table.sums**2) - 2 * means * total(table.sums * table.counts) + means**2 * total(table.counts**2)


def _scaled(squares: Array, clusters: Array) -> Array:
    """Corrected for the mean being taken from the same clusters."""
    return np.asarray(squares * clusters / np.maximum(clusters - 1, 1))
