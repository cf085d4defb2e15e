"""Every kind of broken input ends in its own reject, and a good one in none."""

from __future__ import annotations

import io
import os
import struct
import zlib
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow.parquet as parquet
import pytest
from PIL import Image as Pillow
from PIL import PngImagePlugin

from fcbench.build import build_data
from fcbench.build.inspect_file import TEXT_BYTES, UnfitError, inspected
from fcbench.errors import DataError
from fcbench.stacks import load_stack
from fcbench.store import data_folder
from tests.toys.build_toys import stack_file

NOISE = np.random.default_rng(0).integers(0, 256, (40, 30, 3), np.uint8)


def encoded(kind: str, image: Pillow.Image | None = None, **options: object) -> bytes:
    buffer = io.BytesIO()
    (image or Pillow.fromarray(NOISE)).save(buffer, kind, **options)
    return buffer.getvalue()


def chunk(name: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def with_chunk(png: bytes, name: bytes, data: bytes) -> bytes:
    return png[:33] + chunk(name, data) + png[33:]


def text_of(size: int) -> bytes:
    return b"Comment\0\0" + zlib.compress(b"\0" * size, 9)


def png(header: bytes, rows: bytes) -> bytes:
    pixels = chunk(b"IDAT", zlib.compress(rows))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + pixels + chunk(b"IEND", b"")


def claims(width: int, height: int) -> bytes:
    """A PNG of a few bytes that says that it is huge."""
    return png(struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0), b"\0" * 99)


def rgb16() -> bytes:
    return png(struct.pack(">IIBBBBB", 2, 2, 16, 2, 0, 0, 0), (b"\0" + b"\x12\x34" * 6) * 2)


def frames(kind: str) -> bytes:
    other = Pillow.fromarray(255 - NOISE)
    return encoded(kind, save_all=True, append_images=[other])


def flipped(data: bytes) -> bytes:
    """One byte of the pixels changed."""
    place = data.index(b"IDAT") + 20
    return data[:place] + bytes([data[place] ^ 255]) + data[place + 1 :]


FILES: dict[str, tuple[str, Callable[[], bytes]]] = {
    "cut.jpg": ("truncated", lambda: encoded("JPEG")[:900]),
    "cut.png": ("truncated", lambda: encoded("PNG")[:2000]),
    "png-called.jpg": ("wrong_extension", lambda: encoded("PNG")),
    "empty.jpg": ("empty_file", lambda: b""),
    "bomb.png": ("bomb", lambda: claims(50_000, 50_000)),
    "large-bomb.png": ("bomb", lambda: claims(10_000, 10_000)),
    "print.jpg": ("unsupported_mode", lambda: encoded("JPEG", Pillow.fromarray(NOISE).convert("CMYK"))),
    "grey16.png": ("unsupported_mode", lambda: encoded("PNG", Pillow.fromarray(NOISE[..., 0].astype(np.uint16)))),
    "rgb16.png": ("unsupported_mode", rgb16),
    "float.tiff": ("unsupported_mode", lambda: encoded("TIFF", Pillow.fromarray(NOISE[..., 0].astype(np.float32)))),
    "moving.png": ("animated", lambda: frames("PNG")),
    "moving.webp": ("animated", lambda: frames("WEBP")),
    "pages.tiff": ("animated", lambda: frames("TIFF")),
    "text-bomb.png": ("bomb", lambda: with_chunk(encoded("PNG"), b"zTXt", text_of(TEXT_BYTES + 1))),
    "words.png": ("not_an_image", lambda: b"not a picture"),
    "page.webp": ("not_an_image", lambda: b"<!doctype html><title>404</title>"),
    "flipped.png": ("decode_error", lambda: flipped(encoded("PNG"))),
}


@pytest.fixture(autouse=True)
def _pillow_as_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(PngImagePlugin, "MAX_TEXT_CHUNK", PngImagePlugin.MAX_TEXT_CHUNK)


@pytest.mark.parametrize("name", FILES)
@pytest.mark.filterwarnings("ignore:Image size:PIL.Image.DecompressionBombWarning")
def test_each_kind_of_broken_file_has_its_reason(name: str, tmp_path: Path) -> None:
    reason, make = FILES[name]
    (tmp_path / name).write_bytes(make())
    with pytest.raises(UnfitError, match=name) as caught:
        inspected(tmp_path / name)
    assert caught.value.reason == reason


def test_what_is_no_file_at_all_has_its_reason_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "folder.jpg").mkdir()
    (tmp_path / "loop.jpg").symlink_to(tmp_path / "loop.jpg")
    (tmp_path / "dangling.jpg").symlink_to(tmp_path / "nowhere.jpg")
    os.mkfifo(tmp_path / "pipe.jpg")
    reasons = {}
    for name in ("folder", "loop", "dangling", "pipe", "gone"):
        with pytest.raises(UnfitError) as caught:
            inspected(tmp_path / f"{name}.jpg")
        reasons[name] = caught.value.reason
    assert reasons == {
        **{"folder": "not_a_file", "loop": "unreadable", "dangling": "missing_file", "pipe": "not_a_file"},
        "gone": "missing_file",
    }
    (tmp_path / "forbidden.png").write_bytes(encoded("PNG"))

    def refuse(path: Path) -> None:  # root may read everything
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(Pillow, "open", refuse)
    with pytest.raises(UnfitError, match="Permission denied") as caught:
        inspected(tmp_path / "forbidden.png")
    assert caught.value.reason == "unreadable"


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("a.jpg", encoded("JPEG")),
        ("a.JPEG", encoded("JPEG")),
        ("a.png", encoded("PNG")),
        ("a.webp", encoded("WEBP")),
        ("a.tif", encoded("TIFF")),
        ("grey.png", encoded("PNG", Pillow.fromarray(NOISE[..., 0]))),
        ("clear.png", encoded("PNG", Pillow.fromarray(NOISE).convert("RGBA"))),
        ("much-text.png", with_chunk(encoded("PNG"), b"zTXt", text_of(8 << 20))),
    ],
)
def test_whole_photos_pass(name: str, data: bytes, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(data)
    found = np.array(inspected(tmp_path / name)[0])  # first, for it raises the limit on text that Pillow sets
    with Pillow.open(tmp_path / name) as plain:
        assert np.array_equal(found, np.array(plain))


@pytest.mark.filterwarnings("ignore:Image size:PIL.Image.DecompressionBombWarning")
def test_a_folder_of_them_all_ends_in_rejects(tmp_path: Path) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    for name, (_, make) in FILES.items():
        (folder / name).write_bytes(make())
    (folder / "folder.jpg").mkdir()
    (folder / "loop.jpg").symlink_to(folder / "loop.jpg")
    (folder / "good.jpg").write_bytes(encoded("JPEG"))
    (folder / "good.txt").write_text("a man in the snow")
    stack = load_stack(str(stack_file(tmp_path)))
    with pytest.raises(DataError, match="no photo was accepted"):
        build_data(tmp_path / "out", source=str(folder), name="bad", stack=stack, progress=None)
    told = parquet.read_table(data_folder(tmp_path / "out", "bad").rejects).to_pylist()
    expected = Counter(reason for reason, _ in FILES.values())
    assert Counter(row["reason"] for row in told) == expected + Counter(["not_a_file", "unreadable", "no_segment"])
    assert all(row["message"] and row["step"] for row in told)
