"""Means over pictures that share subjects, and how sure they are.

The subjects are the sample, not the pictures: what one face does to a score it does to every picture of that
person, and pairs that share a person are alike too. So two pictures count as dependent when they share a subject,
and one variance serves singles and pairs (dyadic-robust: Aronow, Samii, Assenova, "Cluster-robust variance
estimation for dyadic data", Political Analysis 2015). It is scaled to be unbiased, and its degrees of freedom are
those of Bell and McCaffrey (Survey Methodology 2002), under a working model in which every subject and every pair
has an effect of its own. It is never taken below the variance that treats pairs as independent, since the
difference of the two can turn negative. With 24 subjects, alone or in 24 pairs, and normal effects, simulated 95 %
intervals cover 92-98 % (``tests/unit/test_statistics.py``). Strongly skewed effects can bring that down to about
91 %; six pairs of six people make it too high instead, the intervals being very wide.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]
Group = tuple[str, ...]
"""The ids of the subjects in one picture."""

LEAST_SUBJECTS = 6
"""Below this many subjects no interval is given."""

FLIPS = 20_000
"""How many sign patterns a permutation test draws when there are too many to try all."""


@dataclass(frozen=True)
class Estimate:
    """A mean over ``count`` pictures with its interval; None where there is none, and then ``note`` says why."""

    value: float | None
    low: float | None = None
    high: float | None = None
    count: int = 0
    note: str = ""


@dataclass(frozen=True)
class Difference:
    """A mean of paired differences with its interval, and ``p``, two-sided, by the named test."""

    estimate: Estimate
    p: float | None
    test: str


@dataclass(frozen=True)
class _Clusters:
    """What the variance needs to know of who is in which picture, whatever the scores."""

    shared: Array
    """1 where two groups share a subject, shape (groups, groups)."""
    scale: float
    scale_apart: float
    freedom: float
    subjects: int
    disjoint: bool


def mean(values: Sequence[float], groups: Sequence[Group], *, bounds: tuple[float, float] | None = None) -> Estimate:
    """The mean of one score a picture with its 95 % interval, cut to ``bounds`` (the score's range) if given.

    ``groups[i]`` are the subjects in picture ``i``. No interval below six subjects.
    """
    if not values:
        return Estimate(None, note="no picture was scored")
    scores = np.asarray(values, dtype=np.float64)
    centre = float(scores.mean())
    labels, sums, sizes = _sums(scores - centre, groups)
    clusters = _clusters(labels, sizes)
    if clusters.subjects < LEAST_SUBJECTS:
        return Estimate(centre, count=len(scores), note=f"no interval below {LEAST_SUBJECTS} subjects")
    half = t_quantile(0.975, clusters.freedom) * _standard_error(sums, len(scores), clusters)
    least, most = bounds if bounds is not None else (-np.inf, np.inf)
    return Estimate(centre, float(max(centre - half, least)), float(min(centre + half, most)), len(scores))


def difference(
    first: Sequence[float], second: Sequence[float], groups: Sequence[Group], *, seed: int = 0
) -> Difference:
    """The mean of ``first - second``, two methods' scores of the same cases in the same order.

    Subjects in no common picture (singles): a sign-flip permutation test on the subjects' mean differences, exact up
    to 14 subjects, else from 20 000 seeded draws. Pairs, whose subjects overlap: the t test of the interval, as signs
    of overlapping groups cannot be flipped one by one.
    """
    differences = np.asarray(first, dtype=np.float64) - np.asarray(second, dtype=np.float64)
    estimate = mean(list(differences), groups)
    if estimate.value is None or estimate.low is None:
        return Difference(estimate, None, "none")
    labels, totals, sizes = _sums(differences, groups)
    clusters = _clusters(labels, sizes)
    if clusters.disjoint:
        return Difference(estimate, sign_flip(totals, seed=seed), "sign flip")
    error = _standard_error(totals - np.asarray(sizes) * estimate.value, len(differences), clusters)
    if error == 0.0:
        return Difference(estimate, 1.0 if estimate.value == 0 else None, "t")
    return Difference(estimate, 2 * (1 - t_cdf(abs(estimate.value) / error, clusters.freedom)), "t")


def sign_flip(totals: Array, *, seed: int) -> float:
    """Two-sided p of "the sign of each entry is a coin's": the share of sign patterns whose sum is as far from 0."""
    sums = np.abs(_signs(len(totals), seed) @ totals)
    # Patterns that tie in exact arithmetic must tie here too.
    return float(np.mean(sums >= sums[0] - 1e-9 * float(np.abs(totals).sum())))


@lru_cache(maxsize=8)
def _signs(count: int, seed: int) -> Array:
    """Patterns of +1 and -1, the observed one (all +1) first: all there are up to 14 entries, else drawn."""
    if count <= 14:
        flipped = np.arange(2**count)[:, None] >> np.arange(count) & 1
    else:
        drawn = np.random.default_rng(seed).integers(0, 2, (FLIPS - 1, count))
        flipped = np.concatenate([np.zeros((1, count), dtype=np.int64), drawn])
    return np.asarray(1 - 2 * flipped, dtype=np.float64)


def holm(ps: Sequence[float | None]) -> list[float | None]:
    """P values corrected for being several (Holm 1979); None stays None and does not count.

    >>> holm([0.01, 0.04, None])
    [0.02, 0.04, None]
    """
    corrected: list[float | None] = [None] * len(ps)
    known = sorted((p, i) for i, p in enumerate(ps) if p is not None)
    largest = 0.0
    for rank, (p, i) in enumerate(known):
        largest = max(largest, min(1.0, p * (len(known) - rank)))
        corrected[i] = largest
    return corrected


def t_cdf(t: float, freedom: float) -> float:
    """The distribution function of Student's t; ``freedom`` need not be whole, at least 1."""
    angles, cumulated = _t_table(freedom)
    half = float(np.interp(np.arctan(abs(t) / np.sqrt(freedom)), angles, cumulated)) / 2
    return 0.5 + half if t >= 0 else 0.5 - half


def t_quantile(probability: float, freedom: float) -> float:
    """The quantile of Student's t for a probability of at least a half."""
    angles, cumulated = _t_table(freedom)
    return float(np.sqrt(freedom) * np.tan(np.interp(2 * probability - 1, cumulated, angles)))


@lru_cache(maxsize=64)
def _t_table(freedom: float) -> tuple[Array, Array]:
    """P(|T| < sqrt(freedom) tan(angle)) on a grid of angles: the density is a power of the cosine there."""
    angles = np.linspace(0.0, np.pi / 2, 20_001)
    density = np.clip(np.cos(angles), 0.0, 1.0) ** (freedom - 1)
    cumulated = np.concatenate([[0.0], np.cumsum((density[1:] + density[:-1]) / 2)])
    return angles, cumulated / cumulated[-1]


def _sums(values: Array, groups: Sequence[Group]) -> tuple[tuple[Group, ...], Array, tuple[int, ...]]:
    """Distinct groups with the sum and the number of their values."""
    index = {group: i for i, group in enumerate(sorted(set(groups)))}
    where = np.array([index[group] for group in groups])
    sums = np.asarray(np.bincount(where, weights=values), dtype=np.float64)
    sizes = np.bincount(where)
    return tuple(index), sums, tuple(int(size) for size in sizes)


@lru_cache(maxsize=64)
def _clusters(groups: tuple[Group, ...], sizes: tuple[int, ...]) -> _Clusters:
    subjects = sorted({subject for group in groups for subject in group})
    member = np.array([[float(subject in group) for subject in subjects] for group in groups])
    shared = np.asarray(member @ member.T > 0, dtype=np.float64)
    weights = np.array(sizes, dtype=np.float64)
    # From the groups' mean scores to the sums of deviations from the overall mean.
    centred = np.diag(weights) - np.outer(weights, weights) / weights.sum()
    apart, working = np.eye(len(groups)), np.eye(len(groups)) + member @ member.T
    scale, freedom = _moments(centred, shared, working, weights)
    scale_apart, _ = _moments(centred, apart, apart, weights)
    disjoint = bool(np.array_equal(shared, apart))
    return _Clusters(shared, scale, scale_apart, freedom, len(subjects), disjoint)


def _moments(centred: Array, shared: Array, working: Array, weights: Array) -> tuple[float, float]:
    """The factor that makes the variance unbiased under the working covariance, and its degrees of freedom."""
    quadratic = centred.T @ shared @ centred @ working
    trace = float(np.trace(quadratic))
    if trace <= 0:
        return 1.0, 1.0
    return float(weights @ working @ weights) / trace, max(1.0, trace**2 / float(np.trace(quadratic @ quadratic)))


def _standard_error(sums: Array, count: int, clusters: _Clusters) -> float:
    """Of the mean over ``count`` pictures, from the groups' sums of deviations."""
    together = clusters.scale * float(sums @ clusters.shared @ sums)
    apart = clusters.scale_apart * float(sums @ sums)
    return float(np.sqrt(max(together, apart))) / count
