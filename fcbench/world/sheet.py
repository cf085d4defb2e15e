"""A contact sheet of the world: people as reference photos show them, and the same people in scenes."""

from __future__ import annotations

from collections.abc import Sequence
from random import Random

import numpy as np

from fcbench.types import Image
from fcbench.world.people import TRAIN_PEOPLE, draw_person
from fcbench.world.render import render
from fcbench.world.scenes import draw_scene, portrait
from fcbench.world.vocabulary import PROMPTS

_MARGIN = 2


def draw_sheet(rows: int, *, seed: int = 0, columns: int = 12, size: int = 64) -> Image:
    """One person a row: two reference photos, scenes of one prompt each, then scenes shared with other people."""
    random = Random(seed)
    lines = []
    for _ in range(rows):
        person, *others = (draw_person(number) for number in random.sample(TRAIN_PEOPLE, 3))
        scenes = [portrait(person, 0), portrait(person, 1)]
        scenes += [
            draw_scene([person], random.randrange(1 << 30), prompt=p) for p in random.sample(list(PROMPTS), columns - 5)
        ]
        scenes += [draw_scene([person, *others[:k]], random.randrange(1 << 30)) for k in (1, 1, 2)]
        lines.append([render(scene, size).image for scene in scenes])
    return grid(lines)


def grid(rows: Sequence[Sequence[Image]], *, scale: int = 1) -> Image:
    """Pictures of one size in rows on white, each enlarged ``scale`` times."""
    side = rows[0][0].shape[0] * scale
    height, width = len(rows) * (side + _MARGIN), max(map(len, rows)) * (side + _MARGIN)
    sheet = np.full((height - _MARGIN, width - _MARGIN, 3), 255, np.uint8)
    for y, row in enumerate(rows):
        for x, image in enumerate(row):
            top, left = y * (side + _MARGIN), x * (side + _MARGIN)
            sheet[top : top + side, left : left + side] = image.repeat(scale, axis=0).repeat(scale, axis=1)
    return sheet
