"""Neck, shoulders, clothes, and what the hands hold; same local units as heads, without the tilt."""

from __future__ import annotations

from fcbench.world.canvas import Canvas, arc
from fcbench.world.people import Colour, mix
from fcbench.world.scenes import Figure
from fcbench.world.vocabulary import COLOURS, RAINBOW


def draw_body(canvas: Canvas, figure: Figure) -> None:
    """Neck and shirt."""
    p = figure.person
    shirt = COLOURS[figure.shirt]
    chin, wide = p.face_height, 1.75 if p.noun == "man" else 1.5
    canvas.polygon(
        [(-0.42, chin * 0.5), (0.42, chin * 0.5), (0.5, chin + 0.5), (-0.5, chin + 0.5)],
        mix(p.skin, (60, 20, 20), 0.16),
    )
    left, right = (
        arc(-wide + 0.5, chin + 0.8, 0.55, 0.6, 180, 270, 6),
        arc(wide - 0.5, chin + 0.8, 0.55, 0.6, 270, 360, 6),
    )
    neck = [(-0.5, chin + 0.12), (0.0, chin + 0.42), (0.5, chin + 0.12)]
    canvas.polygon([(-wide - 0.15, 9.0), *left, *neck, *right, (wide + 0.15, 9.0)], shirt)
    for side in (-1, 1):
        canvas.line([(side * (wide - 0.5), chin + 1.0), (side * (wide - 0.42), 9.0)], 0.09, mix(shirt, (0, 0, 0), 0.3))


def draw_scarf(canvas: Canvas, figure: Figure) -> None:
    """A scarf round the neck, one colour or a rainbow."""
    if figure.scarf is None:
        return
    chin = figure.person.face_height
    colours = [COLOURS[name] for name in (RAINBOW if figure.scarf == "rainbow" else (figure.scarf,))]
    height = 0.62 / len(colours)
    for k, colour in enumerate(colours):
        y = chin * 0.9 + 0.02 + k * height
        canvas.polygon(
            [(-0.86, y), (0.0, y + 0.16), (0.86, y), (0.9, y + height), (0.0, y + 0.18 + height), (-0.9, y + height)],
            colour,
        )
    for k, colour in enumerate(colours):
        x = 0.3 + k * 0.5 / len(colours)
        canvas.polygon(
            [
                (x, chin + 0.55),
                (x + 0.5 / len(colours), chin + 0.5),
                (x + 0.58 / len(colours), chin + 1.6),
                (x, chin + 1.62),
            ],
            colour,
        )


def draw_holding(canvas: Canvas, figure: Figure) -> None:
    """The thing held before the chest, and the hands; the thing belongs to nobody's mask, the hands do."""
    if figure.holding is None:
        return
    x, y = _PLACES.get(figure.holding, 0.0), figure.person.face_height + 0.62
    owner, canvas.owner = canvas.owner, 0
    canvas.place(figure.x + x * figure.size, figure.y + y * figure.size, figure.size * _THING_SCALE)
    _THINGS[figure.holding](canvas)
    canvas.owner = owner
    hands = {"book": (-0.72, 0.72), "cake": (-0.62, 0.62)}.get(figure.holding, (0.0,))
    for hand in hands:
        canvas.ellipse(hand, {"book": 0.3}.get(figure.holding, 0.46), 0.19, 0.17, figure.person.skin)


def _book(canvas: Canvas) -> None:
    canvas.polygon(
        [(-0.85, -0.35), (0.0, -0.22), (0.85, -0.35), (0.85, 0.62), (0.0, 0.75), (-0.85, 0.62)], (150, 44, 40)
    )
    canvas.polygon(
        [(-0.76, -0.36), (0.0, -0.24), (0.76, -0.36), (0.76, 0.48), (0.0, 0.62), (-0.76, 0.48)], (250, 246, 230)
    )
    canvas.line([(0.0, -0.24), (0.0, 0.62)], 0.07, (120, 100, 90))
    for k in range(3):
        for side in (-1, 1):
            canvas.line([(side * 0.16, -0.02 + 0.18 * k), (side * 0.62, -0.1 + 0.18 * k)], 0.05, (150, 144, 140))


def _wine(canvas: Canvas) -> None:
    canvas.polygon(arc(0.0, -0.55, 0.4, 0.62, 0, 180), (226, 236, 244))
    canvas.polygon(arc(0.0, -0.42, 0.35, 0.46, 0, 180), (150, 16, 52))
    canvas.line([(0.0, 0.0), (0.0, 0.5)], 0.12, (226, 236, 244))
    canvas.ellipse(0.0, 0.56, 0.34, 0.09, (226, 236, 244))


def _cake(canvas: Canvas) -> None:
    canvas.ellipse(0.0, 0.42, 0.85, 0.14, (240, 240, 246))
    canvas.polygon([(-0.6, 0.4), (-0.6, -0.12), (0.6, -0.12), (0.6, 0.4)], (252, 226, 160))
    canvas.polygon([(-0.6, 0.18), (-0.6, 0.06), (0.6, 0.06), (0.6, 0.18)], (196, 60, 90))
    canvas.polygon([(-0.64, -0.08), (-0.6, -0.3), (0.6, -0.3), (0.64, -0.08)], (250, 150, 190))
    canvas.ellipse(0.0, -0.38, 0.15, 0.15, (214, 20, 40))


def _coffee(canvas: Canvas) -> None:
    canvas.line(arc(0.4, 0.1, 0.2, 0.2, -90, 90, 8), 0.1, (250, 250, 250))
    canvas.polygon([(-0.42, -0.28), (0.42, -0.28), (0.34, 0.5), (-0.34, 0.5)], (250, 250, 250))
    canvas.ellipse(0.0, -0.28, 0.42, 0.12, (92, 54, 30))
    canvas.polygon([(-0.39, 0.0), (0.39, 0.0), (0.37, 0.18), (-0.37, 0.18)], (60, 140, 190))


def _flowers(canvas: Canvas) -> None:
    for k, colour in enumerate(((236, 60, 80), (252, 210, 60), (230, 90, 200), (250, 250, 250), (240, 120, 40))):
        head = 0.28 * (k - 2)
        top = -0.3 - (0.25 if k % 2 else 0.0)
        canvas.line([(0.0, 0.7), (head, top)], 0.08, (40, 130, 60))
        canvas.ellipse(head, top, 0.2, 0.2, colour)
        canvas.ellipse(head, top, 0.07, 0.07, (250, 220, 80))


def _balloon(canvas: Canvas) -> None:
    red: Colour = (232, 44, 64)
    canvas.line([(0.0, 0.6), (0.1, -0.6)], 0.06, (90, 90, 90))
    canvas.ellipse(0.1, -1.25, 0.55, 0.66, red)
    canvas.ellipse(-0.08, -1.45, 0.13, 0.17, mix(red, (255, 255, 255), 0.6))


_THING_SCALE = 1.35
"""Things are drawn larger than life, else at 64 px nobody could tell wine from coffee."""
_PLACES = {"balloon": 1.45, "wine": 0.7, "coffee": 0.6}
"""How far aside a thing is held."""
_THINGS = {"book": _book, "wine": _wine, "cake": _cake, "coffee": _coffee, "flowers": _flowers, "balloon": _balloon}
