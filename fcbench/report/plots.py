"""The page's drawings: SVG written by hand, coloured by the page's style sheet, readable without scripts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil, floor, log10

from markupsafe import Markup

from fcbench.report.numbers import quality

WIDTH, HEIGHT = 460, 320
LEFT, RIGHT, TOP, BOTTOM = 58, 14, 14, 44
CHARACTER = 6.3
"""Width of a label's average character, in drawing units."""

Span = tuple[float, float]


@dataclass(frozen=True)
class Point:
    """A method in a scatter plot; intervals are drawn where there are any."""

    label: str
    colour: int
    x: float
    y: float
    x_interval: Span | None = None
    y_interval: Span | None = None


@dataclass(frozen=True)
class Axis:
    """One axis: its title, the values it spans, the step between ticks, and whether equal lengths are equal ratios."""

    title: str
    span: Span
    step: float = 1.0
    is_log: bool = False

    def part(self, value: float) -> float:
        """Where a value lies along the axis, 0 at its start and 1 at its end."""
        low, high, value = (log10(v) if self.is_log else v for v in (*self.span, value))
        return min(max((value - low) / (high - low), 0.0), 1.0)

    def ticks(self) -> list[float]:
        """Round values to write along the axis."""
        if self.is_log:
            return [10.0**power for power in range(round(log10(self.span[0])), round(log10(self.span[1])) + 1)]
        count = round((self.span[1] - self.span[0]) / self.step)
        return [self.span[0] + i * self.step for i in range(count + 1)]


def linear_axis(title: str, values: Sequence[float]) -> Axis:
    """An axis from a round value below all values to a round value above them."""
    low, high = min(values), max(values)
    step = _step(max(high - low, 0.05))
    return Axis(title, (floor(low / step - 0.1) * step, ceil(high / step + 0.1) * step), step)


def log_axis(title: str, values: Sequence[float]) -> Axis:
    """An axis of whole powers of ten around positive values."""
    low, high = floor(log10(min(values))), ceil(log10(max(values)))
    return Axis(title, (10.0**low, 10.0 ** max(high, low + 1)), is_log=True)


def scatter(points: Sequence[Point], x: Axis, y: Axis, title: str) -> Markup:
    """Points with error bars and their names beside them."""
    parts = [_grid(x, y)]
    labels: list[tuple[float, float, float]] = []
    for point in points:
        parts += [_error_bars(point, x, y)]
    for point in points:
        left, top = _place(point, points, labels, x, y)
        labels.append((left, top, CHARACTER * len(point.label)))
        dot = Markup('<circle class="dot c{}" cx="{:.1f}" cy="{:.1f}" r="4.5"/>')
        parts.append(dot.format(point.colour, _across(x, point.x), _down(y, point.y)))
        parts.append(Markup('<text class="name" x="{:.1f}" y="{:.1f}">{}</text>').format(left, top, point.label))
    frame = Markup('<svg class="plot" viewBox="0 0 {} {}" role="img" aria-label="{}">{}</svg>')
    return frame.format(WIDTH, HEIGHT, title, Markup("").join(parts))


def bar(value: float, interval: Span | None, span: Span, colour: int) -> Markup:
    """A value and its interval on a thin line from ``span[0]`` to ``span[1]``; a mark at 0 where that lies inside."""
    width = 96

    def at(x: float) -> float:
        return 3 + (width - 6) * min(max((x - span[0]) / (span[1] - span[0]), 0.0), 1.0)

    parts = [Markup('<line class="track" x1="3" x2="{}" y1="7" y2="7"/>').format(width - 3)]
    if span[0] < 0 < span[1]:
        parts.append(Markup('<line class="zero" x1="{0:.1f}" x2="{0:.1f}" y1="0" y2="14"/>').format(at(0)))
    if interval is not None:
        parts.append(
            Markup('<line class="range c{}" x1="{:.1f}" x2="{:.1f}" y1="7" y2="7"/>').format(colour, *map(at, interval))
        )
    parts.append(Markup('<circle class="dot c{}" cx="{:.1f}" cy="7" r="3"/>').format(colour, at(value)))
    return Markup('<svg class="bar" viewBox="0 0 {} 14" aria-hidden="true">{}</svg>').format(
        width, Markup("").join(parts)
    )


