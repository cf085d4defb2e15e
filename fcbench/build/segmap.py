"""A row's segments as one map of numbers: 0 where nobody is, else which segment a pixel belongs to."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from fcbench.masks import decode_mask

SegmentMap = npt.NDArray[np.uint8]
MOST = 255
"""Segments that fit a map of bytes."""


def paint(segments: Sequence[dict[str, Any]], height: int, width: int) -> tuple[SegmentMap, dict[int, dict[str, Any]]]:
    """The map, and the segments by their number in it; where two overlap, the smaller one lies on top.

    Numbers are the segments' own ids where these fit, else 1, 2, ... in their order. A segment that is wholly hidden
    has no number; beyond ``MOST`` the smallest have none.
    """
    kept = sorted(segments, key=lambda s: -s["area"])[:MOST]
    ids = [segment["id"] for segment in segments]
    fit = len(set(ids)) == len(ids) and all(0 < number <= MOST for number in ids)
    order = [segment for segment in segments if segment in kept]
    numbers = {segment["id"] if fit else place: segment for place, segment in enumerate(order, 1)}
    painted = np.zeros((height, width), np.uint8)
    for number, segment in sorted(numbers.items(), key=lambda pair: (-pair[1]["area"], pair[0])):
        painted[decode_mask(segment["rle"])] = number
    seen = set(np.unique(painted).tolist())
    return painted, {number: segment for number, segment in numbers.items() if number in seen}
