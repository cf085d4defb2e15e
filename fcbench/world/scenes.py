"""Scenes: who is where, in what, holding what, and how it is drawn. Deterministic by seed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from random import Random

from fcbench.world.people import Person
from fcbench.world.vocabulary import COLOURS, CONTEXTS, HATS, HOLDINGS, PROMPTS, STYLES

_CENTRES = {1: (0.5,), 2: (0.285, 0.715), 3: (0.19, 0.5, 0.81)}
_SIZES = {1: (0.195, 0.24), 2: (0.145, 0.172), 3: (0.108, 0.126)}


@dataclass(frozen=True)
class Figure:
    """A person in a scene. Position and ``size`` (half a head's width) are shares of the picture's side."""

    person: Person
    x: float
    y: float
    size: float
    roll: float
    """Head tilt in radians, clockwise."""
    yaw: float
    """How far the face looks aside, -1 to 1."""
    smile: float
    shirt: str
    hat: tuple[str, str] | None = None
    """(kind, colour)"""
    scarf: str | None = None
    shades: str | None = None
    holding: str | None = None


@dataclass(frozen=True)
class Scene:
    """Figures from back to front, and what is around them. ``light`` is a factor on brightness."""

    figures: tuple[Figure, ...]
    context: str
    style: str
    light: float
    seed: int


def draw_scene(people: Sequence[Person], seed: int, *, prompt: str | None = None) -> Scene:
    """A scene of one to three people, in random order from left to right.

    ``prompt`` (an id of PROMPTS) fixes what that prompt says, for every figure; without it anything goes.
    """
    random = Random(seed * 1_000_003 + len(people))
    places = list(_CENTRES[len(people)])
    random.shuffle(places)
    figures = [_figure(random, person, x, len(people)) for person, x in zip(people, places, strict=True)]
    context = random.choice(tuple(CONTEXTS))
    style = "photo" if random.random() < 0.7 else random.choice(tuple(STYLES)[1:])
    if prompt is None:
        figures = [_dress(random, figure) for figure in figures]
        if random.random() < 0.15:
            figures = [replace(figure, holding=figures[0].holding) for figure in figures]
        if random.random() < 0.15:
            figures = [replace(figure, hat=figures[0].hat, scarf=figures[0].scarf) for figure in figures]
    else:
        wanted = PROMPTS[prompt]
        context = wanted.context or random.choice(("wall", "wall", context))
        style = wanted.style or "photo"
        figures = [
            replace(
                figure,
                hat=wanted.hat,
                scarf=wanted.scarf,
                shades=wanted.shades,
                holding=wanted.holding,
                shirt=wanted.shirt or figure.shirt,
            )
            for figure in figures
        ]
    return Scene(tuple(figures), context, style, random.uniform(0.92, 1.06), seed)


def portrait(person: Person, view: int) -> Scene:
    """What a reference photo shows: one person before a wall, nothing put on; pose and light differ by view."""
    random = Random(person.number * 7_919 + view * 104_729 + 13)
    figure = _figure(random, person, 0.5, 1)
    return Scene((figure,), "wall", "photo", random.uniform(0.9, 1.08), random.randrange(1 << 30))


def snapshot(person: Person, view: int) -> Scene:
    """What a further photo shows: the pose and light of ``portrait``, anywhere; every fourth one is in some style."""
    random = Random(person.number * 15_485_863 + view * 32_452_843 + 29)
    context, style = random.choice(tuple(CONTEXTS)), random.choice(tuple(STYLES)[1:])
    return replace(portrait(person, view), context=context, style="photo" if view % 4 else style)


def _figure(random: Random, person: Person, x: float, count: int) -> Figure:
    low, high = _SIZES[count]
    size = random.uniform(low, high)
    return Figure(
        person=person,
        x=x + random.uniform(-0.05, 0.05) * (1.4 if count == 1 else 0.8),
        y=random.uniform(0.39, 0.46) + (0.03 if count > 1 else 0.0),
        size=size,
        roll=random.uniform(-0.16, 0.16),
        yaw=random.uniform(-1, 1),
        smile=random.uniform(-0.2, 1),
        shirt=random.choice(tuple(COLOURS)),
    )


def _dress(random: Random, figure: Figure) -> Figure:
    colours = tuple(COLOURS)
    hat = scarf = shades = holding = None
    if random.random() < 0.3:
        kind = random.choice(HATS)
        hat = (kind, {"crown": "yellow", "santa hat": "red", "top hat": "black"}.get(kind) or random.choice(colours))
    if random.random() < 0.2:
        scarf = "rainbow" if random.random() < 0.35 else random.choice(colours)
    if random.random() < 0.12:
        shades = random.choice(colours)
    if random.random() < 0.35:
        holding = random.choice(tuple(HOLDINGS))
    return replace(figure, hat=hat, scarf=scarf, shades=shades, holding=holding)
