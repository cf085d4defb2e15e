"""Identity preservation: how much the drawn faces look like the subjects' reference photos."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from fcbench.metrics.assign import greedy, hungarian, matched
from fcbench.metrics.faces import Embeddings, blank_embedding, find_faces
from fcbench.types import Generation, Score, Stack

NO_FACE = "no face found"

Vector = npt.NDArray[np.float32]


class Identity:
    """Cosine between face embeddings of the picture and of the reference photos; two protocols from one pass.

    Columns, one value per picture of N subjects, whose N largest faces count:

    - ``identity``: the protocol of FastComposer (arXiv 2305.10431): greedy matching, the minimum over the subjects,
      similarities below 0 raised to 0, no face at all 0. In [0, 1]. A face missing beside one that was found is,
      as in the official code, an all-zero crop that is embedded all the same: its similarity may be above 0.
    - ``identity_mean``, ``identity_1``, ``identity_2``, ...: under that protocol the mean over the subjects, and each
      subject's own, in the order of the prompt.
    - ``identity_strict``, ``identity_strict_mean``, ``identity_strict_1``, ...: matched for the largest sum instead
      (Hungarian), found faces not raised to 0, a missing face 0. In [-1, 1].
    - ``faces``: how many faces were found, counting all.

    Of a reference photo the largest face counts. If it shows none, the metric does not apply: None, naming the photo.
    """

    name = "identity"
    unit = "cosine"
    range = (0.0, 1.0)
    higher_is_better = True
    version = 2
    roles = ("faces",)

    def __call__(self, stack: Stack, generations: Sequence[Generation]) -> list[dict[str, Score]]:
        """All columns for each generation."""
        if not generations:
            return []
        app = stack.role(self.roles[0])
        photos = list(dict.fromkeys(subject.reference for g in generations for subject in g.case.subjects))
        references = dict(zip(photos, (faces.embeddings[:1] for faces in find_faces(app, photos)), strict=True))
        pictures = find_faces(app, [generation.image for generation in generations])
        blank = blank_embedding(app)
        rows = []
        for generation, faces in zip(generations, pictures, strict=True):
            own = [subject.reference for subject in generation.case.subjects]
            if faceless := [str(photo) for photo in own if not len(references[photo])]:
                none = Score(None, f"no face in the reference photo {', '.join(faceless)}")
                row = dict.fromkeys(_columns(len(own)), none)
            else:
                row = _scores(faces.embeddings, np.concatenate([references[photo] for photo in own]), blank)
            rows.append({self._column(column): score for column, score in row.items()})
        return rows

    def _column(self, column: str) -> str:
        """A column's name under this judge: ``identity_mean`` is ``identity_facenet_mean`` under FaceNet."""
        judge = self.name.removeprefix("identity")
        first, _, rest = column.partition("_")
        return f"{first}{judge}_{rest}" if rest else f"{first}{judge}"


class FacenetIdentity(Identity):
    """The same under the paper's own judge, MTCNN and FaceNet; see :mod:`fcbench.stacks.facenet`.

    The columns are named ``identity_facenet...`` and ``faces_facenet``; the stack's role is ``facenet``.
    """

    name = "identity_facenet"
    version = 1
    roles = ("facenet",)
    optional = True


def official(faces: Embeddings, references: Embeddings, blank: Vector | None) -> npt.NDArray[np.float64]:
    """Each subject's similarity under the paper's protocol, shape (subjects,), in [0, 1]; greedy matching.

    ``faces`` (found, dimensions), largest first; ``references`` (subjects, dimensions); ``blank`` is the embedding
    that stands in for a missing face, None to count it 0.
    """
    if not len(faces):
        return np.zeros(len(references))
    missing = len(references) - len(faces)
    if missing > 0 and blank is not None:
        faces = np.concatenate([faces, np.tile(blank, (missing, 1))])
    similarity = similarities(references, faces[: len(references)])
    return np.maximum(matched(similarity, greedy(similarity)), 0.0)


def strict(faces: Embeddings, references: Embeddings) -> npt.NDArray[np.float64]:
    """Each subject's similarity when faces are matched for the largest sum, shape (subjects,); 0 for a missing face."""
    if not len(faces):
        return np.zeros(len(references))
    similarity = similarities(references, faces[: len(references)])
    return matched(similarity, hungarian(similarity))


def similarities(references: Embeddings, faces: Embeddings) -> npt.NDArray[np.float64]:
    """Cosines of unit vectors, shape (subjects, faces), in [-1, 1] whatever the rounding."""
    return np.clip((references @ faces.T).astype(np.float64), -1, 1)


def _scores(faces: Embeddings, references: Embeddings, blank: Vector | None) -> dict[str, Score]:
    """The columns of one picture from its faces and the references' embeddings."""
    subjects, found = len(references), len(faces)
    note = NO_FACE if not found else f"{subjects - found} of {subjects} faces missing" if found < subjects else ""
    values = _protocol("identity", official(faces, references, blank))
    values |= _protocol("identity_strict", strict(faces, references))
    return {column: Score(value, note) for column, value in values.items()} | {"faces": Score(float(found), note)}


def _protocol(name: str, values: npt.NDArray[np.float64]) -> dict[str, float]:
    places = {f"{name}_{place}": float(value) for place, value in enumerate(values, 1)}
    return {name: float(values.min()), f"{name}_mean": float(values.mean()), **places}


def _columns(subjects: int) -> list[str]:
    zeros = np.zeros(subjects)
    return [*_protocol("identity", zeros), *_protocol("identity_strict", zeros), "faces"]
