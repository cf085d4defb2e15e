"""How a finished picture is redrawn. Every style keeps outlines and light and dark, so that a face stays itself."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageFilter

Picture = npt.NDArray[np.uint8]


def _to_picture(values: npt.NDArray[np.floating]) -> Picture:
    picture: Picture = np.clip(values, 0, 255).astype(np.uint8)
    return picture


def apply_style(picture: Image.Image, style: str) -> Picture:
    """The picture in a style: uint8 (height, width, 3)."""
    return _STYLES[style](picture)


def _photo(picture: Image.Image) -> Picture:
    return np.asarray(picture)


def _black_and_white(picture: Image.Image) -> Picture:
    return np.asarray(picture.convert("L").convert("RGB"))


def _sepia(picture: Image.Image) -> Picture:
    grey = np.asarray(picture.convert("L"), dtype=np.float32)[..., None] / 255
    tone = np.array([70, 42, 18]) + grey * np.array([185, 186, 170])
    return _to_picture(tone)


def _watercolor(picture: Image.Image) -> Picture:
    soft = np.asarray(picture.filter(ImageFilter.MedianFilter(3)), dtype=np.float32)
    pale = 255 - (255 - soft) * 0.74
    side = pale.shape[0]
    y, x = np.mgrid[0:side, 0:side] / side
    paper = 6 * (np.sin(31 * x + 5 * np.sin(9 * y)) * np.sin(27 * y + 4 * np.sin(11 * x)))[..., None]
    edge = np.clip(np.minimum(np.minimum(x, 1 - x), np.minimum(y, 1 - y)) * 14, 0, 1)[..., None]
    return _to_picture((pale + paper) * edge + 252 * (1 - edge))


def _pixel_art(picture: Image.Image) -> Picture:
    side = picture.width
    small = picture.resize((side // 2, side // 2), Image.Resampling.BOX)
    levels = np.round(np.asarray(small, dtype=np.float32) / 42.5) * 42.5
    return _to_picture(levels).repeat(2, axis=0).repeat(2, axis=1)


def _pencil(picture: Image.Image) -> Picture:
    grey = np.asarray(picture.convert("L"), dtype=np.float32)
    dx, dy = np.abs(np.diff(grey, axis=1, append=grey[:, -1:])), np.abs(np.diff(grey, axis=0, append=grey[-1:]))
    lines = np.clip((np.maximum(dx, dy) - 8) * 1.3, 0, 150)
    shade = 255 - (255 - grey) * 0.45
    return _to_picture(shade - lines)[..., None].repeat(3, axis=2)


def _pointillism(picture: Image.Image) -> Picture:
    colours = np.asarray(picture, dtype=np.float32)
    side = colours.shape[0]
    y, x = np.mgrid[0:side, 0:side]
    gap = ((x % 4 == 3) | (y % 4 == 3))[..., None]
    vivid = colours + (colours - colours.mean(axis=2, keepdims=True)) * 0.25
    return _to_picture(np.where(gap, 255 - (255 - colours) * 0.55, vivid))


def _comic(picture: Image.Image) -> Picture:
    colours = np.asarray(picture, dtype=np.float32)
    flat = np.round(colours / 51) * 51
    vivid = flat + (flat - flat.mean(axis=2, keepdims=True)) * 0.35
    grey = np.asarray(picture.convert("L"), dtype=np.float32)
    dx, dy = np.abs(np.diff(grey, axis=1, append=grey[:, -1:])), np.abs(np.diff(grey, axis=0, append=grey[-1:]))
    ink = np.clip((np.maximum(dx, dy) - 48) / 90, 0, 0.7)[..., None]
    return _to_picture(vivid * (1 - ink))


_STYLES: dict[str, Callable[[Image.Image], Picture]] = {
    "photo": _photo,
    "black-and-white": _black_and_white,
    "sepia": _sepia,
    "watercolor": _watercolor,
    "pixel-art": _pixel_art,
    "pencil": _pencil,
    "pointillism": _pointillism,
    "comic": _comic,
}
