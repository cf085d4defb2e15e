"""The faces of a picture, found and embedded once for all metrics that ask for them.

A judge of faces is anything with insightface's ``get(bgr) -> faces``, each with ``bbox`` and ``normed_embedding``. With
an ``insightface.app.FaceAnalysis`` the faces of many pictures are embedded in one call.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias
from weakref import WeakKeyDictionary

import numpy as np
import numpy.typing as npt

from fcbench.images import read_image

Embeddings: TypeAlias = npt.NDArray[np.float32]
"""Face embeddings of unit length, largest face first, shape (faces, dimensions)."""

BATCH = 64
"""Pictures whose faces are embedded together."""

NOUNS = {"M": "man", "F": "woman"}
"""insightface's ``face.sex`` -> class word."""


@dataclass(frozen=True)
class Faces:
    """The faces of one picture, largest first: ``boxes`` float32 (faces, 4), [x1, y1, x2, y2] in pixels."""

    boxes: npt.NDArray[np.float32]
    embeddings: Embeddings
    nouns: tuple[str | None, ...] = ()
    """Man or woman, where the pack reads that; else empty."""

    def __len__(self) -> int:
        return len(self.boxes)


Key: TypeAlias = tuple[Path, int, int]

_FOUND: WeakKeyDictionary[Any, dict[Key, Faces]] = WeakKeyDictionary()
"""By judge, then by file and its state: identity, blending and attributes look at the same pictures."""


def find_faces(app: Any, paths: Sequence[Path]) -> list[Faces]:
    """The faces of each picture as ``app`` finds them. DataError names a picture that is missing or broken."""
    known = _FOUND.setdefault(app, {})
    keys = [_key(path) for path in paths]
    wanted = [key for key in dict.fromkeys(keys) if key not in known]
    for start in range(0, len(wanted), BATCH):
        batch = wanted[start : start + BATCH]
        known.update(zip(batch, _look(app, [path for path, _, _ in batch]), strict=True))
    return [known[key] for key in keys]


def blank_embedding(app: Any) -> npt.NDArray[np.float32] | None:
    """The recogniser's embedding of an all-zero crop: the official protocol's stand-in for a missing face.

    Shape (dimensions,), unit length. None for a judge that embeds only faces it has found.
    """
    if hasattr(app, "blank_embedding"):
        own: npt.NDArray[np.float32] = app.blank_embedding()
        return own
    recogniser = getattr(app, "models", {}).get("recognition")
    if recogniser is None:
        return None
    width, height = recogniser.input_size
    grey = np.full((height, width, 3), recogniser.input_mean, np.float32)  # zero, once the mean is taken off
    blank: npt.NDArray[np.float32] = _unit(recogniser.get_feat(grey))[0]
    return blank


def _key(path: Path) -> Key:
    try:
        state = path.stat()
    except OSError:
        return path, 0, 0  # reading it will say what is wrong
    return path, state.st_mtime_ns, state.st_size


def _look(app: Any, paths: Sequence[Path]) -> Iterator[Faces]:
    pictures = [np.ascontiguousarray(read_image(path)[:, :, ::-1]) for path in paths]
    batched = type(app).__name__ == "FaceAnalysis" and set(app.models) == {"detection", "recognition"}
    return _embed_together(app, pictures) if batched else (_from_get(app.get(picture)) for picture in pictures)


def _from_get(found: Sequence[Any]) -> Faces:
    order = sorted(found, key=lambda face: -_area(face.bbox))
    boxes = np.array([face.bbox for face in order], np.float32).reshape(-1, 4)
    nouns = tuple(NOUNS.get(getattr(face, "sex", None) or "") for face in order)
    embeddings = np.array([face.normed_embedding for face in order], np.float32)
    return Faces(boxes, embeddings, nouns if any(nouns) else ())


def _embed_together(app: Any, pictures: Sequence[npt.NDArray[np.uint8]]) -> Iterator[Faces]:
    """What ``app.get`` does for each picture, with one call of the recogniser for all of them."""
    recogniser = app.models["recognition"]
    boxes, crops = [], []
    for picture in pictures:
        found, points = app.det_model.detect(picture, max_num=0, metric="default")
        order = sorted(range(len(found)), key=lambda row: -_area(found[row, :4]))
        boxes.append(np.asarray(found[order, :4], np.float32).reshape(-1, 4))
        crops += [_aligned(picture, points[row], recogniser.input_size[0]) for row in order]
    embedded = _unit(recogniser.get_feat(crops)) if crops else np.zeros((0, 1), np.float32)
    for own in boxes:
        yield Faces(own, embedded[: len(own)])
        embedded = embedded[len(own) :]


def _aligned(picture: npt.NDArray[np.uint8], points: npt.NDArray[np.float32], side: int) -> Any:
    from insightface.utils.face_align import norm_crop

    with warnings.catch_warnings():  # insightface calls scikit-image by an old name for every face
        warnings.simplefilter("ignore", FutureWarning)
        return norm_crop(picture, landmark=points, image_size=side)


def _unit(vectors: npt.NDArray[np.floating]) -> Embeddings:
    unit: Embeddings = (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)
    return unit


def _area(box: npt.NDArray[np.floating]) -> float:
    left, top, right, bottom = (float(edge) for edge in box[:4])
    return max(right - left, 0.0) * max(bottom - top, 0.0)
