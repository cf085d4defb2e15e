"""How sure a share counted in a sample is."""

from __future__ import annotations

from math import sqrt

Z = 1.959963984540054
"""95 % of a normal distribution lies within this many standard deviations."""


def wilson(right: float, count: float) -> tuple[float, float]:
    """The 95 % interval of a share by Wilson's score (1927): holds its level near 0 and 1, and for small counts.

    >>> [round(end, 3) for end in wilson(10, 10)], wilson(0, 0)
    ([0.722, 1.0], (0.0, 1.0))
    """
    if count <= 0:
        return 0.0, 1.0
    share = right / count
    middle = (share + Z * Z / (2 * count)) / (1 + Z * Z / count)
    reach = Z / (1 + Z * Z / count) * sqrt(share * (1 - share) / count + Z * Z / (4 * count * count))
    return max(0.0, middle - reach), min(1.0, middle + reach)
