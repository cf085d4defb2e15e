"""A head in local units: (0, 0) is its middle, 1 is half a nominal head's width, y points down."""

from __future__ import annotations

import math

from fcbench.world.canvas import Canvas, arc
from fcbench.world.people import Colour, Person, mix
from fcbench.world.scenes import Figure
from fcbench.world.vocabulary import COLOURS

_INK: Colour = (40, 30, 32)
_WHITE: Colour = (250, 250, 250)


def keypoints(figure: Figure) -> list[tuple[float, float]]:
    """Eyes, nose tip and mouth corners, picture's left first: the five points faces are aligned by."""
    p, shift = figure.person, _shift(figure)
    mouth_y = _mouth_y(p)
    return [
        (shift - p.eye_spacing, p.eye_height),
        (shift + p.eye_spacing, p.eye_height),
        (shift * 1.5, p.eye_height + p.nose_length),
        (shift - p.mouth_width, mouth_y),
        (shift + p.mouth_width, mouth_y),
    ]


def face_outline(person: Person) -> list[tuple[float, float]]:
    """The face: an ellipse whose lower half narrows by the jaw."""
    points = []
    for i in range(32):
        t = 2 * math.pi * i / 32
        c, s = math.cos(t), math.sin(t)
        narrow = 1 - person.jaw * max(s, 0) ** 2
        points.append((person.face_width * c * narrow, person.face_height * s))
    return points


def draw_back_hair(canvas: Canvas, person: Person) -> None:
    """The hair that lies behind neck and shoulders."""
    w, h, v, dark = person.face_width, person.face_height, person.hair_volume, mix(person.hair, (0, 0, 0), 0.18)
    style = person.hair_style
    if style == "long":
        low = h * 0.9 + 0.75 * person.hair_length
        top = arc(0, -0.2, w * 1.16 * v**0.5, h * 1.0, 180, 360)
        canvas.polygon([*top, (w * 1.3 * v, low), (-w * 1.3 * v, low)], dark)
    elif style == "bob":
        low = h * (0.45 + 0.3 * person.hair_length)
        top = arc(0, -0.15, w * 1.2 * v**0.5, h * 1.02, 180, 360)
        canvas.polygon([*top, (w * 1.32 * v**0.5, low), (-w * 1.32 * v**0.5, low)], dark)
    elif style == "curly":
        for x, y in arc(0, -0.25, w * 1.05, h * 0.85, 150, 390, 11):
            canvas.ellipse(x, y, 0.42 * v, 0.42 * v, dark)
    elif style == "ponytail":
        canvas.polygon(arc(w * 1.2, 0.35, 0.42 * v, 1.0 * person.hair_length, 0, 360, 16), dark)
    elif style == "braids":
        for side in (-1, 1):
            for k in range(4):
                canvas.ellipse(side * (w * 1.06 + 0.03 * k), 0.35 + 0.36 * k * person.hair_length, 0.23, 0.27, dark)
    elif style == "bun":
        canvas.ellipse(0, -h * 1.12, 0.46 * v, 0.42 * v, dark)


def draw_face(canvas: Canvas, figure: Figure) -> None:
    """Ears, face, and what is in it."""
    p, shift = figure.person, _shift(figure)
    shade = mix(p.skin, (60, 20, 20), 0.2)
    for side in (-1, 1):
        canvas.ellipse(side * p.face_width, p.eye_height + 0.12, p.ears, p.ears * 1.35, shade)
    canvas.polygon(face_outline(p), p.skin)
    _draw_skin(canvas, p, shift)
    _draw_beard(canvas, p, shift)
    _draw_mouth(canvas, p, shift, figure.smile)
    x, y = shift * 1.5, p.eye_height + p.nose_length
    canvas.polygon(
        [(x - p.nose_width, y), (x, y - p.nose_length * 0.75), (x + p.nose_width, y)], mix(p.skin, _INK, 0.13)
    )
    canvas.line([(x - p.nose_width, y), (x, y + 0.05), (x + p.nose_width, y)], 0.07, mix(p.skin, _INK, 0.45))
    _draw_eyes(canvas, p, shift)


