"""FFHQ's tree, tar files, tables and folders: each picture decoded once, by its terms, and what is missing is named."""

from __future__ import annotations

import hashlib
import io
import json
import re
import struct
import sys
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow
import pyarrow.parquet as parquet
import pytest
from PIL import Image as Pillow
from PIL import ImageCms

from fcbench.build import build_data
from fcbench.build.archives import Table, WebDataset
from fcbench.build.command import Asked
from fcbench.build.decode import decode
from fcbench.build.ffhq import Ffhq, ranges, read_list
from fcbench.build.ingest import id_of, sidecar_of
from fcbench.build.plan import plan_build
from fcbench.build.records import Item, Photo, Reject
from fcbench.build.source import Source, open_source
from fcbench.errors import DataError, UsageError
from fcbench.store import DataFolder
from fcbench.types import Image, Stack

PIXELS = np.random.default_rng(3).integers(0, 256, (40, 80, 3), np.uint8)


def png(pixels: Image = PIXELS) -> bytes:
    buffer = io.BytesIO()
    Pillow.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


def test_long_names_and_strips_are_cut_to_what_file_systems_and_memory_hold(tmp_path: Path) -> None:
    name = "long " * 45 + ".png"
    (tmp_path / name).write_bytes(png(np.zeros((4, 4000, 3), np.uint8)))
    (tmp_path / name).with_suffix(".json").write_text('{"caption": null, "url": "https://x.example/b", "width": 9}')
    (item,) = ingest(open_source("folder", photos=0, seed=0, size=64, images=tmp_path, short_side=64), tmp_path)
    assert isinstance(item, Photo)
    assert len(item.id) == 60 + 1 + 16
    assert (item.height, item.width) == (1, 512)
    assert (item.sidecar.caption, item.sidecar.licence.source) == ("", "https://x.example/b")


