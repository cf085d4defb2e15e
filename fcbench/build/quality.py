"""What a photo and its segments are worth, as columns to filter by at load time: the build drops nothing for them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from fcbench.build.match import PERSON_WORDS
from fcbench.build.phash import phash
from fcbench.build.records import Face, Item, Photo, Segment, batches
from fcbench.images import read_image
from fcbench.masks import decode_mask
from fcbench.types import Image, Mask

BATCH = 64

Grey = npt.NDArray[np.float32]

Condition: TypeAlias = tuple[str, str, float | list[None]]
"""A column, how it is compared, and with what."""

PHOTO_SCORES = (
    "short_side",
    "sharpness",
    "faces",
    "people",
    "min_margin",
    "min_share",
    "min_face_pixels",
    "known_face",
)
"""Columns of the tables: the photo's own, then the lowest of its matched people."""
SEGMENT_SCORES = ("share", "sharpness", "touches_edge", "face", "face_pixels", "known_face")

_LARGE: list[Condition] = [
    *[("min_share", ">=", 0.04), ("min_face_pixels", ">=", 128.0)],
    *[("short_side", ">=", 512.0), ("sharpness", ">=", 30.0)],
]

PRESETS: dict[str, list[list[Condition]] | None] = {
    "paper": None,
    # A margin is null where nothing else could be matched, as with one person and one phrase: the plainest photos
    "strict": [[*_LARGE, ("min_margin", ">=", 0.01)], [*_LARGE, ("min_margin", "in", [None])]],
}
"""For ``load_dataset(path, filters=PRESETS["strict"])``: the paper keeps all that is matched; strict asks for people
clearly told apart, large and sharp enough to learn a face from (PhotoMaker's 4 % and FaceCaption's 128 px).

All conditions of one of the inner lists must hold. A column that is null, as ``min_face_pixels`` is where the stack has
no role ``faces``, meets no condition but ``in [None]``.
"""


def quality(items: Iterable[Item], faces: Any | None = None) -> Iterator[Item]:
    """Score each photo and segment; ``faces`` is a face detector of insightface's kind, None where the stack has none.

    Of a photo: ``short_side`` in pixels, ``sharpness`` (variance of the Laplacian of its grey values, 0-255), ``faces``
    (how many are found), and its perceptual hash. Of a segment: ``share`` of the picture, ``sharpness`` within its
    box, ``touches_edge`` (0 or 1), ``face`` (the detector's certainty of the best face whose middle lies in the mask, 0
    without one) and ``face_pixels`` (that face's shorter side); where the source knows a face, ``known_face``: whether
    its middle and nine tenths of its landmarks lie in the mask.
    """
    for batch in batches(items, BATCH):
        for item in batch:
            yield _scored(item, faces) if isinstance(item, Photo) else item


def columns_of(photo: Photo) -> dict[str, float]:
    """A matched photo's scores, with ``people`` (how many have a phrase) and the lowest scores among these people.

    ``known_face``: whether the face that the source knows lies in the mask of one of them.
    """
    people = [segment for segment in photo.segments if segment.label in PERSON_WORDS and segment.phrase is not None]
    margins = [segment.margin for segment in people if segment.margin is not None]
    leasts = {f"min_{name}": [s.scores[name] for s in people if name in s.scores] for name in ("share", "face_pixels")}
    found = {name: min(values) for name, values in {"min_margin": margins, **leasts}.items() if values}
    if photo.sidecar.face is not None:
        found["known_face"] = max((segment.scores.get("known_face", 0.0) for segment in people), default=0.0)
    return {**photo.scores, "people": float(len(people)), **found}


def brightness(image: Image) -> Grey:
    """Grey values, float32 (height, width) in 0-255 (ITU-R BT.601)."""
    grey: Grey = image.astype(np.float32) @ np.array([0.299, 0.587, 0.114], np.float32)
    return grey


def sharpness(grey: Grey) -> float:
    """Variance of the Laplacian of grey values: low where a picture is blurred; 0 for a side under 3 pixels."""
    if min(grey.shape) < 3:
        return 0.0
    inner = grey[1:-1, 1:-1]
    return float((grey[:-2, 1:-1] + grey[2:, 1:-1] + grey[1:-1, :-2] + grey[1:-1, 2:] - 4 * inner).var())


def holds_face(mask: Mask, face: Face, *, share: float = 0.9) -> bool:
    """Whether a face's middle and at least ``share`` of its landmarks lie in a mask."""
    inside = [_at(mask, x, y) for x, y in face.landmarks]
    return _at(mask, *_middle(face.box)) and sum(inside) >= share * len(inside)


def _scored(photo: Photo, faces: Any | None) -> Photo:
    image = read_image(photo.path)
    grey = brightness(image)
    # The detector alone: ``get`` would have every face recognised too
    boxes = [] if faces is None else faces.det_model.detect(image[..., ::-1], max_num=0, metric="default")[0].tolist()
    found = [((x1, y1, x2, y2), sure) for x1, y1, x2, y2, sure in boxes]
    segments = tuple(
        replace(segment, scores=_of_segment(segment, grey, found, faces is not None, photo.sidecar.face))
        for segment in photo.segments
    )
    scores = {"short_side": float(min(image.shape[:2])), "sharpness": round(sharpness(grey), 3)}
    if faces is not None:
        scores["faces"] = float(len(found))
    return replace(photo, segments=segments, scores=scores, phash=phash(grey))


def _of_segment(
    segment: Segment, grey: Grey, faces: Sequence[tuple[Any, float]], searched: bool, known: Face | None
) -> dict[str, float]:
    height, width = grey.shape
    x1, y1, x2, y2 = segment.bbox
    near = [(sure, box) for box, sure in faces if x1 <= int(_middle(box)[0]) < x2 and y1 <= int(_middle(box)[1]) < y2]
    scores = {
        "share": round(segment.area / (height * width), 5),
        "sharpness": round(sharpness(grey[y1:y2, x1:x2]), 3),
        "touches_edge": float(x1 == 0 or y1 == 0 or x2 == width or y2 == height),
    }
    # Most segments have no face in their box: decoding a large mask takes longer than all else here
    mask = decode_mask(segment.rle) if near or known is not None else np.zeros((0, 0), bool)
    if searched:
        inside = [(sure, box) for sure, box in near if _at(mask, *_middle(box))]
        sure, box = max(inside, key=lambda face: face[0], default=(0.0, (0, 0, 0, 0)))
        scores |= {"face": round(sure, 4), "face_pixels": round(float(min(box[2] - box[0], box[3] - box[1])), 1)}
    if known is not None:
        scores["known_face"] = float(holds_face(mask, known))
    return scores


def _middle(box: Sequence[float]) -> tuple[float, float]:
    return (box[0] + box[2]) / 2, (box[1] + box[3]) / 2


def _at(mask: Mask, x: float, y: float) -> bool:
    column, row = int(x), int(y)
    return 0 <= row < mask.shape[0] and 0 <= column < mask.shape[1] and bool(mask[row, column])
