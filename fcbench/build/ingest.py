"""Photos and what is known of them, into ``photos/``: drawn by the world, or taken from a folder of pictures.

A photo counts as there when picture and sidecar can both be read; anything else is made again.
"""

from __future__ import annotations

import hashlib
import io
import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path, PurePosixPath

import numpy as np
from PIL import Image as Pillow
from pydantic import ValidationError
from pydantic_core import from_json

from fcbench.build.cast import world_scene
from fcbench.build.decode import decode, shrink
from fcbench.build.inspect_file import UnfitError
from fcbench.build.records import Face, Item, Licence, Photo, Planted, Reject, Sidecar
from fcbench.errors import DataError, UsageError
from fcbench.files import write_bytes, write_image
from fcbench.images import ASIDE, FORMATS, left_aside, read_image
from fcbench.masks import box_of, decode_mask, encode_mask
from fcbench.store import DataFolder
from fcbench.types import Image
from fcbench.world import describe, render, traits

CAPTION_DETAIL = 0.4
"""How often captions say how people look, as a share of the world's most talkative: captioners seldom do."""
STEM = 60
"""Characters of a file's name that its photo's id keeps: file systems and tar files have their limits."""
JPEG_FROM = 512
"""From this shorter side on working copies are JPEG (quality 92), a tenth of a PNG's size; smaller ones are PNG, which
keeps every pixel."""


def ingest_world(folder: DataFolder, photos: Iterable[int], *, seed: int, size: int) -> Iterator[Item]:
    """Draw the pictures with these numbers, and their truth, except those already there."""
    for index in photos:
        photo_id = f"{index:09d}"
        kept = _kept(folder, photo_id)
        yield kept or _keep(folder, photo_id, *_draw(index, seed, size))


def ingest_folder(folder: DataFolder, root: Path, files: Sequence[Path], *, size: int) -> Iterator[Item]:
    """Take in pictures with their sidecars, shrunk to a short side of ``size``, except those already there.

    A sidecar is ``<stem>.json`` (see :class:`Sidecar`) or, with the caption only, ``<stem>.txt``.
    """
    for file in files:
        name = file.relative_to(root).as_posix()
        yield take(folder, id_of(name), file, name, short_side=size)


def id_of(name: str) -> str:
    """A photo's id from its name within its source: its stem, for people to know it by, and a digest for uniqueness.

    The digest has 64 bits: with 32, two of 70 000 photos with one stem had the same one in four of ten datasets.

    >>> id_of("a/IMG 1.jpg")
    'img-1-4df6875d5de671c2'
    """
    stem = re.sub(r"[^a-z0-9]+", "-", PurePosixPath(name).stem.lower())
    return f"{stem[:STEM]}-{hashlib.sha256(name.encode()).hexdigest()[:16]}"


def take(
    folder: DataFolder, photo_id: str, file: Path, name: str, *, short_side: int, known: Sidecar | None = None
) -> Item:
    """A picture file's working copy, made now unless it is there; or why there is none.

    ``name``: where the picture is in its source. ``known``: what the source says of it, in the file's own pixels; what
    a sidecar beside the file says takes precedence.
    """
    if (kept := _kept(folder, photo_id)) is not None:
        return kept
    try:
        return _keep(folder, photo_id, *_take(file, name, short_side, known or Sidecar()))
    except UnfitError as error:
        return Reject(photo_id, error.reason, "ingest", str(error))
    except _SidecarError as error:
        return Reject(photo_id, "sidecar_error", "ingest", f"{name}: {error}")


def list_pictures(root: Path) -> tuple[list[Path], str]:
    """The pictures under a folder, by path, and a line on what is left aside, empty where nothing is.

    UsageError when there is no folder, DataError when it holds no picture.
    """
    if not root.is_dir():
        raise UsageError(f"{root}: no such folder; --images names the one with the pictures")
    looked = [path for path in root.rglob("*") if path.suffix.lower() in FORMATS.keys() | ASIDE and path.name[0] != "."]
    found, told = sorted(path for path in looked if path.suffix.lower() in FORMATS), left_aside(looked)
    if not found:
        raise DataError(f"{root}: no pictures there ({', '.join(sorted(FORMATS))}){told and '; ' + told}")
    return found, told


class _SidecarError(DataError):
    """A sidecar that cannot be used."""


def _kept(folder: DataFolder, photo_id: str) -> Photo | None:
    for path in (folder.photo(photo_id), folder.photo(photo_id).with_suffix(".jpg")):
        try:
            sidecar = Sidecar.model_validate_json(folder.sidecar(photo_id).read_bytes())
            image = read_image(path)
        except (DataError, OSError, ValidationError):
            continue
        return Photo(photo_id, path, image.shape[1], image.shape[0], sidecar)
    return None


def _keep(folder: DataFolder, photo_id: str, image: Image, sidecar: Sidecar) -> Photo:
    path = folder.photo(photo_id)
    if min(image.shape[:2]) >= JPEG_FROM:
        path = path.with_suffix(".jpg")
        write_bytes(path, _jpeg(image), flush=False)
    else:
        write_image(path, image, flush=False)
    write_bytes(folder.sidecar(photo_id), sidecar.model_dump_json(exclude_none=True).encode(), flush=False)
    return Photo(photo_id, path, image.shape[1], image.shape[0], sidecar)


