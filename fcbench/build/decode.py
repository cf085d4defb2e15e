"""A photo's pixels as anybody would see them: upright, in sRGB, on white where it is transparent."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image as Pillow
from PIL import ImageCms, ImageOps

from fcbench.build.inspect_file import UnfitError, inspected
from fcbench.build.records import Reason
from fcbench.types import Image

LONGEST = 8
"""A working copy's longer side is at most this many times the shorter side that is asked for."""


def decode(path: Path) -> tuple[Image, tuple[str, ...]]:
    """A picture file as uint8 RGB (height, width, 3), and what was done to it beyond decoding.

    Turned as its EXIF says; colours of a profile other than sRGB are converted. UnfitError for a file that cannot be
    used.
    """
    picture, turned = inspected(path)
    try:
        changes = ["turned upright"] if turned else []
        ImageOps.exif_transpose(picture, in_place=True)  # most have nothing to turn, and would be copied
        if (converted := _to_srgb(picture)) is not None:
            picture = converted
            changes.append("colours converted to sRGB")
        if "transparency" in picture.info or picture.mode in ("LA", "PA", "RGBA"):
            picture = _on_white(picture)
            changes.append("put on white")
        return np.array(picture if picture.mode == "RGB" else picture.convert("RGB")), tuple(changes)
    except Exception as error:  # on odd tags Pillow raises whatever its code runs into
        reason: Reason = "oom" if isinstance(error, MemoryError) else "decode_error"
        raise UnfitError(reason, f"{path}: not a picture that can be read ({error})") from error


def shrink(image: Image, short_side: int) -> Image:
    """The picture with its shorter side at most ``short_side`` pixels (Lanczos); never larger than it was.

    The longer one is at most ``LONGEST`` times that: a long strip, as of a web page, would fill every step's memory.
    """
    height, width = image.shape[:2]
    factor = min(1.0, short_side / min(height, width), LONGEST * short_side / max(height, width))
    shape = (max(1, round(height * factor)), max(1, round(width * factor)))
    if shape == (height, width):
        return image
    return np.asarray(Pillow.fromarray(image).resize((shape[1], shape[0]), Pillow.Resampling.LANCZOS))


def _to_srgb(image: Any) -> Any | None:
    """The picture in sRGB; None where it is already, or its profile cannot be used."""
    data = image.info.get("icc_profile")
    if not data or image.mode not in ("RGB", "RGBA", "L"):
        return None
    try:
        profile = ImageCms.ImageCmsProfile(io.BytesIO(data))
        if "sRGB" in ImageCms.getProfileDescription(profile):
            return None
        mode = image.mode if image.mode == "RGBA" else "RGB"
        return ImageCms.profileToProfile(image, profile, ImageCms.createProfile("sRGB"), outputMode=mode)
    except (ImageCms.PyCMSError, OSError, ValueError):  # a profile that is broken or for another kind of picture
        return None


def _on_white(image: Any) -> Any:
    layer = image.convert("RGBA")
    return Pillow.alpha_composite(Pillow.new("RGBA", layer.size, (255, 255, 255, 255)), layer)