def draw_front_hair(canvas: Canvas, person: Person) -> None:
    """The hair over forehead and temples."""
    w, h, v, hair = person.face_width, person.face_height, person.hair_volume, person.hair
    style = person.hair_style
    if style == "bald":
        return
    if style == "buzz":
        canvas.polygon(
            [*arc(0, -0.05, w * 1.02, h * 1.03, 190, 350), *arc(0, 0.1, w * 0.95, h * 0.86, 335, 205)],
            mix(hair, person.skin, 0.35),
        )
        return
    crown = arc(0, -0.12, w * 1.1, h * (0.98 + 0.12 * v), 172, 368, 16)
    if style == "spiky":
        spikes: list[tuple[float, float]] = []
        for k, (x, y) in enumerate(arc(0, -0.1, w * 1.08, h * 1.02, 185, 355, 15)):
            out = 1.28 + 0.12 * v if k % 2 else 1.0
            spikes.append((x * (1 + (out - 1) * 0.6), y * out))
        canvas.polygon([*spikes, *arc(0, 0.05, w * 0.92, h * 0.72, 335, 205)], hair)
    elif style == "parted":
        canvas.polygon(
            [
                *crown,
                (w * 1.04, 0.05),
                (w * 0.8, -h * 0.42),
                (-w * 0.3, -h * 0.85),
                (-w * 0.92, -h * 0.2),
                (-w * 1.06, 0.1),
            ],
            hair,
        )
    elif style == "curly":
        for x, y in arc(0, -0.28, w * 0.92, h * 0.78, 178, 362, 8):
            canvas.ellipse(x, y, 0.3 * v, 0.27 * v, hair)
    elif style in ("bun", "ponytail", "short"):
        canvas.polygon(
            [*crown, (w * 1.02, -0.05), *arc(0, 0.08, w * 0.9, h * 0.74, 340, 200), (-w * 1.02, -0.05)], hair
        )
    else:
        fringe = -h * 0.36
        canvas.polygon(
            [
                *crown,
                (w * 1.1, 0.35),
                (w * 0.84, fringe + 0.1),
                (0, fringe - 0.08),
                (-w * 0.84, fringe + 0.1),
                (-w * 1.1, 0.35),
            ],
            hair,
        )


def draw_glasses(canvas: Canvas, figure: Figure) -> None:
    """The person's own glasses, or the coloured ones put on."""
    p, shift = figure.person, _shift(figure)
    worn = figure.shades is not None
    if not worn and p.glasses == "none":
        return
    colour = COLOURS[figure.shades] if figure.shades is not None else (30, 30, 34)
    width = 0.16 if worn else 0.08
    r = min(p.eye_spacing * 0.86, 0.36)
    for side in (-1, 1):
        x = shift + side * p.eye_spacing
        if p.glasses == "square" and not worn:
            ring = [
                (x - r, p.eye_height - r * 0.75),
                (x + r, p.eye_height - r * 0.75),
                (x + r, p.eye_height + r * 0.75),
                (x - r, p.eye_height + r * 0.75),
            ]
        else:
            ring = arc(x, p.eye_height, r, r, 0, 360, 16)
        canvas.line([*ring, ring[0], ring[1]], width, colour)
        canvas.line([(x + side * r, p.eye_height), (side * p.face_width, p.eye_height - 0.05)], width * 0.8, colour)
    canvas.line([(shift - p.eye_spacing + r, p.eye_height), (shift + p.eye_spacing - r, p.eye_height)], width, colour)


def draw_hat(canvas: Canvas, figure: Figure) -> None:
    """What is on the head."""
    if figure.hat is None:
        return
    kind, name = figure.hat
    colour, w, top = COLOURS[name], figure.person.face_width, -figure.person.face_height * 0.62
    band = mix(colour, (0, 0, 0), 0.35)
    if kind == "hat":
        canvas.polygon(arc(0, top, w * 1.0, 0.95, 180, 360), colour)
        canvas.polygon([(-w, top - 0.22), (w, top - 0.22), (w, top), (-w, top)], band)
        canvas.ellipse(0, top + 0.02, w * 1.55, 0.2, colour)
    elif kind == "cap":
        canvas.polygon(arc(0, top + 0.05, w * 1.1, 0.88, 180, 360), colour)
        canvas.polygon(
            [(-w * 1.1, top + 0.02), (w * 1.7, top + 0.02), (w * 1.6, top + 0.22), (-w * 1.08, top + 0.18)], band
        )
    elif kind == "top hat":
        canvas.polygon([(-w * 0.85, top), (-w * 0.9, top - 1.25), (w * 0.9, top - 1.25), (w * 0.85, top)], colour)
        canvas.polygon(
            [(-w * 0.85, top - 0.3), (w * 0.85, top - 0.3), (w * 0.85, top), (-w * 0.85, top)], (150, 30, 40)
        )
        canvas.ellipse(0, top + 0.02, w * 1.4, 0.17, colour)
    elif kind == "crown":
        points = [(-w, top + 0.1)]
        for k in range(7):
            points.append((w * (k / 3 - 1), top - (0.75 if k % 2 == 0 else 0.32)))
        canvas.polygon([*points, (w, top + 0.1)], (250, 200, 40))
        for x in (-0.6, 0.0, 0.6):
            canvas.ellipse(x * w, top - 0.1, 0.13, 0.13, (210, 40, 60))
    else:
        canvas.polygon(
            [(-w * 1.08, top), (-w * 0.4, top - 0.8), (w * 0.9, top - 1.1), (w * 1.45, top - 0.3), (w * 1.08, top)],
            colour,
        )
        canvas.ellipse(w * 1.45, top - 0.22, 0.25, 0.25, _WHITE)
        canvas.polygon(
            [(-w * 1.16, top - 0.12), (w * 1.16, top - 0.12), (w * 1.16, top + 0.2), (-w * 1.16, top + 0.2)], _WHITE
        )


