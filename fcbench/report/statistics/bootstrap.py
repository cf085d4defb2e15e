"""Intervals by the bootstrap-t: how many standard errors the mean of resampled people and prompts is off.

People are drawn with replacement, prompts independently of them; a group counts as often as the product of its
people's counts. A plain percentile interval is too narrow at 15 people, as it takes the standard error as known; here
each draw is measured in its own. (Efron, "Nonparametric standard errors and confidence intervals", Canadian
Journal of Statistics 1981; resampling both ways: Owen, "The pigeonhole bootstrap", Annals of Applied Statistics 2007.)

Where a few pictures make the whole difference, a draw without them has a tiny standard error, and lies absurdly many
of those away from the mean: so each draw's variance includes a little of the table's (``SHARE``). Few trios are left
in a draw: for sixteen trios the interval is too wide (it covers 98 to 100 %).
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from fcbench.report.statistics.table import Array, Table
from fcbench.report.statistics.variance import LEAST_CLUSTERS, resampled_means

DRAWS = 999
"""How often people and prompts are drawn anew."""
SHARE = 0.05
"""The table's share in a draw's variance; for scores that vary evenly it changes next to nothing (LOG.md)."""


def standard_error(table: Table) -> float:
    """The standard error of the table's mean."""
    _, errors = resampled_means(table, np.ones((1, table.subjects)), np.ones((1, table.prompts)))
    return float(errors[0])


def half_width(table: Table, *, level: float = 0.95, seed: int = 0, draws: int = DRAWS) -> float:
    """Half the length of the interval around the table's mean; needs six subjects."""
    subjects = drawn(table.subjects, draws, seed)
    prompts = np.ones((draws, table.prompts))
    if table.prompts >= LEAST_CLUSTERS:
        prompts = drawn(table.prompts, draws, seed + 1)
    means, errors = resampled_means(table, subjects, prompts)
    own = standard_error(table)
    usable = np.isfinite(errors)  # a draw without a picture tells nothing
    steadied = np.sqrt((1 - SHARE) * errors[usable] ** 2 + SHARE * own**2)
    if not own or not usable.any():
        return 0.0
    return float(np.quantile(np.abs(means - table.mean)[usable] / steadied, level)) * own


@lru_cache(maxsize=32)
def drawn(clusters: int, draws: int, seed: int) -> Array:
    """How often each cluster is drawn, shape (draws, clusters): each row sums to ``clusters``."""
    chances = np.full(clusters, 1 / clusters)
    return np.random.default_rng(seed).multinomial(clusters, chances, draws).astype(np.float64)
