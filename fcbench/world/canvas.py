"""A canvas in the picture's own units that paints colours and owners at once.

Every shape is a polygon in local coordinates, moved by an affine map and painted twice with the same points: its
colour into the picture, its owner's number into the map from which the exact visible-region masks are read.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from functools import lru_cache

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw

from fcbench.world.people import Colour

Points = Sequence[tuple[float, float]]
SUPERSAMPLING = 3


class Canvas:
    """A square picture of ``size`` pixels, painted ``SUPERSAMPLING`` times as large."""

    def __init__(self, size: int) -> None:
        self.size = size
        side = size * SUPERSAMPLING
        self._picture = Image.new("RGB", (side, side))
        self._owners = Image.new("L", (side, side), 0)
        self._paint = ImageDraw.Draw(self._picture)
        self._own = ImageDraw.Draw(self._owners)
        self.owner = 0
        self.place(0.0, 0.0, 1.0)

    def place(self, x: float, y: float, scale: float, roll: float = 0.0) -> None:
        """From here on, local (0, 0) lies at (x, y), one local unit is ``scale``, turned by ``roll`` radians.

        ``x``, ``y`` and ``scale`` are shares of the picture's side.
        """
        side = self.size * SUPERSAMPLING
        cos, sin = math.cos(roll) * scale * side, math.sin(roll) * scale * side
        self._map = (cos, -sin, x * side, sin, cos, y * side)

    def locate(self, points: Points) -> npt.NDArray[np.float32]:
        """Local points in pixels of the finished picture: float32 (n, 2), x first."""
        flat = np.asarray(self._flat(points), dtype=np.float32).reshape(-1, 2)
        return flat / np.float32(SUPERSAMPLING)

    def polygon(self, points: Points, colour: Colour) -> None:
        """A filled polygon."""
        flat = self._flat(points)
        self._paint.polygon(flat, fill=colour)
        self._own.polygon(flat, fill=self.owner)

    def ellipse(self, x: float, y: float, rx: float, ry: float, colour: Colour) -> None:
        """A filled ellipse, its axes along the local ones."""
        self.polygon([(x + rx * c, y + ry * s) for c, s in _circle(14 if max(rx, ry) < 0.3 else 28)], colour)

    def line(self, points: Points, width: float, colour: Colour) -> None:
        """A stroke of local ``width``."""
        flat = self._flat(points)
        pixels = max(1, round(width * math.hypot(self._map[0], self._map[3])))
        self._paint.line(flat, fill=colour, width=pixels, joint="curve")
        self._own.line(flat, fill=self.owner, width=pixels, joint="curve")

    def finish(self) -> tuple[Image.Image, npt.NDArray[np.uint8]]:
        """The picture at its size, and the number of each pixel's owner: uint8 (size, size)."""
        middle = SUPERSAMPLING // 2
        owners = np.asarray(self._owners)[middle::SUPERSAMPLING, middle::SUPERSAMPLING]
        return self._picture.reduce(SUPERSAMPLING), owners

    def _flat(self, points: Iterable[tuple[float, float]]) -> list[float]:
        a, b, c, d, e, f = self._map
        flat: list[float] = []
        for x, y in points:
            flat.append(a * x + b * y + c)
            flat.append(d * x + e * y + f)
        return flat


@lru_cache(maxsize=8)
def _circle(count: int) -> tuple[tuple[float, float], ...]:
    return tuple((math.cos(2 * math.pi * i / count), math.sin(2 * math.pi * i / count)) for i in range(count))


def arc(
    x: float, y: float, rx: float, ry: float, start: float, stop: float, count: int = 12
) -> list[tuple[float, float]]:
    """Points on an ellipse from angle ``start`` to ``stop`` (degrees, clockwise from the right)."""
    angles = [math.radians(start + (stop - start) * i / (count - 1)) for i in range(count)]
    return [(x + rx * math.cos(t), y + ry * math.sin(t)) for t in angles]
