"""P values of several tests, corrected so that all of them together err at most as often as one."""

from __future__ import annotations

from collections.abc import Sequence


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
