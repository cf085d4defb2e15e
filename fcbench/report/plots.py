"""The page's drawings: SVG written by hand, coloured by the page's style sheet, readable without scripts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil, floor, log10

from markupsafe import Markup

from fcbench.report.numbers import quality

WIDTH, HEIGHT = 460, 320
LEFT, RIGHT, TOP, BOTTOM = 58, 14, 14, 44
LANE = 42
"""Height of a method's line in a plot of lanes."""

COLOURS = 8
"""How many colours the style sheet has; further methods reuse them, in another shape."""

SHAPES: tuple[tuple[tuple[float, float], ...], ...] = (
    (),
    ((-0.9, -0.9), (0.9, -0.9), (0.9, 0.9), (-0.9, 0.9)),
    ((0, -1.15), (1.1, 0.85), (-1.1, 0.85)),
    ((0, -1.25), (1.25, 0), (0, 1.25), (-1.25, 0)),
    ((0, 1.15), (1.1, -0.85), (-1.1, -0.85)),
)
"""Circle, square, triangle, diamond and triangle on its tip, as corners around the middle."""

CHARACTER = 6.6
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
    radius: float = 5.5


@dataclass(frozen=True)
class Lane:
    """A method's line in a plot of lanes: values as marks, or as a cloud of dots under one value with its interval."""

    label: str
    colour: int
    marks: tuple[tuple[str, float], ...]
    """What each value is called, and the value."""
    cloud: tuple[float, ...] = ()
    interval: Span | None = None


@dataclass(frozen=True)
class Guide:
    """A yardstick, drawn as a horizontal line."""

    label: str
    y: float


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
    start = floor(low / step - 0.1) * step
    start = max(start, 0.0) if low >= 0 else start
    steps = max(ceil(high / step + 0.1), round(start / step) + 2)  # at least two parts, even where all values are 0
    return Axis(title, (start, steps * step), step)


def log_axis(title: str, values: Sequence[float]) -> Axis:
    """An axis of whole powers of ten around positive values."""
    low, high = floor(log10(min(values))), ceil(log10(max(values)))
    return Axis(title, (10.0**low, 10.0 ** max(high, low + 1)), is_log=True)


def scatter(
    points: Sequence[Point], x: Axis, y: Axis, title: str, guides: Sequence[Guide] = (), *, joined: bool = False
) -> Markup:
    """Points with error bars and their names beside them; every method has its own pair of colour and shape.

    ``joined``: a line goes through them in their order.
    """
    parts = [_grid(x, y), *(_guide(guide, points, x, y) for guide in guides)]
    if joined:
        path = " ".join(f"{_across(x, point.x):.1f},{_down(y, point.y):.1f}" for point in points)
        parts.append(Markup('<polyline class="path" points="{}"/>').format(path))
    labels = [_name_of(guide, points, x, y) for guide in guides]
    for point in points:
        parts += [_error_bars(point, x, y)]
    for point in points:
        left, top = _place(point, points, labels, x, y)
        labels.append((left, top, CHARACTER * len(point.label)))
        parts.append(mark(point.colour, _across(x, point.x), _down(y, point.y), point.radius))
        parts.append(Markup('<text class="name" x="{:.1f}" y="{:.1f}">{}</text>').format(left, top, point.label))
    frame = Markup('<svg class="plot" viewBox="0 0 {} {}" role="img" aria-label="{}">{}</svg>')
    return frame.format(WIDTH, HEIGHT, title, Markup("").join(parts))


def lanes(rows: Sequence[Lane], axis: Axis, title: str) -> Markup:
    """One line per method, its name above it; logarithmic if ``axis`` is."""
    parts, bottom = [], TOP + LANE * len(rows)
    for value in axis.ticks():
        parts.append(
            Markup(
                '<line class="grid" x1="{0:.1f}" x2="{0:.1f}" y1="{1}" y2="{2}"/>'
                '<text class="tick" text-anchor="middle" x="{0:.1f}" y="{3}">{4}</text>'
            ).format(_along(axis, value), TOP - 6, bottom, bottom + 16, _tick(axis, value))
        )
    for place, row in enumerate(rows):
        parts.append(_lane(row, axis, TOP + LANE * place))
    parts.append(
        Markup('<text class="axis" text-anchor="middle" x="{}" y="{}">{}</text>').format(
            WIDTH / 2, bottom + 34, axis.title
        )
    )
    frame = Markup('<svg class="plot" viewBox="0 0 {} {}" role="img" aria-label="{}">{}</svg>')
    return frame.format(WIDTH, bottom + 42, title, Markup("").join(parts))


def mark(number: int, x: float, y: float, radius: float = 4.5) -> Markup:
    """The mark of the ``number``-th method, in one of eight colours and five shapes."""
    if number % len(SHAPES) == 0:
        return Markup('<circle class="dot c{}" cx="{:.1f}" cy="{:.1f}" r="{:.1f}"/>').format(
            number % COLOURS, x, y, radius
        )
    corners = " ".join(f"{x + radius * dx:.1f},{y + radius * dy:.1f}" for dx, dy in SHAPES[number % len(SHAPES)])
    return Markup('<polygon class="dot c{}" points="{}"/>').format(number % COLOURS, corners)


