"""Photos, masks and references at the size that a model wants, number for number as the official code makes them.

Pictures are uint8 (height, width, 3), masks bool (height, width). Pictures are resized bilinearly with antialiasing, in
floating point, and rounded once.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch.nn import functional

from fcbench.types import Image, Mask


def fit_photo(image: Image, side: int, *, flip: bool = False) -> Image:
    """A photo as a square of ``side``: its shorter side resized, mirrored if ``flip``, then cropped or padded.

    A landscape loses its left and right, a portrait stands between black bars (``center_crop_or_pad_sides``).
    """
    image = resize(image, *_short_side(image.shape, side))
    return center_crop_or_pad_sides(image[:, ::-1] if flip else image)


def fit_mask(mask: Mask, side: int, *, flip: bool = False) -> Mask:
    """A photo's mask as ``fit_photo`` places the photo, bool (side, side).

    The first resizing takes the nearest pixel. The second, of portraits only, averages, and what is over half covered
    stays: the official code averages the *numbers* of a map of segments there, so that between segments 1 and 3 it
    draws a line of segment 2, and between 0 and 2 one of 1. Masks, taken one by one, have no such lines.
    """
    mask = _nearest(mask, *_short_side(mask.shape, side))
    mask = np.ascontiguousarray(mask[:, ::-1]) if flip else mask
    height, width = mask.shape
    if height <= width:
        return _center_crop(mask)
    shares = _bilinear(_pad_sides(mask)[..., None].astype(np.float32), width, width)[..., 0]
    covered: Mask = shares.round() > 0
    return covered


def fit_reference(image: Image, side: int) -> Image:
    """A subject's picture as the image encoder gets it: padded to a square with black, resized to ``side``."""
    return resize(pad_to_square(image), side, side)


def resize(image: Image, height: int, width: int) -> Image:
    """The picture at another size."""
    if image.shape[:2] == (height, width):
        return image
    return _bilinear(image.astype(np.float32), height, width).round().clip(0, 255).astype(np.uint8)


def pad_to_square(image: Image) -> Image:
    """Padded to a square with black, half of what is missing on either side.

    As in the official code each half is rounded down: if the difference is odd, one row or column stays missing.
    """
    height, width = image.shape[:2]
    if height >= width:
        return _pad_sides(image)
    half = (width - height) // 2
    return np.pad(image, ((half, half), (0, 0), (0, 0)))


def center_crop_or_pad_sides(image: Image) -> Image:
    """A landscape's middle; a portrait padded at its sides and made smaller, so that the square has its width."""
    height, width = image.shape[:2]
    return resize(_pad_sides(image), width, width) if height > width else _center_crop(image)


def crop_top_square(image: Image) -> Image:
    """The top of a portrait, as high as it is wide; a landscape as it is."""
    return image[: image.shape[1]]


def cut_out(image: Image, mask: Mask, box: tuple[int, int, int, int], noise: Image) -> Image:
    """The box [x1, y1, x2, y2] of a picture, ``noise`` (y2 - y1, x2 - x1, 3) where the mask is False."""
    x1, y1, x2, y2 = box
    return np.where(mask[y1:y2, x1:x2, None], image[y1:y2, x1:x2], noise)


def _short_side(shape: tuple[int, ...], side: int) -> tuple[int, int]:
    """(height, width) at which the shorter one is ``side`` and the longer one is rounded down."""
    height, width = shape[:2]
    return (side, side * width // height) if height <= width else (side * height // width, side)


def _center_crop(picture: npt.NDArray[Any]) -> npt.NDArray[Any]:
    height, width = picture.shape[:2]
    left = (width - height) // 2
    return picture[:, left : left + height]


def _pad_sides(picture: npt.NDArray[Any]) -> npt.NDArray[Any]:
    half = (picture.shape[0] - picture.shape[1]) // 2
    return np.pad(picture, ((0, 0), (half, half), *((0, 0),) * (picture.ndim - 2)))


def _bilinear(picture: npt.NDArray[np.float32], height: int, width: int) -> npt.NDArray[np.float32]:
    """Float (h, w, channels) at another size, antialiased."""
    planes = torch.from_numpy(picture).permute(2, 0, 1)[None]
    made = functional.interpolate(planes, (height, width), mode="bilinear", antialias=True, align_corners=False)
    resized: npt.NDArray[np.float32] = made[0].permute(1, 2, 0).numpy()
    return resized


def _nearest(mask: Mask, height: int, width: int) -> Mask:
    if mask.shape == (height, width):
        return mask
    made = functional.interpolate(torch.from_numpy(mask.astype(np.float32))[None, None], (height, width))
    resized: Mask = made[0, 0].numpy() > 0
    return resized
