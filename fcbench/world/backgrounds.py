"""What is behind the people, a function per context; coordinates are shares of the picture's side."""

from __future__ import annotations

from collections.abc import Callable
from random import Random

from fcbench.world.canvas import Canvas
from fcbench.world.people import Colour, mix

_WALLS: tuple[Colour, ...] = (
    (206, 198, 188),
    (168, 186, 196),
    (196, 176, 160),
    (178, 192, 170),
    (150, 150, 160),
    (216, 206, 214),
)


def draw_background(canvas: Canvas, context: str, random: Random) -> None:
    """Fill the picture with a context, varied by ``random``."""
    canvas.place(0.0, 0.0, 1.0)
    canvas.owner = 0
    _CONTEXTS[context](canvas, random)


def _bands(canvas: Canvas, top: float, bottom: float, first: Colour, last: Colour, count: int = 6) -> None:
    step = (bottom - top) / count
    for k in range(count):
        y = top + k * step
        canvas.polygon(
            [(0, y), (1, y), (1, y + step + 0.01), (0, y + step + 0.01)], mix(first, last, k / max(count - 1, 1))
        )


def _wall(canvas: Canvas, random: Random) -> None:
    colour = random.choice(_WALLS)
    _bands(canvas, 0, 1, mix(colour, (255, 255, 255), 0.15), mix(colour, (0, 0, 0), 0.08), 4)


def _snow(canvas: Canvas, random: Random) -> None:
    _bands(canvas, 0, 0.6, (176, 196, 222), (222, 232, 244))
    horizon = random.uniform(0.5, 0.62)
    for _ in range(3):
        x, h = random.uniform(0, 1), random.uniform(0.22, 0.34)
        canvas.polygon([(x - 0.1, horizon + 0.03), (x, horizon - h), (x + 0.1, horizon + 0.03)], (58, 104, 92))
        canvas.polygon(
            [(x - 0.045, horizon - h * 0.55), (x, horizon - h), (x + 0.045, horizon - h * 0.55)], (250, 252, 255)
        )
    canvas.polygon([(0, horizon), (0.4, horizon - 0.04), (1, horizon + 0.03), (1, 1), (0, 1)], (246, 250, 255))
    for _ in range(16):
        canvas.ellipse(random.random(), random.random(), 0.014, 0.014, (255, 255, 255))


def _beach(canvas: Canvas, random: Random) -> None:
    horizon = random.uniform(0.36, 0.46)
    _bands(canvas, 0, horizon, (92, 180, 240), (190, 228, 250), 5)
    canvas.ellipse(random.choice((0.14, 0.86)), 0.13, 0.085, 0.085, (255, 226, 96))
    _bands(canvas, horizon, horizon + 0.2, (16, 104, 178), (58, 176, 206), 4)
    shore = horizon + 0.2
    canvas.polygon([(0, shore + 0.02), (0.5, shore - 0.03), (1, shore + 0.02), (1, 1), (0, 1)], (246, 220, 158))
    canvas.line([(0, shore + 0.02), (0.5, shore - 0.03), (1, shore + 0.02)], 0.022, (255, 255, 255))


def _jungle(canvas: Canvas, random: Random) -> None:
    _bands(canvas, 0, 1, (88, 150, 70), (22, 72, 40))
    for _ in range(12):
        x, y, r = random.random(), random.random(), random.uniform(0.1, 0.2)
        colour = random.choice(((30, 110, 50), (52, 140, 56), (18, 84, 44), (96, 170, 70)))
        lean = random.uniform(-0.1, 0.1)
        canvas.polygon([(x, y + r), (x - r * 0.42, y), (x + lean, y - r), (x + r * 0.42, y)], colour)
    for x in (random.uniform(0.02, 0.14), random.uniform(0.86, 0.98)):
        canvas.line([(x, 0), (x + 0.02, 1)], 0.04, (84, 60, 36))


def _city(canvas: Canvas, random: Random) -> None:
    _bands(canvas, 0, 1, (172, 196, 220), (214, 214, 222), 4)
    x = -0.03
    while x < 1:
        width, top = random.uniform(0.13, 0.2), random.uniform(0.06, 0.38)
        shade = random.choice(((104, 110, 128), (134, 122, 118), (86, 92, 112), (150, 112, 98)))
        canvas.polygon([(x, 1), (x, top), (x + width, top), (x + width, 1)], shade)
        for row in range(5):
            for column in range(2):
                left, y = x + width * (0.16 + 0.42 * column), top + 0.06 + row * 0.12
                lit = (250, 228, 140) if random.random() < 0.6 else (60, 66, 84)
                canvas.polygon(
                    [(left, y), (left + width * 0.26, y), (left + width * 0.26, y + 0.06), (left, y + 0.06)], lit
                )
        x += width + 0.012
    canvas.polygon([(0, 0.86), (1, 0.86), (1, 1), (0, 1)], (74, 74, 80))


def _mountain(canvas: Canvas, random: Random) -> None:
    _bands(canvas, 0, 0.7, (118, 170, 226), (214, 226, 240), 5)
    for x in (random.uniform(0.0, 0.25), random.uniform(0.7, 1.0), random.uniform(0.35, 0.65)):
        top, half = random.uniform(0.06, 0.2), random.uniform(0.3, 0.42)
        canvas.polygon([(x - half, 0.76), (x, top), (x + half, 0.76)], (112, 104, 118))
        canvas.polygon(
            [(x - half * 0.28, top + 0.17), (x, top), (x + half * 0.28, top + 0.17), (x, top + 0.13)], (248, 250, 255)
        )
    canvas.polygon([(0, 0.72), (0.5, 0.66), (1, 0.74), (1, 1), (0, 1)], (104, 158, 74))


def _library(canvas: Canvas, random: Random) -> None:
    canvas.polygon([(0, 0), (1, 0), (1, 1), (0, 1)], (84, 52, 30))
    colours: tuple[Colour, ...] = (
        (170, 48, 44),
        (40, 84, 130),
        (206, 170, 72),
        (54, 110, 74),
        (120, 62, 116),
        (216, 206, 186),
    )
    for row in range(4):
        x, bottom = 0.02, 0.24 * (row + 1)
        while x < 0.96:
            width, height = random.uniform(0.05, 0.085), random.uniform(0.14, 0.19)
            canvas.polygon(
                [(x, bottom), (x, bottom - height), (x + width, bottom - height), (x + width, bottom)],
                random.choice(colours),
            )
            x += width + 0.008
        canvas.polygon([(0, bottom), (1, bottom), (1, bottom + 0.03), (0, bottom + 0.03)], (124, 82, 50))


def _night(canvas: Canvas, random: Random) -> None:
    _bands(canvas, 0, 1, (10, 14, 50), (50, 48, 104))
    for _ in range(24):
        r = random.uniform(0.007, 0.014)
        canvas.ellipse(random.random(), random.uniform(0, 0.85), r, r, (250, 250, 220))
    x = random.choice((0.15, 0.85))
    canvas.ellipse(x, 0.15, 0.09, 0.09, (250, 244, 200))
    canvas.ellipse(x + 0.04, 0.13, 0.075, 0.075, (14, 18, 56))


_CONTEXTS: dict[str, Callable[[Canvas, Random], None]] = {
    "wall": _wall,
    "snow": _snow,
    "beach": _beach,
    "jungle": _jungle,
    "city": _city,
    "mountain": _mountain,
    "library": _library,
    "night": _night,
}