def legend(number: int) -> Markup:
    """The mark of a method, to stand before its name in text."""
    return Markup('<svg class="mark" viewBox="0 0 12 12" aria-hidden="true">{}</svg>').format(mark(number, 6, 6, 4.4))


def _lane(row: Lane, axis: Axis, top: float) -> Markup:
    middle = top + 24
    parts = [
        mark(row.colour, 6, top + 6, 4.4),
        Markup('<text class="name" x="16" y="{:.1f}">{}</text>').format(top + 10, row.label),
        Markup('<line class="track" x1="4" x2="{}" y1="{middle}" y2="{middle}"/>').format(WIDTH - 4, middle=middle),
    ]
    dot = Markup('<circle class="cloud c{}" cx="{:.1f}" cy="{}" r="3.2"/>')
    parts += [dot.format(row.colour % COLOURS, _along(axis, value), middle) for value in row.cloud]
    if row.interval is not None:
        ends = [_along(axis, end) for end in row.interval]
        line = '<line class="range c{}" x1="{:.1f}" x2="{:.1f}" y1="{middle}" y2="{middle}"/>'
        parts.append(Markup(line).format(row.colour % COLOURS, *ends, middle=middle))
    for name, value in row.marks:
        parts.append(mark(row.colour, _along(axis, value), middle, 5))
        if name:
            place, is_last = _along(axis, value), _along(axis, value) > WIDTH - 60
            text = '<text class="tick name" text-anchor="{}" x="{:.1f}" y="{:.1f}">{}</text>'
            parts.append(
                Markup(text).format(*(("end", place - 9) if is_last else ("start", place + 9)), middle + 4, name)
            )
    return Markup("").join(parts)


def _along(axis: Axis, value: float) -> float:
    return 14 + (WIDTH - 28) * axis.part(value)


def _guide(guide: Guide, points: Sequence[Point], x: Axis, y: Axis) -> Markup:
    """The line, with its name at the end where no method lies."""
    down, (left, top, width) = _down(y, guide.y), _name_of(guide, points, x, y)
    is_left = left < WIDTH / 2
    return Markup(
        '<line class="guide" x1="{}" x2="{}" y1="{:.1f}" y2="{:.1f}"/>'
        '<text class="tick" text-anchor="{}" x="{:.0f}" y="{:.1f}">{}</text>'
    ).format(
        *(LEFT, WIDTH - RIGHT, down, down),
        *(("start", left) if is_left else ("end", left + width)),
        *(top, guide.label),
    )


def _name_of(guide: Guide, points: Sequence[Point], x: Axis, y: Axis) -> tuple[float, float, float]:
    """Where a line's name begins, on what height it stands, and how long it is."""
    down, width = _down(y, guide.y), CHARACTER * len(guide.label)
    near = [_across(x, p.x) for p in points if abs(_down(y, p.y) - down) < 24]
    is_left = any(across > WIDTH - RIGHT - 120 for across in near)
    return (LEFT + 3 if is_left else WIDTH - RIGHT - 3 - width), down - 4, width


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
            Markup('<line class="range c{}" x1="{:.1f}" x2="{:.1f}" y1="7" y2="7"/>').format(
                colour % COLOURS, *map(at, interval)
            )
        )
    parts.append(Markup('<circle class="dot c{}" cx="{:.1f}" cy="7" r="3"/>').format(colour % COLOURS, at(value)))
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
        parts.append(line.format(point.colour % COLOURS, *(_across(x, end) for end in point.x_interval), down, down))
    if point.y_interval is not None:
        parts.append(line.format(point.colour % COLOURS, across, across, *(_down(y, end) for end in point.y_interval)))
    return Markup("").join(parts)


def _place(
    point: Point, points: Sequence[Point], labels: Sequence[tuple[float, float, float]], x: Axis, y: Axis
) -> tuple[float, float]:
    """Where the point's name stands: beside it, where it covers the least of other names, points and its error bars."""
    across, down = _across(x, point.x), _down(y, point.y)
    width, off = CHARACTER * len(point.label), point.radius + 4
    places = [
        (left, down + shift)
        for shift in (4, -off - 2, off + 12, -off - 16, off + 26, -off - 30, off + 40)
        for left in (across + off, across - off - width, across - width / 2)
        if LEFT <= left <= WIDTH - RIGHT - width and TOP + 8 <= down + shift <= HEIGHT - BOTTOM
    ]

    def covered(place: tuple[float, float]) -> float:
        left, top = place
        names = sum(left < start + w and start < left + width and abs(top - t) < 13 for start, t, w in labels)
        dots = sum(_hides(left, top, width, _across(x, p.x), _down(y, p.y), p.radius) for p in points)
        crossed = left < across < left + width or abs(top - 4 - down) < 4  # its own error bars
        return 4 * names + 3 * dots + 0.4 * crossed + 0.02 * abs(top - 4 - down)

    return min(places, key=covered, default=(min(across, WIDTH - RIGHT - width), down - 8))


def _hides(left: float, top: float, width: float, across: float, down: float, radius: float) -> bool:
    """Whether a name from ``left``, standing on ``top``, touches a mark."""
    return left - radius - 2 < across < left + width + radius + 2 and top - 12 - radius < down < top + 4 + radius