def _shift(figure: Figure) -> float:
    return figure.yaw * 0.13


def _mouth_y(person: Person) -> float:
    return person.face_height * 0.62 + 0.04


def _draw_skin(canvas: Canvas, p: Person, shift: float) -> None:
    if p.blush > 0.15:
        for side in (-1, 1):
            canvas.ellipse(shift + side * 0.58, 0.36, 0.22, 0.15, mix(p.skin, (236, 96, 96), p.blush * 0.6))
    if p.freckles:
        for side in (-1, 1):
            for x, y in ((0.4, 0.3), (0.55, 0.24), (0.52, 0.42), (0.68, 0.36)):
                canvas.ellipse(shift + side * x, y, 0.055, 0.055, mix(p.skin, (120, 50, 20), 0.6))


def _draw_beard(canvas: Canvas, p: Person, shift: float) -> None:
    w, h = p.face_width, p.face_height
    colour = mix(p.hair, _INK, 0.12)
    if p.beard == "stubble":
        canvas.polygon(
            [*arc(0, 0, w * (1 - p.jaw), h * 0.99, 20, 160), (-w * 0.5, h * 0.3), (w * 0.5, h * 0.3)],
            mix(p.skin, colour, 0.4),
        )
    elif p.beard == "full":
        canvas.polygon(
            [
                (w * 0.98, 0.1),
                *arc(0, 0, w * (1.02 - p.jaw), h * 1.13, 12, 168),
                (-w * 0.98, 0.1),
                (-w * 0.6, h * 0.42),
                (w * 0.6, h * 0.42),
            ],
            colour,
        )
    elif p.beard == "goatee":
        canvas.ellipse(shift, h * 0.9, p.mouth_width * 0.85, h * 0.24, colour)
    elif p.beard == "moustache":
        y = _mouth_y(p) - 0.16
        canvas.polygon(
            [
                (shift - p.mouth_width * 1.25, y + 0.14),
                (shift, y - 0.13),
                (shift + p.mouth_width * 1.25, y + 0.14),
                (shift, y + 0.08),
            ],
            colour,
        )


def _draw_mouth(canvas: Canvas, p: Person, shift: float, smile: float) -> None:
    y, w = _mouth_y(p), p.mouth_width
    curve = [
        (shift - w, y),
        (shift - w * 0.5, y + smile * 0.1),
        (shift, y + smile * 0.15),
        (shift + w * 0.5, y + smile * 0.1),
        (shift + w, y),
    ]
    colour = mix(mix(p.skin, (110, 40, 40), 0.65), (204, 36, 60), p.lip)
    canvas.line(curve, 0.1 + 0.12 * p.lip, colour)


def _draw_eyes(canvas: Canvas, p: Person, shift: float) -> None:
    brow = mix(p.hair, _INK, 0.45 if p.hair_name in ("blond", "white", "grey") else 0.6)
    for side in (-1, 1):
        x, y, s = shift + side * p.eye_spacing, p.eye_height, p.eye_size
        canvas.ellipse(x, y, 0.25 * s, 0.19 * s, _WHITE)
        canvas.ellipse(x + shift * 0.5, y, 0.135 * s, 0.15 * s, p.eye)
        canvas.ellipse(x + shift * 0.5, y, 0.06 * s, 0.07 * s, _INK)
        if p.noun == "woman":
            canvas.line(arc(x, y, 0.26 * s, 0.21 * s, 190, 350, 6), 0.07, _INK)
        inner, outer = x - side * 0.2, x + side * 0.24
        height = y - 0.31 * s
        canvas.line([(inner, height + p.brow_tilt), (outer, height - p.brow_tilt * 0.5)], p.brow_thickness, brow)
