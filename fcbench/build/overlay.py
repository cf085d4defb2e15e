"""Pictures of the page: a photo, and its masks in the colours of their phrases, each as a data URL."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from PIL import Image as Pillow

from fcbench.build.rows import Row, picture
from fcbench.masks import decode_mask
from fcbench.types import Image, Mask

COLOURS = ("#e4572e", "#1f8fc4", "#3f9142", "#9b5de5", "#d99a00", "#e0559a", "#00a39a", "#7a6a53")
"""The phrases' colours, in their order; what has no phrase is grey."""
GREY = "#8a8f96"
LARGEST_SIDE = 448
INSIDE, EDGE = 96, 255
"""How opaque a mask and its edge are, of 255."""


@dataclass(frozen=True)
class Piece:
    """A stretch of a caption; ``colour`` is empty outside the phrases that name somebody."""

    text: str
    colour: str


def colours_of(row: Row) -> dict[int, str]:
    """The colour of each phrase that names a segment, by its index."""
    used = sorted({s["phrase_index"] for s in row["segments"] if s["phrase_index"] is not None})
    return {index: COLOURS[place % len(COLOURS)] for place, index in enumerate(used)}


def caption_pieces(row: Row) -> list[Piece]:
    """The caption cut at its phrases; of two that overlap only the first is coloured."""
    colours, at, pieces = colours_of(row), 0, []
    phrases = sorted(
        (row["noun_phrases"][index]["start"], row["noun_phrases"][index]["end"], index) for index in colours
    )
    for start, end, index in phrases:
        if start < at:
            continue
        pieces += [Piece(row["caption"][at:start], ""), Piece(row["caption"][start:end], colours[index])]
        at = end
    return [piece for piece in [*pieces, Piece(row["caption"][at:], "")] if piece.text]


def photo_url(image: Image) -> str:
    """A photo for the page: JPEG, or PNG where it is small."""
    kind = "PNG" if max(image.shape[:2]) <= 128 else "JPEG"
    return data_url(_shrunk(Pillow.fromarray(image), Pillow.Resampling.LANCZOS), kind)


def overlay_url(row: Row) -> str:
    """The row's masks, see-through, with an edge; the smallest on top."""
    colours = colours_of(row)
    painted = np.zeros((row["height"], row["width"], 4), np.uint8)
    for segment in sorted(row["segments"], key=lambda s: -s["area"]):
        mask = decode_mask(segment["rle"])
        colour = colours.get(segment["phrase_index"], GREY)
        painted[mask] = (*_rgb(colour), INSIDE)
        painted[_edge(mask, max(1, max(mask.shape) // 300))] = (*_rgb(colour), EDGE)
    return data_url(_shrunk(Pillow.fromarray(painted), Pillow.Resampling.NEAREST), "PNG")


def photo_of(row: Row) -> str:
    """A row's photo for the page."""
    return photo_url(picture(row))


def data_url(image: Pillow.Image, kind: str) -> str:
    """A picture encoded as a data URL."""
    buffer = io.BytesIO()
    image.save(buffer, kind, **({"quality": 82} if kind == "JPEG" else {"optimize": True}))
    return f"data:image/{kind.lower()};base64,{base64.b64encode(buffer.getvalue()).decode()}"


def _shrunk(image: Pillow.Image, method: Pillow.Resampling) -> Pillow.Image:
    factor = LARGEST_SIDE / max(image.size)
    if factor >= 1:
        return image
    width, height = (max(1, round(side * factor)) for side in image.size)
    return image.resize((width, height), method)


def _edge(mask: Mask, width: int) -> Mask:
    """The pixels of a mask within ``width`` of its border."""
    inner = np.pad(mask, width)
    height, length = mask.shape
    shifts: Sequence[tuple[int, int]] = ((0, width), (2 * width, width), (width, 0), (width, 2 * width))
    kept: npt.NDArray[np.bool_] = mask.copy()
    for top, left in shifts:
        kept &= inner[top : top + height, left : left + length]
    return mask & ~kept


def _rgb(colour: str) -> tuple[int, int, int]:
    return int(colour[1:3], 16), int(colour[3:5], 16), int(colour[5:7], 16)
