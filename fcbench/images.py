"""The one place where pictures change form: files, uint8 RGB HWC at the borders, float [-1, 1] CHW inside."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from fcbench.errors import DataError
from fcbench.types import Image

if TYPE_CHECKING:
    import torch

FORMATS = {
    **{".jpg": ("JPEG", "MPO"), ".jpeg": ("JPEG", "MPO"), ".png": ("PNG",), ".webp": ("WEBP",), ".bmp": ("BMP", "DIB")},
    **{".tif": ("TIFF",), ".tiff": ("TIFF",)},
}
"""Suffixes of the files in a folder that count as pictures, and what Pillow may find in them."""
ASIDE = {
    *(".heic", ".heif", ".hif", ".avif", ".gif", ".jp2", ".j2k", ".jxl", ".jfif", ".psd", ".svg"),
    *(".tga", ".raw", ".dng", ".cr2", ".cr3", ".nef", ".arw", ".orf", ".raf", ".rw2"),
}
"""Suffixes of files that people take for pictures and that are not read here."""


def left_aside(paths: Iterable[Path]) -> str:
    """How many files look like pictures but are not read, by suffix, in a line; empty where there are none.

    >>> left_aside([Path("1.HEIC"), Path("2.heic"), Path("3.gif"), Path("4.jpg"), Path("notes.txt"), Path("._1.heic")])
    'left aside: 2 .heic, 1 .gif; convert them first'
    """
    found = Counter(path.suffix.lower() for path in paths if path.suffix.lower() in ASIDE and path.name[0] != ".")
    told = ", ".join(
        f"{count} {suffix}" for suffix, count in sorted(found.items(), key=lambda kind: (-kind[1], kind[0]))
    )
    return f"left aside: {told}; convert them first" if told else ""


def read_image(path: Path) -> Image:
    """A picture file as uint8 RGB (height, width, 3), turned as its EXIF says. DataError names a broken file."""
    from PIL import Image as Pillow
    from PIL import ImageOps

    try:
        with Pillow.open(path) as opened:
            if opened.mode.startswith(("I", "F")):  # Pillow would cut what lies above 255
                raise DataError(f"{path}: {opened.mode} holds more than 8 bits a colour; convert it first")
            ImageOps.exif_transpose(opened, in_place=True)  # most have nothing to turn, and would be copied
            return np.array(opened if opened.mode == "RGB" else opened.convert("RGB"))
    except FileNotFoundError:
        raise DataError(f"{path}: no such picture") from None
    except (OSError, ValueError, SyntaxError, Pillow.DecompressionBombError) as error:
        raise DataError(f"{path}: not a picture that can be read ({error})") from error


def to_tensor(images: Sequence[Image], device: torch.device | str = "cpu") -> torch.Tensor:
    """Pictures of one size as float32 (n, 3, height, width) in [-1, 1], made on the device that they are for."""
    import torch

    stacked = torch.from_numpy(np.stack(images)).to(device).permute(0, 3, 1, 2).contiguous()
    return stacked.float() / 127.5 - 1


def to_images(batch: torch.Tensor) -> list[Image]:
    """Float (n, 3, height, width) in [-1, 1] (what lies outside is clamped) as uint8 pictures."""
    scaled = ((batch.detach().float().clamp(-1, 1) + 1) * 127.5).round().byte()
    return list(scaled.permute(0, 2, 3, 1).cpu().numpy())


def pad_to_square(image: Image) -> Image:
    """The picture in the middle of a black square whose side is its longer one."""
    height, width = image.shape[:2]
    side = max(height, width)
    square = np.zeros((side, side, 3), np.uint8)
    top, left = (side - height) // 2, (side - width) // 2
    square[top : top + height, left : left + width] = image
    return square


def resize(image: Image, size: int, *, width: int | None = None, bicubic: bool = False) -> Image:
    """The picture ``size`` high and ``width`` (else ``size``) wide, bilinear or ``bicubic``, with antialiasing."""
    from PIL import Image as Pillow

    width = size if width is None else width
    if image.shape[:2] == (size, width):
        return image
    method = Pillow.Resampling.BICUBIC if bicubic else Pillow.Resampling.BILINEAR
    return np.array(Pillow.fromarray(image).resize((width, size), method))


CLIP_MEAN = (0.48145466, 0.4578275, 0.40821073)
CLIP_STD = (0.26862954, 0.26130258, 0.27577711)


def to_clip(batch: torch.Tensor, size: int) -> torch.Tensor:
    """Float (n, 3, height, width) in [-1, 1] as CLIP's vision towers read it: ``size`` px, CLIP's own normalisation."""
    import torch
    from torch.nn import functional

    if batch.shape[-2:] != (size, size):
        batch = functional.interpolate(batch, (size, size), mode="bilinear", antialias=True, align_corners=False)
    mean = torch.tensor(CLIP_MEAN, device=batch.device, dtype=batch.dtype)[:, None, None]
    std = torch.tensor(CLIP_STD, device=batch.device, dtype=batch.dtype)[:, None, None]
    return ((batch + 1) / 2 - mean) / std
