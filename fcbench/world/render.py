"""Scene to picture and truth."""

from __future__ import annotations

from dataclasses import dataclass
from random import Random

import numpy as np
import numpy.typing as npt
from PIL import ImageEnhance

from fcbench.types import Image, Mask
from fcbench.world.backgrounds import draw_background
from fcbench.world.bodies import draw_body, draw_holding, draw_scarf
from fcbench.world.canvas import Canvas
from fcbench.world.heads import (
    draw_back_hair,
    draw_face,
    draw_front_hair,
    draw_glasses,
    draw_hat,
    face_outline,
    keypoints,
)
from fcbench.world.scenes import Figure, Scene
from fcbench.world.styles import apply_style


@dataclass(frozen=True)
class FigureTruth:
    """What is known of one person in a picture. Boxes are [x1, y1, x2, y2], the mask's box end-exclusive.

    ``keypoints``: float32 (5, 2), eyes, nose tip, mouth corners, picture's left first, in pixels.
    """

    person: int
    noun: str
    mask: Mask
    box: tuple[int, int, int, int]
    face_box: tuple[float, float, float, float]
    keypoints: npt.NDArray[np.float32]


@dataclass(frozen=True)
class Render:
    """A picture (uint8 (size, size, 3)) and its truth, figures in the scene's order."""

    image: Image
    figures: tuple[FigureTruth, ...]


def render(scene: Scene, size: int = 64) -> Render:
    """Draw a scene. Equal scenes give equal pictures."""
    canvas = Canvas(size)
    draw_background(canvas, scene.context, Random(scene.seed * 31 + 7))
    for number, figure in enumerate(scene.figures, 1):
        canvas.owner = number
        _draw_figure(canvas, figure)
    faces = [_face(canvas, figure) for figure in scene.figures]
    picture, owners = canvas.finish()
    if scene.light != 1:
        picture = ImageEnhance.Brightness(picture).enhance(scene.light)
    image = np.ascontiguousarray(apply_style(picture, scene.style))
    truths = [
        _truth(figure, owners == number, *face)
        for number, (figure, face) in enumerate(zip(scene.figures, faces, strict=True), 1)
    ]
    return Render(image, tuple(truths))


def _draw_figure(canvas: Canvas, figure: Figure) -> None:
    upright, tilted = (figure.x, figure.y, figure.size), (figure.x, figure.y, figure.size, figure.roll)
    canvas.place(*tilted)
    draw_back_hair(canvas, figure.person)
    canvas.place(*upright)
    draw_body(canvas, figure)
    draw_scarf(canvas, figure)
    canvas.place(*tilted)
    draw_face(canvas, figure)
    draw_front_hair(canvas, figure.person)
    draw_glasses(canvas, figure)
    draw_hat(canvas, figure)
    canvas.place(*upright)
    draw_holding(canvas, figure)


def _face(canvas: Canvas, figure: Figure) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
    canvas.place(figure.x, figure.y, figure.size, figure.roll)
    return canvas.locate(face_outline(figure.person)), canvas.locate(keypoints(figure))


def _truth(
    figure: Figure, mask: Mask, outline: npt.NDArray[np.float32], points: npt.NDArray[np.float32]
) -> FigureTruth:
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    box = (0, 0, 0, 0)
    if len(rows):
        box = (int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1)
    (x1, y1), (x2, y2) = outline.min(axis=0).tolist(), outline.max(axis=0).tolist()
    return FigureTruth(figure.person.number, figure.person.noun, mask, box, (x1, y1, x2, y2), points)
