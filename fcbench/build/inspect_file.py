"""Whether a file is a whole photo of a kind that can be used, checked before anything is made of it.

Pillow is asked rather than trusted: it opens the first frame of an animation, halves 16-bit samples, and turns CMYK
into RGB by a formula that no printer knows.
"""

from __future__ import annotations

import stat
from pathlib import Path
from typing import Any

from PIL import ExifTags, PngImagePlugin, UnidentifiedImageError
from PIL import Image as Pillow

from fcbench.build.records import Reason
from fcbench.errors import DataError
from fcbench.images import FORMATS

MODES = frozenset(("1", "L", "LA", "P", "PA", "RGB", "RGBA", "RGBX"))
"""Modes of 8 bits that become RGB without a guess."""

TEXT_BYTES = 64 << 20
"""The largest text or profile of a PNG, unpacked: some of FFHQ's exceed Pillow's own limit, none exceeds this."""


class UnfitError(DataError):
    """A file that is rejected, and the reason."""

    def __init__(self, reason: Reason, message: str) -> None:
        super().__init__(message)
        self.reason = reason


def inspected(path: Path) -> tuple[Pillow.Image, bool]:
    """A file's picture, decoded to its last row, and whether its EXIF turns it; UnfitError says why it is no use.

    A TIFF is turned while it is decoded, and no longer says so afterwards.
    """
    _is_file(path)
    PngImagePlugin.MAX_TEXT_CHUNK = max(PngImagePlugin.MAX_TEXT_CHUNK, TEXT_BYTES)
    try:
        with Pillow.open(path) as image:
            _is_photo(path, image)
            turned = image.getexif().get(ExifTags.Base.Orientation, 1) != 1
            image.load()
    except UnfitError:
        raise
    except Pillow.DecompressionBombError as error:
        raise UnfitError("bomb", f"{path}: {error}") from error
    except PermissionError as error:
        raise UnfitError("unreadable", f"{path}: {error.strerror}") from error
    except UnidentifiedImageError as error:
        raise UnfitError("not_an_image", f"{path}: no kind of picture that is known") from error
    except Exception as error:  # on a torn or odd file Pillow raises whatever its code runs into
        raise UnfitError(_reason(error), f"{path}: {error}") from error
    return image, turned


def _is_file(path: Path) -> None:
    try:
        state = path.stat()
    except FileNotFoundError as error:
        raise UnfitError("missing_file", f"{path}: no such file") from error
    except OSError as error:  # a loop of links, a folder that may not be entered
        raise UnfitError("unreadable", f"{path}: {error.strerror}") from error
    if not stat.S_ISREG(state.st_mode):
        raise UnfitError("not_a_file", f"{path}: a folder or device, not a file")
    if not state.st_size:
        raise UnfitError("empty_file", f"{path}: 0 bytes")


def _is_photo(path: Path, image: Any) -> None:
    """UnfitError where the header shows that it is no usable photo."""
    expected = FORMATS.get(path.suffix.lower(), (image.format,))
    if image.format not in expected:
        raise UnfitError("wrong_extension", f"{path}: the file is {image.format}; name it so")
    if image.format != "MPO" and getattr(image, "n_frames", 1) > 1:
        raise UnfitError("animated", f"{path}: {image.n_frames} frames")
    if image.mode not in MODES:
        raise UnfitError("unsupported_mode", f"{path}: its mode is {image.mode}, not 8 bits of RGB or grey")
    if any(";16" in str(tile) for tile in image.tile):
        raise UnfitError("unsupported_mode", f"{path}: 16 bits a sample, not 8")
    if image.width * image.height > (Pillow.MAX_IMAGE_PIXELS or image.width * image.height):
        raise UnfitError("bomb", f"{path}: {image.width} x {image.height} pixels")


def _reason(error: Exception) -> Reason:
    told = str(error).lower()
    if "truncated" in told or "unexpected end" in told or "not enough image" in told:
        return "truncated"
    if "too large" in told or "max_text" in told or isinstance(error, MemoryError):
        return "bomb"
    return "decode_error"