def _jpeg(image: Image) -> bytes:
    buffer = io.BytesIO()
    Pillow.fromarray(image).save(buffer, "JPEG", quality=92)
    return buffer.getvalue()


def _draw(index: int, seed: int, size: int) -> tuple[Image, Sidecar]:
    scene, caption_seed = world_scene(index, seed)
    picture, caption = render(scene, size), describe(scene, caption_seed, detail=CAPTION_DETAIL)
    people = tuple(
        Planted(
            mask=encode_mask(truth.mask),
            person_id=figure.person.id,
            noun=truth.noun,
            box=truth.box,
            face_box=truth.face_box,
            keypoints=tuple((x, y) for x, y in truth.keypoints.tolist()),
            span=span,
            traits=traits(figure),
        )
        for figure, truth, span in zip(scene.figures, picture.figures, caption.spans, strict=True)
    )
    licence = Licence(
        author="fcbench",
        source=f"fcbench.world, seed {seed}, photo {index}",
        licence="CC0-1.0",
        licence_url="https://creativecommons.org/publicdomain/zero/1.0/",
        changes="none",
    )
    return picture.image, Sidecar(
        caption=caption.text,
        context=scene.context,
        style=scene.style,
        people=people,
        licence=licence,
        planted=True,
    )


def _take(file: Path, name: str, size: int, known: Sidecar) -> tuple[Image, Sidecar]:
    image, changes = decode(file)
    sidecar = _merged(_read_sidecar(file), known)
    there = (image.shape[0], image.shape[1])
    small = shrink(image, size)
    shape = (small.shape[0], small.shape[1])
    people = tuple(_fit(person, there, shape) for person in sidecar.people)
    asked = sidecar.licence
    kind = "JPEG" if min(shape) >= JPEG_FROM else "PNG"
    done = (*changes, *(("resized",) if shape != there else ()), f"converted to {kind}")
    licence = asked.model_copy(
        update={
            "source": name if asked.source == "unknown" else asked.source,
            "changes": "; ".join(filter(None, (asked.changes, ", ".join(done)))),
        }
    )
    face = sidecar.face and _scaled(sidecar.face, shape[1] / there[1], shape[0] / there[0])
    return small, sidecar.model_copy(update={"people": people, "licence": licence, "face": face})


def _merged(beside: Sidecar, known: Sidecar) -> Sidecar:
    """What the sidecar says and, where it says nothing, what the source says."""
    return known.model_copy(update={name: getattr(beside, name) for name in beside.model_fields_set})


def _scaled(face: Face, across: float, down: float) -> Face:
    x1, y1, x2, y2 = face.box
    return Face(
        box=(x1 * across, y1 * down, x2 * across, y2 * down),
        landmarks=tuple((x * across, y * down) for x, y in face.landmarks),
    )


def _read_sidecar(file: Path) -> Sidecar:
    beside, text = file.with_suffix(".json"), file.with_suffix(".txt")
    try:
        return sidecar_of(*(path.read_bytes() if path.exists() else None for path in (beside, text)))
    except ValidationError as error:
        first = error.errors()[0]
        raise _SidecarError(f"{beside.name}: {'.'.join(map(str, first['loc']))} {first['msg']}".strip()) from error
    except UnicodeDecodeError as error:
        raise _SidecarError(f"{text.name}: not UTF-8 ({error})") from error
    except ValueError as error:
        raise _SidecarError(f"{beside.name}: {error}") from error


def sidecar_of(data: bytes | None, text: bytes | None) -> Sidecar:
    """What the JSON and the text beside a picture say, img2dataset's too; ValueError where they are broken."""
    given = from_json(data) if data else {}
    if not isinstance(given, dict):
        raise ValueError("it is no object")
    if text and not given.get("caption"):
        given["caption"] = text.decode("utf-8-sig").strip()
    if given.get("url") and "licence" not in given:
        given["licence"] = {"source": given["url"]}
    return Sidecar.model_validate({name: value for name, value in given.items() if value is not None})


def _fit(person: Planted, there: tuple[int, int], shape: tuple[int, int]) -> Planted:
    """A person's segment after the picture was shrunk from one (height, width) to another."""
    if person.mask["size"] != list(there):
        raise _SidecarError(f"a mask is {person.mask['size']}, the picture {list(there)}, height first")
    try:
        mask = decode_mask(person.mask)
    except DataError as error:
        raise _SidecarError(str(error)) from error
    if shape == there:
        return person
    rows = (np.arange(shape[0]) + 0.5) * there[0] // shape[0]
    columns = (np.arange(shape[1]) + 0.5) * there[1] // shape[1]
    small = mask[np.ix_(rows.astype(int), columns.astype(int))]
    update = {"mask": encode_mask(small), "box": box_of(small), "face_box": None, "keypoints": None}
    return person.model_copy(update=update)
