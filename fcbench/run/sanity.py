"""Rows that show what a figure means: the best that is possible, what chance gives, and what cheating gives.

::

    real-photos      other photos of the same people: the ceiling of identity
    other-people     photos of other people of the suite, of the same class word where there are any: the floor
    copy-reference   the reference photos themselves: identity 1 without a picture being made

Each is a run folder whose ``run.json`` holds ``"sanity": true``: shown apart and never ranked. None of them
follows the prompt. For several subjects their photos stand side by side, each cut to its share around the face.
"""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from fcbench import store
from fcbench.config import Suite
from fcbench.errors import UsageError
from fcbench.images import read_image, resize
from fcbench.run.cases import subjects_of
from fcbench.run.pictures import write_run
from fcbench.stacks import load_stack
from fcbench.types import Case, Image, Stack, Subject

REAL, OTHERS, COPY = "real-photos", "other-people", "copy-reference"
ROWS = (REAL, OTHERS, COPY)


def write_sanity(
    suite: Suite, *, out: Path, stack_name: str | None = None, rows: Sequence[str] = ROWS
) -> list[store.RunFolder]:
    """Write those sanity rows that the suite's people allow, naming the others on stderr.

    ``stack_name`` is the stack of the runs beside them, if it is not the suite's.
    UsageError if the people allow none of ``rows``.
    """
    subjects, stack = subjects_of(suite, out), load_stack(stack_name or suite.stack)
    obstacles = {row: _obstacle(row, suite.group, subjects) for row in rows}
    if all(obstacles.values()):
        raise UsageError("; ".join(obstacles.values()))
    for obstacle in filter(None, obstacles.values()):
        print(f"{suite.name}: left out {obstacle}", file=sys.stderr)
    return [
        write_run(
            suite,
            subjects,
            out=out,
            label=row,
            stack_name=stack_name,
            draw=_drawing(_chooser(row, subjects), stack),
            facts={"sanity": True, "images_per_subject": 1},
        )
        for row, obstacle in obstacles.items()
        if not obstacle
    ]


def _obstacle(row: str, group: int, subjects: Sequence[Subject]) -> str:
    """Why the people of a suite do not allow a row; empty where they do."""
    if row == REAL and (alone := [subject.id for subject in subjects if len(subject.images) < 2]):
        return f"{REAL}: a second photo of {', '.join(alone)} is needed"
    if row == OTHERS and len(subjects) < 2 * group:
        return f"{OTHERS}: strangers of {group} people need {2 * group} people in the suite, it has {len(subjects)}"
    return ""


def _chooser(row: str, subjects: Sequence[Subject]) -> Callable[[Case], list[Path]]:
    """Case -> the photos to show, one per subject."""
    if row == REAL:
        return lambda case: [s.images[1 + _pick(case, s, len(s.images) - 1)] for s in case.subjects]
    if row == OTHERS:
        return lambda case: [person.reference for person in _strangers(case, subjects)]
    return lambda case: [subject.reference for subject in case.subjects]


def _strangers(case: Case, subjects: Sequence[Subject]) -> list[Subject]:
    """One stranger for each subject, all different, of the same class word where one is left."""
    left = [subject for subject in subjects if subject not in case.subjects]
    chosen = []
    for subject in case.subjects:
        alike = [other for other in left if other.noun == subject.noun] or left
        chosen.append(alike[_pick(case, subject, len(alike))])
        left.remove(chosen[-1])
    return chosen


def _pick(case: Case, subject: Subject, count: int) -> int:
    """A number below ``count`` that depends on case and subject alone."""
    return int.from_bytes(hashlib.sha256(f"{case.id} {subject.id}".encode()).digest()[:8], "big") % count


def _drawing(choose: Callable[[Case], list[Path]], stack: Stack) -> Callable[[Case], Image]:
    def draw(case: Case) -> Image:
        photos = [read_image(path) for path in choose(case)]
        return photos[0] if len(photos) == 1 else side_by_side(photos, stack)

    return draw


def side_by_side(photos: Sequence[Image], stack: Stack) -> Image:
    """Photos in one picture of the stack's size, each the largest upright strip around its largest face."""
    app, size = stack.role("faces"), stack.image_size
    width = size // len(photos)
    return np.concatenate([resize(_strip(photo, app, width / size), size, width=width) for photo in photos], axis=1)


def _strip(photo: Image, app: Any, aspect: float) -> Image:
    """The largest part of a photo with ``aspect`` = width / height that has the face in its middle, if it can."""
    height, width = photo.shape[:2]
    tall, wide = (height, round(height * aspect)) if height * aspect <= width else (round(width / aspect), width)
    x, y = width / 2, height / 2
    if faces := app.get(np.ascontiguousarray(photo[:, :, ::-1])):
        left, top, right, bottom = max(faces, key=lambda face: np.prod(face.bbox[2:] - face.bbox[:2])).bbox
        x, y = (left + right) / 2, (top + bottom) / 2
    column = int(np.clip(round(x - wide / 2), 0, width - wide))
    row = int(np.clip(round(y - tall / 2), 0, height - tall))
    return photo[row : row + tall, column : column + wide]
