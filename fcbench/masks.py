"""Masks as the COCO run-length code, the one form in which they leave the program."""

from __future__ import annotations

import warnings
from collections.abc import Sequence

import numpy as np
from typing_extensions import TypedDict

from fcbench.errors import DataError
from fcbench.types import Image, Mask


class Rle(TypedDict):
    """COCO's compressed run lengths; ``size`` is [height, width]."""

    size: list[int]
    counts: str


def encode_mask(mask: Mask) -> Rle:
    """A mask as run lengths; equal masks, equal text."""
    from pycocotools import mask as coco

    rle = coco.encode(np.asfortranarray(mask, dtype=np.uint8))
    return {"size": [int(side) for side in rle["size"]], "counts": rle["counts"].decode("ascii")}


def decode_mask(rle: Rle) -> Mask:
    """The mask that was encoded: bool (height, width). DataError when the runs do not fill the size."""
    from pycocotools import mask as coco

    try:
        code = {"size": rle["size"], "counts": rle["counts"].encode("ascii")}
        with warnings.catch_warnings():  # pycocotools 2.0.11 copies as NumPy 1 did; NumPy 2 only warns of that
            warnings.filterwarnings("ignore", "__array__ implementation", DeprecationWarning)
            decoded = coco.decode(code)
        # Runs that end early leave the rest as memory happened to be: only encoding it again shows that.
        whole = coco.encode(decoded)["counts"] == code["counts"]
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise DataError(f"not a COCO run-length mask ({error})") from error
    if not whole:
        raise DataError(f"not a COCO run-length mask: the runs do not fill {rle['size']}")
    mask: Mask = np.ascontiguousarray(decoded, dtype=bool)
    return mask


def iou(first: Mask, second: Mask) -> float:
    """Intersection over union of two masks of one size; 0 where both are empty."""
    union = np.count_nonzero(first | second)
    return float(np.count_nonzero(first & second) / union) if union else 0.0


def box_holds(box: Sequence[int], inner: Sequence[int]) -> bool:
    """Whether a box (x1, y1, x2, y2) holds another; so does one that touches its sides.

    >>> box_holds((0, 0, 4, 4), (0, 1, 4, 2)), box_holds((0, 0, 4, 4), (0, 1, 5, 2))
    (True, False)
    """
    return box[0] <= inner[0] and box[1] <= inner[1] and box[2] >= inner[2] and box[3] >= inner[3]


def box_of(mask: Mask) -> tuple[int, int, int, int]:
    """The smallest (x1, y1, x2, y2) that holds the mask, end-exclusive; all zero when the mask is empty.

    >>> box_of(np.array([[False, True, True], [False, False, False]]))
    (1, 0, 3, 1)
    """
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    if not len(rows):
        return (0, 0, 0, 0)
    return int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1


GREY = 128
LARGEST = 512
"""The side of a cut-out square in pixels, beyond which it is shrunk: no model looks at more."""


def on_grey(image: Image, mask: Mask, box: tuple[int, int, int, int]) -> Image:
    """What a mask shows, amid the smallest grey square around its box [x1, y1, x2, y2]; at most ``LARGEST`` wide."""
    from PIL import Image as Pillow

    x1, y1, x2, y2 = box
    shown, inside = (Pillow.fromarray(np.ascontiguousarray(part[y1:y2, x1:x2])) for part in (image, mask))
    if max(shown.size) > LARGEST:
        scale = LARGEST / max(shown.size)
        size = (max(1, round(shown.width * scale)), max(1, round(shown.height * scale)))
        shown, inside = shown.resize(size, Pillow.Resampling.BILINEAR), inside.resize(size, Pillow.Resampling.NEAREST)
    side = max(shown.size)
    square = Pillow.new("RGB", (side, side), (GREY, GREY, GREY))
    square.paste(shown, ((side - shown.width) // 2, (side - shown.height) // 2), inside)  # a third of NumPy's time
    return np.array(square)
