"""Photos and what is known of them, into ``photos/``: drawn by the world, or taken from a folder of pictures.

A photo counts as there when picture and sidecar can both be read; anything else is made again.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np
from pydantic import ValidationError

from fcbench.build.cast import world_scene
from fcbench.build.inspect_file import UnfitError, inspected
from fcbench.build.records import Item, Licence, Photo, Planted, Reject, Sidecar
from fcbench.errors import DataError, UsageError
from fcbench.images import read_image
from fcbench.masks import box_of, decode_mask, encode_mask
from fcbench.store import DataFolder, write_bytes, write_image
from fcbench.types import Image
from fcbench.world import describe, render, traits

CAPTION_DETAIL = 0.4
"""How often captions tell how people look, as a share of the world's most talkative: captioners seldom do."""
SUFFIXES = frozenset((".bmp", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp"))


def ingest_world(folder: DataFolder, photos: Iterable[int], *, seed: int, size: int) -> Iterator[Item]:
    """Draw the pictures of those numbers with their truth, except those already there."""
    for index in photos:
        photo_id = f"{index:09d}"
        kept = _kept(folder, photo_id)
        yield kept or _keep(folder, photo_id, *_draw(index, seed, size))


def ingest_folder(folder: DataFolder, root: Path, files: Sequence[Path], *, size: int) -> Iterator[Item]:
    """Take pictures with their sidecars, shrunk to a short side of ``size``, except those already there.

    A sidecar is ``<stem>.json`` (see :class:`Sidecar`) or, with the caption only, ``<stem>.txt``.
    """
    for file in files:
        name = file.relative_to(root).as_posix()
        photo_id = re.sub(r"[^a-z0-9]+", "-", file.stem.lower()) + "-" + hashlib.sha256(name.encode()).hexdigest()[:8]
        kept = _kept(folder, photo_id)
        try:
            yield kept or _keep(folder, photo_id, *_take(inspected(file), name, size))
        except UnfitError as error:
            yield Reject(photo_id, error.reason, "ingest", str(error))
        except _SidecarError as error:
            yield Reject(photo_id, "sidecar_error", "ingest", f"{name}: {error}")
        except DataError as error:
            yield Reject(photo_id, "decode_error", "ingest", str(error))


def list_pictures(root: Path) -> list[Path]:
    """The pictures under a folder by path; UsageError when there is no folder, DataError when it holds none."""
    if not root.is_dir():
        raise UsageError(f"{root}: no such folder; --source is 'world' or a folder of pictures")
    found = sorted(path for path in root.rglob("*") if path.suffix.lower() in SUFFIXES and path.name[0] != ".")
    if not found:
        raise DataError(f"{root}: no pictures there ({', '.join(sorted(SUFFIXES))})")
    return found


class _SidecarError(DataError):
    """A sidecar that cannot be used."""


def _kept(folder: DataFolder, photo_id: str) -> Photo | None:
    try:
        sidecar = Sidecar.model_validate_json(folder.sidecar(photo_id).read_bytes())
        image = read_image(folder.photo(photo_id))
    except (DataError, OSError, ValidationError):
        return None
    return Photo(photo_id, folder.photo(photo_id), image.shape[1], image.shape[0], sidecar)


def _keep(folder: DataFolder, photo_id: str, image: Image, sidecar: Sidecar) -> Photo:
    path = folder.photo(photo_id)
    write_image(path, image, flush=False)
    write_bytes(folder.sidecar(photo_id), sidecar.model_dump_json(exclude_none=True).encode(), flush=False)
    return Photo(photo_id, path, image.shape[1], image.shape[0], sidecar)


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


def _take(file: Path, name: str, size: int) -> tuple[Image, Sidecar]:
    image = read_image(file)
    sidecar = _read_sidecar(file)
    height, width = image.shape[:2]
    factor = min(1.0, size / min(height, width))
    shape = (max(1, round(height * factor)), max(1, round(width * factor)))
    people = tuple(_fit(person, (height, width), shape) for person in sidecar.people)
    changes = "resized, converted to PNG" if factor < 1 else "converted to PNG"
    asked = sidecar.licence
    licence = asked.model_copy(
        update={
            "source": name if asked.source == "unknown" else asked.source,
            "changes": "; ".join(filter(None, (asked.changes, changes))),
        }
    )
    return _resize(image, shape), sidecar.model_copy(update={"people": people, "licence": licence})


def _read_sidecar(file: Path) -> Sidecar:
    json, text = file.with_suffix(".json"), file.with_suffix(".txt")
    try:
        if json.exists():
            return Sidecar.model_validate_json(json.read_bytes())
        return Sidecar(caption=text.read_text(encoding="utf-8")) if text.exists() else Sidecar()
    except ValidationError as error:
        first = error.errors()[0]
        raise _SidecarError(f"{json.name}: {'.'.join(map(str, first['loc']))} {first['msg']}".strip()) from error
    except UnicodeDecodeError as error:
        raise _SidecarError(f"{text.name}: not UTF-8 ({error})") from error


def _fit(person: Planted, there: tuple[int, int], shape: tuple[int, int]) -> Planted:
    """The segment in a picture shrunk from one (height, width) to another."""
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


def _resize(image: Image, shape: tuple[int, int]) -> Image:
    from PIL import Image as Pillow

    if image.shape[:2] == shape:
        return image
    return np.asarray(Pillow.fromarray(image).resize((shape[1], shape[0]), Pillow.Resampling.LANCZOS))