def _step(extent: float) -> float:
    """A round distance that divides an extent into four to eight parts."""
    power = 10.0 ** floor(log10(extent / 4))
    return max(power * factor for factor in (1, 2, 2.5, 5) if power * factor <= extent / 4 * 1.0001)


def _across(axis: Axis, value: float) -> float:
    return LEFT + (WIDTH - LEFT - RIGHT) * axis.part(value)


def _down(axis: Axis, value: float) -> float:
    return HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * axis.part(value)


def _tick(axis: Axis, value: float) -> str:
    if axis.is_log:
        return f"{value:g}"
    return quality(round(value, 10) + 0.0).rstrip("0").rstrip(".") or "0"


def _grid(x: Axis, y: Axis) -> Markup:
    parts = []
    for value in x.ticks():
        parts.append(
            Markup(
                '<line class="grid" x1="{0:.1f}" x2="{0:.1f}" y1="{1}" y2="{2}"/>'
                '<text class="tick" text-anchor="middle" x="{0:.1f}" y="{3}">{4}</text>'
            ).format(_across(x, value), TOP, HEIGHT - BOTTOM, HEIGHT - BOTTOM + 16, _tick(x, value))
        )
    for value in y.ticks():
        parts.append(
            Markup(
                '<line class="grid" x1="{1}" x2="{2}" y1="{0:.1f}" y2="{0:.1f}"/>'
                '<text class="tick" text-anchor="end" x="{3}" y="{4:.1f}">{5}</text>'
            ).format(_down(y, value), LEFT, WIDTH - RIGHT, LEFT - 6, _down(y, value) + 4, _tick(y, value))
        )
    across, down = (LEFT + WIDTH - RIGHT) / 2, (TOP + HEIGHT - BOTTOM) / 2
    parts.append(
        Markup(
            '<text class="axis" text-anchor="middle" x="{0}" y="{1}">{2}</text>'
            '<text class="axis" text-anchor="middle" transform="translate(12 {3}) rotate(-90)">{4}</text>'
        ).format(across, HEIGHT - 8, x.title, down, y.title)
    )
    return Markup("").join(parts)


def _error_bars(point: Point, x: Axis, y: Axis) -> Markup:
    line = Markup('<line class="error c{}" x1="{:.1f}" x2="{:.1f}" y1="{:.1f}" y2="{:.1f}"/>')
    across, down = _across(x, point.x), _down(y, point.y)
    parts = []
    if point.x_interval is not None:
        parts.append(line.format(point.colour, *(_across(x, end) for end in point.x_interval), down, down))
    if point.y_interval is not None:
        parts.append(line.format(point.colour, across, across, *(_down(y, end) for end in point.y_interval)))
    return Markup("").join(parts)


def _place(
    point: Point, points: Sequence[Point], labels: Sequence[tuple[float, float, float]], x: Axis, y: Axis
) -> tuple[float, float]:
    """Where the point's name stands: beside it, where it covers the least of other names and points."""
    across, down = _across(x, point.x), _down(y, point.y)
    width = CHARACTER * len(point.label)
    places = [
        (left, down + shift)
        for shift in (-8, 16, -22, 30, 4)
        for left in (across + 8, across - 8 - width)
        if LEFT <= left <= WIDTH - RIGHT - width and TOP + 8 <= down + shift <= HEIGHT - BOTTOM
    ]

    def covered(place: tuple[float, float]) -> int:
        left, top = place
        names = sum(left < start + w and start < left + width and abs(top - t) < 12 for start, t, w in labels)
        dots = sum(
            left - 6 < _across(x, p.x) < left + width + 6 and top - 14 < _down(y, p.y) < top + 6
            for p in points
            if p is not point
        )
        return 2 * names + dots

    return min(places, key=covered, default=(min(across, WIDTH - RIGHT - width), down - 8))
