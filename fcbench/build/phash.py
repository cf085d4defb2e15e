"""Perceptual hashes: photos that look alike differ in few bits, whatever their size and compression."""

from __future__ import annotations

import itertools
from collections import defaultdict
from collections.abc import Iterator, Mapping

import numpy as np
import numpy.typing as npt
from PIL import Image as Pillow

SIDE, LOW = 32, 8
"""The picture is shrunk to ``SIDE`` squared; the lowest ``LOW`` squared of its frequencies are kept."""
ALIKE = 4
"""Photos are alike if their hashes differ in at most this many of 64 bits."""


def phash(grey: npt.NDArray[np.float32]) -> str:
    """The hash of grey values (height, width) as 16 hexadecimal digits.

    One bit per low frequency of the cosine transform: whether it is above their median (Zauner, Implementation and
    Benchmarking of Perceptual Image Hash Functions, 2010, section 3.2.1).

    >>> phash(np.tile(np.arange(64, 0, -1, dtype=np.float32), (64, 1)))
    'd500000000000000'
    """
    from scipy.fft import dctn

    small = Pillow.fromarray(grey).resize((SIDE, SIDE), Pillow.Resampling.BOX)
    low = dctn(np.asarray(small, np.float64), norm="ortho")[:LOW, :LOW].round(6)  # what is zero must not be noise
    return np.packbits(low > np.median(low)).tobytes().hex()


def alike(hashes: Mapping[str, str], bits: int = ALIKE) -> Iterator[tuple[str, str]]:
    """Pairs of photos that look alike, the earlier one first, given the hashes by id.

    Two 64-bit numbers that differ in at most ``bits`` bits, each cut into ``bits + 1`` bands, have a band in common:
    only such numbers are compared. Photos with equal hashes are each paired with the first of them alone.
    """
    edges = [64 * cut // (bits + 1) for cut in range(bits + 2)]
    firsts: dict[int, str] = {}
    buckets: defaultdict[tuple[int, int], list[int]] = defaultdict(list)
    for photo, code in hashes.items():
        if (first := firsts.setdefault(number := int(code, 16), photo)) != photo:
            yield first, photo
            continue
        bands = [(low, number >> low & (1 << high - low) - 1) for low, high in itertools.pairwise(edges)]
        for near in {other for band in bands for other in buckets[band]}:
            if (near ^ number).bit_count() <= bits:
                yield firsts[near], photo
        for band in bands:
            buckets[band].append(number)
