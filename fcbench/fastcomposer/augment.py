"""What the official training does to a subject's picture, so that the model does not learn to paste it.

Each change has a chance and a range, all drawn from the given ``Random``. Plain torch: torchvision is not needed.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from random import Random

import numpy as np
import torch
from torch.nn import functional

from fcbench.fastcomposer.transforms import crop_top_square, resize
from fcbench.types import Image

DEGREES = 30.0
JITTER = 0.5
ELASTIC_ALPHA, ELASTIC_SIGMA = 50.0, 5.0
LUMA = (0.299, 0.587, 0.114)


def zoom_in(image: Image, random: Random) -> Image:
    """With probability 0.5 enlarged 1 to 2 times, a portrait cut to its top square; before ``fit_reference``.

    ``fit_reference`` undoes the enlarging, so all one sees is that half of the standing figures become busts.
    """
    if random.random() >= 0.5:
        return image
    zoom = random.uniform(1, 2)
    height, width = image.shape[:2]
    return crop_top_square(resize(image, int(zoom * height), int(zoom * width)))


def augment(image: Image, random: Random) -> Image:
    """A square reference, uint8 (side, side, 3), changed at random.

    Rotated by up to 30 degrees (probability 0.75); brightness, contrast, saturation and hue jittered by 0.5 (0.5);
    blurred (0.5); grey (0.1); mirrored (0.5); bent (0.5).
    """
    picture = torch.from_numpy(np.ascontiguousarray(image)).permute(2, 0, 1).float() / 255
    for chance, change in CHANGES:
        if random.random() < chance:
            picture = change(picture, random)
    return (picture * 255).round().clamp(0, 255).byte().permute(1, 2, 0).contiguous().numpy()


def rotate(picture: torch.Tensor, random: Random) -> torch.Tensor:
    """Float (3, side, side) turned about its middle; black comes in at the corners."""
    angle = math.radians(random.uniform(-DEGREES, DEGREES))
    cos, sin = math.cos(angle), math.sin(angle)
    turn = torch.tensor([[[cos, -sin, 0], [sin, cos, 0]]])
    grid = functional.affine_grid(turn, [1, *picture.shape], align_corners=False)
    return functional.grid_sample(picture[None], grid, align_corners=False)[0]


def jitter(picture: torch.Tensor, random: Random) -> torch.Tensor:
    """Brightness, contrast and saturation times 0.5 to 1.5, hue turned by up to half a circle, in random order."""
    changes: list[tuple[Callable[[torch.Tensor, float], torch.Tensor], float]] = [
        (change, random.uniform(1 - JITTER, 1 + JITTER)) for change in (brightness, contrast, saturation)
    ]
    changes.append((hue, random.uniform(-JITTER, JITTER)))
    for change, factor in random.sample(changes, len(changes)):
        picture = change(picture, factor)
    return picture


def brightness(picture: torch.Tensor, factor: float) -> torch.Tensor:
    """Float (3, h, w) in [0, 1] from black (0) to brighter (above 1)."""
    return (picture * factor).clamp(0, 1)


def contrast(picture: torch.Tensor, factor: float) -> torch.Tensor:
    """From its mean grey (0) to more contrast (above 1)."""
    return _blend(picture, to_grey(picture).mean(), factor)


def saturation(picture: torch.Tensor, factor: float) -> torch.Tensor:
    """From its greys (0) to stronger colours (above 1)."""
    return _blend(picture, to_grey(picture), factor)


def hue(picture: torch.Tensor, turn: float) -> torch.Tensor:
    """Colours turned by ``turn`` circles, brightness (the largest channel) and chroma kept as in HSV."""
    value, least = picture.amax(0), picture.amin(0)
    chroma = value - least
    red, green, blue = picture
    safe = chroma.clamp(min=1e-12)
    beyond_red = torch.where(value == green, 2 + (blue - red) / safe, 4 + (red - green) / safe)
    sector = torch.where(value == red, (green - blue) / safe, beyond_red) + 6 * turn
    # A channel is at its largest within one sector of its own colour, at its least beyond two.
    shares = [((sector + offset) % 6).sub(3).abs().sub(1).clamp(0, 1) for offset in (0, 4, 2)]
    return torch.stack([least + chroma * share for share in shares])


def blur(picture: torch.Tensor, random: Random) -> torch.Tensor:
    """Gaussian over 5 x 5 pixels, sigma 0.1 to 2."""
    return smooth(picture, random.uniform(0.1, 2.0), 5)


def smooth(planes: torch.Tensor, sigma: float, taps: int) -> torch.Tensor:
    """Float (channels, h, w) blurred by a Gaussian of ``taps`` (odd) values, mirrored at the border."""
    places = torch.arange(taps) - taps // 2
    kernel = torch.softmax(-(places**2) / (2 * sigma**2), dim=0)
    half = taps // 2
    padded = functional.pad(planes[:, None], (half, half, half, half), mode="reflect")
    return functional.conv2d(functional.conv2d(padded, kernel[None, None, None]), kernel[None, None, :, None])[:, 0]


def grey(picture: torch.Tensor, random: Random) -> torch.Tensor:
    """Without colour."""
    return to_grey(picture).expand_as(picture)


def to_grey(picture: torch.Tensor) -> torch.Tensor:
    """Float (3, h, w) as its luma (1, h, w)."""
    return (picture * torch.tensor(LUMA)[:, None, None]).sum(0, keepdim=True)


def mirror(picture: torch.Tensor, random: Random) -> torch.Tensor:
    """Left and right exchanged."""
    return picture.flip(2)


def bend(picture: torch.Tensor, random: Random) -> torch.Tensor:
    """Elastic: every pixel moved by smooth noise (alpha 50, sigma 5), a few pixels at most."""
    height, width = picture.shape[1:]
    generator = torch.Generator().manual_seed(random.getrandbits(48))
    noise = torch.rand(2, height, width, generator=generator) * 2 - 1
    taps = min(int(8 * ELASTIC_SIGMA) | 1, 2 * min(height, width) - 1)  # mirrored once at most
    moves = smooth(noise, ELASTIC_SIGMA, taps) * ELASTIC_ALPHA / torch.tensor([width, height])[:, None, None]
    grid = functional.affine_grid(torch.eye(2, 3)[None], [1, *picture.shape], align_corners=False)
    return functional.grid_sample(picture[None], grid + moves.permute(1, 2, 0), align_corners=False)[0]


CHANGES: tuple[tuple[float, Callable[[torch.Tensor, Random], torch.Tensor]], ...] = (
    (0.75, rotate),
    (0.5, jitter),
    (0.5, blur),
    (0.1, grey),
    (0.5, mirror),
    (0.5, bend),
)
"""In the official order, each with its probability."""


def _blend(picture: torch.Tensor, other: torch.Tensor, factor: float) -> torch.Tensor:
    return (factor * picture + (1 - factor) * other).clamp(0, 1)
