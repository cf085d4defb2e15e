"""How well a face pack finds and tells apart people that it was never shown: the figures on its card."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from fcbench.make_stack.face_pool import FacePool, draw_faces
from fcbench.world import TEST_PEOPLE
from fcbench.world.vocabulary import STYLES

FIRST = 1_900_000
"""The judges are judged on people from here up, whom no suite draws."""
VIEWS = 6
"""Pictures of each person: two alone, two with one other, two with two."""
MATCH = 0.5
"""A detection is right if its intersection over union with a face not yet found is at least this."""

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Found:
    """What a pack found in a pool: how many boxes, and for the right ones their people and embeddings."""

    detections: int
    person: npt.NDArray[np.int64]
    embeddings: npt.NDArray[np.float32]


def score_faces(app: Any, *, people: int = 300, seed: int = 0) -> dict[str, float]:
    """The card of a pack, wholly through ``FaceAnalysis.get``; photos first, then all other styles (``*_styles``).

    ``auc``, ``eer``: of the cosines of all pairs of found faces, same person against different; ``same`` and
    ``different`` are their means. ``recall``, ``precision``: of boxes at IoU 0.5. All are shares but the cosines.
    """
    unseen = range(FIRST, FIRST + people)
    if unseen[-1] not in TEST_PEOPLE:
        raise ValueError(f"{people} people from {FIRST} up leave the test people")
    card: dict[str, float] = {}
    for suffix, styles in (("", ["photo"]), ("_styles", [style for style in STYLES if style != "photo"])):
        pool = draw_faces(unseen, VIEWS, seed=seed, styles=styles)
        found = find_faces(app, pool)
        same, different = pair_cosines(found.embeddings, found.person)
        scores = {
            "recall": len(found.person) / len(pool.person),
            "precision": len(found.person) / max(found.detections, 1),
            "auc": area_under_curve(same, different),
            "eer": equal_error_rate(same, different),
            "same": float(same.mean()),
            "different": float(different.mean()),
        }
        card |= {name + suffix: round(value, 4) for name, value in scores.items()}
    return card


def find_faces(app: Any, pool: FacePool) -> Found:
    """Run a pack over a pool and match its boxes to the true ones, the surest first."""
    detections, people, embeddings = 0, [], []
    for image, rows in zip(pool.images, pool.faces_by_picture(), strict=True):
        free = list(rows)
        faces = app.get(np.ascontiguousarray(image[:, :, ::-1]))
        detections += len(faces)
        for face in sorted(faces, key=lambda face: -face.det_score):
            overlaps = [intersection_over_union(face.bbox, pool.boxes[row]) for row in free]
            if overlaps and max(overlaps) >= MATCH:
                people.append(pool.person[free.pop(int(np.argmax(overlaps)))])
                embeddings.append(face.normed_embedding)
    return Found(detections, np.array(people, dtype=np.int64), np.array(embeddings, dtype=np.float32))


def intersection_over_union(first: npt.NDArray[np.floating], second: npt.NDArray[np.floating]) -> float:
    """Of two boxes [x1, y1, x2, y2].

    >>> intersection_over_union(np.array([0.0, 0, 2, 2]), np.array([1.0, 0, 3, 2]))
    0.3333333333333333
    """
    low, high = np.maximum(first[:2], second[:2]), np.minimum(first[2:], second[2:])
    shared = float(np.prod(np.clip(high - low, 0, None)))
    areas = float(np.prod(first[2:] - first[:2]) + np.prod(second[2:] - second[:2]))
    return shared / max(areas - shared, 1e-9)


def pair_cosines(embeddings: npt.NDArray[np.float32], person: npt.NDArray[np.int64]) -> tuple[Floats, Floats]:
    """Cosines of all pairs of faces, embeddings of unit length: those of one person, those of two."""
    first, second = np.triu_indices(len(person), 1)
    cosines = (embeddings @ embeddings.T)[first, second].astype(np.float64)
    same = person[first] == person[second]
    return cosines[same], cosines[~same]


def area_under_curve(same: Floats, different: Floats) -> float:
    """How often a pair of one person is more alike than a pair of two; ties count half.

    >>> area_under_curve(np.array([0.9, 0.4]), np.array([0.5, 0.1]))
    0.75
    """
    ordered = np.sort(different)
    below = np.searchsorted(ordered, same, "left") + np.searchsorted(ordered, same, "right")
    return float(below.mean() / 2 / len(different))


def equal_error_rate(same: Floats, different: Floats) -> float:
    """The error at the threshold where the share of same pairs refused equals that of different ones accepted.

    >>> equal_error_rate(np.array([0.9, 0.8, 0.7, 0.2]), np.array([0.6, 0.1, 0.1, 0.0]))
    0.25
    """
    thresholds = np.concatenate([same, different])
    refused = np.searchsorted(np.sort(same), thresholds, "left") / len(same)
    taken = 1 - np.searchsorted(np.sort(different), thresholds, "left") / len(different)
    return float(((refused + taken) / 2)[np.abs(refused - taken).argmin()])
