"""Identity preservation: how much the drawn faces look like the subjects' reference photos."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from fcbench.images import read_image
from fcbench.metrics.assign import greedy, hungarian, matched
from fcbench.types import Generation, Score, Stack

NO_FACE = "no face found"
COLUMNS = ("identity", "identity_strict", "identity_mean", "faces")

Embeddings = npt.NDArray[np.float32]
"""Face embeddings of unit length, largest face first, shape (faces, dimensions)."""


class Identity:
    """Cosine between face embeddings of the picture and of the reference photos; minimum over the subjects.

    Columns, one value a picture:

    - ``identity``: the protocol of FastComposer (arXiv 2305.10431). Of a picture for N subjects the N largest faces
      are matched greedily; a subject without a face counts 0, as do similarities below 0. In [0, 1].
    - ``identity_strict``: matched for the largest sum instead, and found faces are not raised to 0. In [-1, 1].
    - ``identity_mean``: like ``identity``, but the mean over the subjects.
    - ``faces``: how many faces were found, counting all.

    A reference photo shows its largest face. Where it shows none the metric does not apply: None, naming the photo.
    """

    name = "identity"
    unit = "cosine"
    range = (0.0, 1.0)
    higher_is_better = True
    version = 1

    def __call__(self, stack: Stack, generations: Sequence[Generation]) -> list[dict[str, Score]]:
        """The four columns for each generation."""
        app = stack.role("faces")
        photos = dict.fromkeys(subject.reference for g in generations for subject in g.case.subjects)
        references = {photo: embed_faces(app, photo)[:1] for photo in photos}
        scores = []
        for generation in generations:
            own = [subject.reference for subject in generation.case.subjects]
            if faceless := [str(photo) for photo in own if not len(references[photo])]:
                none = Score(None, f"no face in the reference photo {', '.join(faceless)}")
                scores.append(dict.fromkeys(COLUMNS, none))
            else:
                embedded = np.concatenate([references[photo] for photo in own])
                scores.append(_scores(embed_faces(app, generation.image), embedded))
        return scores


def embed_faces(app: Any, path: Path) -> Embeddings:
    """The faces of a picture, largest box first; ``app`` is an ``insightface.app.FaceAnalysis``."""
    bgr = np.ascontiguousarray(read_image(path)[:, :, ::-1])
    faces = sorted(app.get(bgr), key=lambda face: -_area(face.bbox))
    return np.array([face.normed_embedding for face in faces], dtype=np.float32)


def _area(box: npt.NDArray[np.floating]) -> float:
    left, top, right, bottom = (float(edge) for edge in box)
    return max(right - left, 0.0) * max(bottom - top, 0.0)


def _scores(faces: Embeddings, references: Embeddings) -> dict[str, Score]:
    """The columns of one picture from its faces and the references' embeddings, shape (subjects, dimensions)."""
    subjects, found = len(references), len(faces)
    if not found:
        return dict.fromkeys(COLUMNS, Score(0.0, NO_FACE))
    similarity = references @ faces[:subjects].T
    official = np.maximum(matched(similarity, greedy(similarity)), 0.0)
    strict = matched(similarity, hungarian(similarity))
    note = f"{subjects - found} of {subjects} faces missing" if found < subjects else ""
    values = (official.min(), strict.min(), official.mean(), found)
    return {column: Score(float(value), note) for column, value in zip(COLUMNS, values, strict=True)}