def test_a_sidecar_nested_without_end_is_a_reject_and_not_the_end_of_the_build(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(png())
    (tmp_path / "a.json").write_text("[" * 100_000)
    (item,) = ingest(open_source("folder", photos=0, seed=0, size=64, images=tmp_path, short_side=64), tmp_path)
    assert isinstance(item, Reject)
    assert item.reason == "sidecar_error"


@pytest.mark.parametrize(("tag", "kind"), [(0x0128, "struct.error"), (0x011A, "TypeError")])
def test_odd_tags_are_a_reject_and_not_the_end_of_the_build(tmp_path: Path, tag: int, kind: str) -> None:
    Pillow.fromarray(PIXELS).save(tmp_path / "a.png", exif=turned_with_text(tag))
    (tmp_path / "b.png").write_bytes(png())
    items = ingest(open_source("folder", photos=0, seed=0, size=64, images=tmp_path, short_side=64), tmp_path)
    assert isinstance(items[0], Reject), kind
    assert (items[0].reason, "a.png" in items[0].message) == ("decode_error", True)
    assert isinstance(items[1], Photo)


def turned_with_text(tag: int) -> bytes:
    """EXIF, big end first, that says six for the orientation, and text where the tag is a number."""
    entries = [(0x0112, 3, 1, b"\x00\x06\x00\x00"), (tag, 2, 4, b"odd\x00")]
    body = b"".join(struct.pack(">HHI", name, kind, count) + value for name, kind, count, value in sorted(entries))
    return b"Exif\x00\x00MM\x00*\x00\x00\x00\x08" + struct.pack(">H", len(entries)) + body + b"\x00" * 4


def ingest(source: Source, tmp_path: Path) -> list[Item]:
    return list(source.ingest(DataFolder(tmp_path / "data"), range(len(source))))


def entry(number: int, data: bytes, **wrong: Any) -> dict[str, Any]:
    """What ffhq-dataset-v2.json says of a photo, as far as it is read."""
    wild = {
        "file_path": f"in-the-wild-images/{number // 1000 * 1000:05d}/{number:05d}.png",
        "file_size": len(data),
        "file_md5": hashlib.md5(data).hexdigest(),
        "pixel_size": [80, 40],
        "face_rect": [10, 4, 50, 36],
        "face_landmarks": [[20.0, 10.0], [40.0, 30.0]],
    }
    about = {
        "photo_url": f"https://photos.example/{number // 2}",
        "photo_title": "At home",
        "author": "Zoë",
        "country": "",
        "license": "Attribution License",
        "license_url": "https://creativecommons.org/licenses/by/2.0/",
    }
    return {"category": "training", "metadata": about, "in_the_wild": wild | wrong}


@pytest.fixture
def ffhq(tmp_path: Path) -> Path:
    root = tmp_path / "ffhq"
    data = png()
    listed = {str(n): entry(n, data) for n in range(6)} | {"6": entry(6, data, file_md5="0" * 32)}
    (root / "in-the-wild-images" / "00000").mkdir(parents=True)
    (root / "ffhq-dataset-v2.json").write_text(json.dumps(listed, indent=1, ensure_ascii=False), encoding="utf-8")
    for number in (0, 1, 4, 6):
        (root / "in-the-wild-images" / "00000" / f"{number:05d}.png").write_bytes(data)
    return root


def test_a_part_of_ffhq_is_taken_with_terms_and_faces_and_the_rest_is_named(ffhq: Path, tmp_path: Path) -> None:
    source = Ffhq.of(ffhq, 20)
    assert (len(source), list(source.missing)) == (4, ["00002", "00003", "00005"])
    assert source.recipe["missing"] == "00002-00003, 00005"
    items = ingest(source, tmp_path)
    assert [item.id for item in items] == ["ffhq-00000", "ffhq-00001", "ffhq-00004", "ffhq-00006"]
    first, second, _, last = items
    assert isinstance(last, Reject)
    assert last.reason == "md5_mismatch"
    assert isinstance(first, Photo)
    assert isinstance(second, Photo)
    assert (first.width, first.height) == (40, 20)
    assert first.sidecar.face is not None
    assert first.sidecar.face.box == (5.0, 2.0, 25.0, 18.0)
    assert first.sidecar.face.landmarks == ((10.0, 5.0), (20.0, 15.0))
    licence = first.sidecar.licence
    assert (licence.author, licence.title, licence.licence) == ("Zoë", "At home", "Attribution License")
    assert licence.source == "https://photos.example/0"
    assert licence.changes == "resized, converted to PNG"
    assert first.sidecar.group == second.sidecar.group  # one photo of two faces
    assert first.sidecar.split == "train"


def test_a_list_that_changes_under_a_build_is_told_and_changes_its_keys(ffhq: Path, tmp_path: Path) -> None:
    source, listed = Ffhq.of(ffhq, 20), ffhq / "ffhq-dataset-v2.json"
    listed.write_text(listed.read_text(encoding="utf-8").replace("Zoë", "Ida"), encoding="utf-8")
    with pytest.raises(DataError, match=r"ffhq-dataset-v2\.json: changed since"):
        ingest(source, tmp_path)
    again = Ffhq.of(ffhq, 20)
    assert again.key(range(2)) != source.key(range(2))
    assert again.recipe["files"] != source.recipe["files"]


def test_a_list_that_is_broken_or_not_there_and_a_tree_of_crops_are_told(ffhq: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"ffhq-dataset-v2\.json: not there"):
        Ffhq.of(tmp_path, 20)
    text = (ffhq / "ffhq-dataset-v2.json").read_text()
    (ffhq / "ffhq-dataset-v2.json").write_text(text[:-900])
    with pytest.raises(DataError, match="broken after entry '"):
        list(read_list(ffhq / "ffhq-dataset-v2.json"))
    (tmp_path / "images1024x1024").mkdir()
    (tmp_path / "ffhq-dataset-v2.json").write_text(text)
    with pytest.raises(DataError, match="images1024x1024 are aligned crops"):
        Ffhq.of(tmp_path, 20)
    assert ranges([]) == ""


def test_a_webdataset_is_taken_with_captions_and_a_cut_archive_s_last_picture_is_rejected(tmp_path: Path) -> None:
    root = tmp_path / "tars"
    root.mkdir()
    members = [("a.png", png()), ("a.json", b'{"caption": "a man", "url": "https://x.example/a"}')]
    members += [("b.png", png(PIXELS[:, ::-1])), ("b.txt", b"a woman"), ("c.json", b"{}")]
    with tarfile.open(root / "00000.tar", "w") as archive:
        for name, data in members:
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    items = ingest(WebDataset.of(root, 1024), tmp_path)
    assert [item.sidecar.caption for item in items if isinstance(item, Photo)] == ["a man", "a woman"]
    assert isinstance(items[0], Photo)
    assert items[0].sidecar.licence.source == "https://x.example/a"
    whole = (root / "00000.tar").read_bytes()
    (root / "00000.tar").write_bytes(whole[: whole.index(png(PIXELS[:, ::-1])[:20]) + 900])
    cut = list(WebDataset.of(root, 1024).ingest(DataFolder(tmp_path / "cut"), range(2)))
    assert [item.reason for item in cut if isinstance(item, Reject)] == ["truncated"]
    (root / "00001.tar").write_bytes(b"no tar file at all" * 100)
    with pytest.raises(DataError, match=r"00001\.tar: not a tar file"):
        WebDataset.of(root, 1024)


def test_a_table_s_pictures_are_taken_with_captions_and_terms(tmp_path: Path) -> None:
    root = tmp_path / "tables"
    root.mkdir()
    rows = [
        {"id": "x", "image": {"bytes": png(), "path": "x.png"}, "text": "a man", "licence": "CC0-1.0"},
        {"id": "y", "image": {"bytes": b"", "path": "y.png"}, "text": None, "licence": None},
        {"id": "z", "image": {"bytes": png(PIXELS[::-1]), "path": "z.png"}, "text": "two", "licence": None},
    ]
    parquet.write_table(pyarrow.Table.from_pylist(rows), root / "part.parquet", row_group_size=2)
    source = Table.of(root, 1024)
    items = ingest(source, tmp_path)
    assert [item.sidecar.caption for item in items if isinstance(item, Photo)] == ["a man", "two"]
    assert [item.reason for item in items if isinstance(item, Reject)] == ["empty_file"]
    assert isinstance(items[0], Photo)
    assert items[0].sidecar.licence.licence == "CC0-1.0"
    assert [item.id for item in source.ingest(DataFolder(tmp_path / "again"), range(2, 3))] == [items[2].id]
    parquet.write_table(pyarrow.table({"a": [1]}), root / "other.parquet")
    with pytest.raises(DataError, match="no column of pictures"):
        Table.of(root, 1024)


def test_a_table_s_broken_pages_are_rejects_and_text_is_no_picture(tmp_path: Path) -> None:
    file = tmp_path / "part.parquet"
    rows = [{"image": {"bytes": png(PIXELS + k), "path": None}} for k in range(4)]
    parquet.write_table(
        pyarrow.Table.from_pylist(rows), file, row_group_size=2, compression="none", use_dictionary=False
    )
    column = parquet.ParquetFile(file).metadata.row_group(1).column(0)
    torn = bytearray(file.read_bytes())
    torn[column.data_page_offset : column.data_page_offset + 20] = b"\xff" * 20
    file.write_bytes(torn)
    items = ingest(Table.of(tmp_path, 1024), tmp_path)
    assert [isinstance(item, Photo) for item in items] == [True, True, False, False]
    assert [item.reason for item in items[2:] if isinstance(item, Reject)] == ["unreadable"] * 2
    parquet.write_table(pyarrow.table({"image": ["a.png"]}), file)
    with pytest.raises(DataError, match=r"part\.parquet: its column image holds string, not the bytes of pictures"):
        Table.of(tmp_path, 1024)


def test_photos_of_one_stem_have_ids_of_their_own() -> None:
    """These had one id each, of two, when it held half as many bits."""
    for first, second in (("24048/image.jpg", "58297/image.jpg"), ("17274/0.png", "27313/0.png")):
        assert id_of(first) != id_of(second)
        assert id_of(first)[:-8] == id_of(second)[:-8]


def test_pictures_that_are_not_read_are_counted_by_suffix_and_never_dropped_without_a_word(
    tmp_path: Path, stack: Stack, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("1.HEIC", "a/2.heic", "3.cr2", "notes.txt", "a.json", "._4.heic"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"{}")
    aside = "left aside: 2 .heic, 1 .cr2; convert them first"
    with pytest.raises(DataError, match=f"no pictures there.*{re.escape(aside)}"):
        open_source("folder", photos=0, seed=0, size=64, images=tmp_path)
    (tmp_path / "a.png").write_bytes(png())
    source = open_source("folder", photos=0, seed=0, size=64, images=tmp_path)
    assert [file.name for file in source.files] == ["a.png"]  # type: ignore[attr-defined]
    asked = Asked("folder", "photos", 0, "mini", "cpu", images=tmp_path)
    assert f"photos     {aside}" in plan_build(asked, tmp_path)
    with pytest.raises(DataError):  # the one photo has no caption
        build_data(tmp_path / "out", stack=stack, source="folder", name="photos", images=tmp_path, progress=sys.stderr)
    assert f"{tmp_path}: {aside}\n" in capsys.readouterr().err


def test_sources_are_named_and_need_a_place(tmp_path: Path) -> None:
    for source in ("ffhq", "webdataset", "parquet", "folder"):
        with pytest.raises(UsageError, match=f"--source {source} needs --images DIR"):
            open_source(source, photos=1, seed=0, size=64)
    with pytest.raises(UsageError, match="did you mean ffhq"):
        open_source("fhq", photos=1, seed=0, size=64, images=tmp_path)


def test_pictures_are_turned_upright_put_on_white_and_brought_to_srgb(tmp_path: Path) -> None:
    turned = Pillow.Exif()
    turned[0x0112] = 6
    for name in ("turned.png", "turned.jpg", "turned.webp", "turned.tif"):
        Pillow.fromarray(PIXELS).save(tmp_path / name, exif=turned)
        image, changes = decode(tmp_path / name)
        assert image.shape == (80, 40, 3)
        assert changes == ("turned upright",)
    clear = np.zeros((4, 4, 4), np.uint8)
    clear[0] = (10, 20, 30, 255)
    Pillow.fromarray(clear).save(tmp_path / "clear.png")
    image, changes = decode(tmp_path / "clear.png")
    assert image[0, 0].tolist() == [10, 20, 30]
    assert image[3, 3].tolist() == [255, 255, 255]
    assert changes == ("put on white",)
    lab = ImageCms.ImageCmsProfile(ImageCms.createProfile("XYZ")).tobytes()
    Pillow.fromarray(PIXELS).save(tmp_path / "odd.png", icc_profile=lab)
    image, _ = decode(tmp_path / "odd.png")  # a profile of no use is left aside
    assert image.shape == PIXELS.shape
    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    Pillow.fromarray(PIXELS).save(tmp_path / "plain.png", icc_profile=srgb)
    image, changes = decode(tmp_path / "plain.png")
    assert changes == ()
    assert np.array_equal(image, PIXELS)


def icc_profile() -> bytes:
    """A display profile as in ICC.1:2010, of sRGB's curve and primaries, the red and the green one exchanged."""
    # of red, green and blue in sRGB, adapted to D50
    red, green, blue = (0.43607, 0.22249, 0.01392), (0.38515, 0.71687, 0.09708), (0.14307, 0.06061, 0.71410)
    curve = b"para" + struct.pack(">IHH", 0, 3, 0) + fixed(2.4, 1 / 1.055, 0.055 / 1.055, 1 / 12.92, 0.04045)
    name = "exchanged".encode("utf-16-be")
    text = b"mluc" + struct.pack(">III2s2sII", 0, 1, 12, b"en", b"US", len(name), 28) + name
    white = (0.9642, 1.0, 0.8249)
    tags = {b"desc": text, b"cprt": text, b"wtpt": xyz(*white)}
    tags |= {b"rXYZ": xyz(*green), b"gXYZ": xyz(*red), b"bXYZ": xyz(*blue)}
    tags |= dict.fromkeys((b"rTRC", b"gTRC", b"bTRC"), curve)
    table, body, start = struct.pack(">I", len(tags)), b"", 128 + 4 + 12 * len(tags)
    for tag, data in tags.items():
        table += tag + struct.pack(">II", start + len(body), len(data))
        body += data + b"\0" * (-len(data) % 4)
    size, version, made = start + len(body), 0x04200000, (2024, 1, 1, 0, 0, 0)
    head = struct.pack(">I4sI4s4s4s6H4s", size, b"", version, b"mntr", b"RGB ", b"XYZ ", *made, b"acsp")
    return (head.ljust(68, b"\0") + fixed(*white)).ljust(128, b"\0") + table + body


def fixed(*values: float) -> bytes:
    return struct.pack(f">{len(values)}i", *(round(value * 65536) for value in values))


def xyz(*values: float) -> bytes:
    return b"XYZ \0\0\0\0" + fixed(*values)


@pytest.mark.parametrize("name", ["a.png", "a.webp", "a.jpg", "a.tif"])
def test_colours_of_another_profile_are_converted_and_the_record_says_so(name: str, tmp_path: Path) -> None:
    colours = [(200, 50, 10), (50, 200, 10), (128, 128, 128), (255, 255, 255), (0, 0, 0), (30, 60, 220)]
    pixels = np.repeat(np.array([colours], np.uint8), 16, axis=0).repeat(16, axis=1)
    exact: dict[str, dict[str, Any]] = {"a.webp": {"lossless": True}, "a.jpg": {"quality": 100, "subsampling": 0}}
    Pillow.fromarray(pixels).save(tmp_path / name, icc_profile=icc_profile(), **exact.get(name, {}))
    image, changes = decode(tmp_path / name)
    assert changes == ("colours converted to sRGB",)
    assert np.abs(image.astype(int) - pixels[..., [1, 0, 2]]).max() <= (4 if name == "a.jpg" else 1)
    (item,) = ingest(open_source("folder", photos=0, seed=0, size=64, images=tmp_path), tmp_path)
    assert isinstance(item, Photo)
    assert item.sidecar.licence.changes == "colours converted to sRGB, converted to PNG"


def test_colours_of_another_profile_are_converted_before_they_lie_on_white(tmp_path: Path) -> None:
    pixels = np.full((8, 8, 4), (200, 50, 10, 255), np.uint8)
    pixels[4:, :, 3] = 0
    Pillow.fromarray(pixels).save(tmp_path / "a.png", icc_profile=icc_profile())
    image, changes = decode(tmp_path / "a.png")
    assert changes == ("colours converted to sRGB", "put on white")
    assert np.abs(image[0, 0].astype(int) - (50, 200, 10)).max() <= 1
    assert image[7, 7].tolist() == [255, 255, 255]


def test_a_text_beside_a_picture_is_its_words_alone() -> None:
    assert sidecar_of(None, b"\xef\xbb\xbfa man in the snow\r\n").caption == "a man in the snow"
    assert sidecar_of(b'{"caption": "a man\\n"}', b"a woman").caption == "a man\n"  # spans may count its characters
