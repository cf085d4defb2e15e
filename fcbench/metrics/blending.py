"""Identity blending, decomposed: what happened to the people in a picture that was to show several.

Two thresholds decide, both measured on real photos of the suite's own subjects and kept beside the scores:

- ``floor``: the cosine that 95 % of photos of *other* people stay below. A face above it looks like the subject.
- ``margin``: how much nearer a real face is to its own reference than to a partner's, in 95 % of photos. A face above
  the floor for two subjects, and nearer to one by less than that, is a blend of the two.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Set
from dataclasses import asdict, dataclass
from itertools import permutations
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from fcbench.images import read_image
from fcbench.metrics.assign import hungarian
from fcbench.metrics.attributes import likeliest
from fcbench.metrics.faces import NOUNS, Embeddings, Faces, find_faces
from fcbench.metrics.identity import similarities
from fcbench.types import Case, Generation, Score, Stack, Subject

OUTCOMES = ("both_right", "blended", "swapped", "cloned", "margin")
LEAST_CHANCE, TELLING = 1e-6, 1e-3
"""The least chance of any class word, and the step of log chances below which two ways to assign faces are equal."""
STRANGERS_BELOW = 95
"""The floor is this percentile of other people's similarities, the margin that of 100 minus it of real margins."""


@dataclass(frozen=True)
class Thresholds:
    """What tells right from blended, and on how many real photos it was measured. Cosines."""

    floor: float
    margin: float | None
    """None where no subject has a second photo: then every face above the floor for two is a blend."""
    same_photos: int
    different_photos: int
    real_right: float | None
    """The share of second photos that these thresholds call right beside each partner: what a perfect method gets."""


@dataclass(frozen=True)
class Outcome:
    """What each face of a picture is, in order: ``whose`` gives the subject's number, None for nobody's."""

    whose: tuple[int | None, ...]
    blends: tuple[bool, ...]

    @property
    def blended(self) -> bool:
        """Whether a face is a blend of two."""
        return any(self.blends)

    @property
    def cloned(self) -> bool:
        """Whether a subject is there twice."""
        named = [subject for subject in self.whose if subject is not None]
        return len(named) > len(set(named))

    def shows(self, subjects: int) -> bool:
        """Whether every subject has a face of its own."""
        return set(self.whose) >= set(range(subjects)) and not self.blended


class Blending:
    """What became of the subjects: 1 or 0 per picture, and a margin; None, with the reason, where it cannot be asked.

    - ``both_right``: each subject has a face that is its own and no blend, and none is swapped.
    - ``blended``: a face looks like two of the subjects, and hardly more like one than the other.
    - ``swapped``: both are there, but the man's face is on the woman and hers on him. Asked only where the prompt tells
      them apart by their class words, and where something reads these words: the stack's reader of attributes, or the
      face pack's own, which knows man and woman.
    - ``cloned``: two faces are the same subject's.
    - ``missing``, ``extra``: fewer or more faces than subjects; for single subjects, too.

    - ``margin``: how much nearer a subject's face is to its own reference than to any other subject's, in cosine; the
      least over the subjects, a missing face 0. If the prompt has different class words, faces go to subjects so that
      what is read of all faces is likeliest; among equal chances, and otherwise, for the largest sum of similarities.
      In [-2, 2]: a picture that is right has a large one, a blend next to none, a clone or a swap one below 0. It
      ranks pictures that share an outcome.

    The largest faces count, as many as there are subjects. The outcomes do not exclude each other (a blend beside a
    missing face), and a picture may have none of them if its faces are strangers'.
    """

    name = "both_right"
    unit = "share"
    range = (0.0, 1.0)
    ranges: ClassVar = {"margin": (-2.0, 2.0)}
    higher_is_better = True
    version = 4
    roles = ("faces", "attributes")

    def __call__(self, stack: Stack, generations: Sequence[Generation]) -> list[dict[str, Score]]:
        """The seven columns for each generation."""
        if not generations:
            return []
        app = stack.role("faces")
        pictures = find_faces(app, [generation.image for generation in generations])
        references = _references(app, _subjects(generations))
        thresholds = calibrate(app, generations)
        nouns, readable = _read_nouns(stack, generations, pictures)
        return [
            _row(generation.case, faces, references, thresholds, nouns.get(place), readable)
            for place, (generation, faces) in enumerate(zip(generations, pictures, strict=True))
        ]

    def facts(self, stack: Stack, generations: Sequence[Generation]) -> Mapping[str, Any]:
        """The thresholds, to be written beside the scores."""
        thresholds = calibrate(stack.role("faces"), generations)
        return {} if thresholds is None else asdict(thresholds)


def calibrate(app: Any, generations: Sequence[Generation]) -> Thresholds | None:
    """The thresholds from the photos of the generations' subjects; None unless two of them show a face."""
    subjects = _subjects(generations)
    references = _references(app, subjects)
    seen = [subject for subject in subjects if len(references[subject.id])]
    if len(seen) < 2:
        return None
    photos = {subject.id: _photos(app, subject) for subject in seen}
    others = [similarities(references[a.id], photos[b.id]).ravel() for a, b in permutations(seen, 2)]
    floor = float(np.percentile(np.concatenate(others), STRANGERS_BELOW))
    partners = _partners(generations, {subject.id for subject in seen})
    own, other = _second_photos(references, photos, partners)
    margin = float(np.percentile(own - other, 100 - STRANGERS_BELOW)) if len(own) else None
    right = (own > floor) & (own > other) & ~((other > floor) & (own - other < (np.inf if margin is None else margin)))
    second = sum(len(rows) - 1 for rows in photos.values())
    return Thresholds(floor, margin, second, sum(map(len, others)), float(right.mean()) if len(own) else None)


def judge(similarity: npt.NDArray[np.float64], thresholds: Thresholds) -> Outcome:
    """Whose each face is and which are blends; ``similarity`` is (subjects, faces), the largest faces first."""
    whose: list[int | None] = []
    blends = []
    for column in similarity.T:
        order = np.argsort(-column, kind="stable")
        first, second = column[order[0]], column[order[1]]
        close = thresholds.margin is None or first - second < thresholds.margin
        blend = bool(second > thresholds.floor and close)
        blends.append(blend)
        whose.append(int(order[0]) if first > thresholds.floor and not blend else None)
    return Outcome(tuple(whose), tuple(blends))


def _row(
    case: Case,
    faces: Faces,
    references: Mapping[str, Embeddings],
    thresholds: Thresholds | None,
    nouns: Sequence[Mapping[str, float]] | None,
    readable: Set[str],
) -> dict[str, Score]:
    wanted = len(case.subjects)
    counts = {"missing": Score(float(len(faces) < wanted)), "extra": Score(float(len(faces) > wanted))}
    faceless = [subject.id for subject in case.subjects if not len(references[subject.id])]
    if wanted < 2:
        return dict.fromkeys(OUTCOMES, Score(None, "one subject only")) | counts
    if faceless or thresholds is None:
        return dict.fromkeys(OUTCOMES, Score(None, f"no face in the photo of {', '.join(faceless)}")) | counts
    own = np.concatenate([references[subject.id] for subject in case.subjects])
    outcome, margin = Outcome((), ()), 0.0
    if len(faces):
        similarity = similarities(own, faces.embeddings[:wanted])
        outcome = judge(similarity, thresholds)
        margin = least_margin(similarity, [subject.noun for subject in case.subjects], nouns)
    swapped = _swapped(case.subjects, outcome, nouns, readable)
    right = outcome.shows(wanted) and not swapped.value
    return {
        "both_right": Score(float(right)),
        "blended": Score(float(outcome.blended)),
        "swapped": swapped,
        "cloned": Score(float(outcome.cloned)),
        "margin": Score(margin),
        **counts,
    }


def least_margin(
    similarity: npt.NDArray[np.float64], words: Sequence[str], nouns: Sequence[Mapping[str, float]] | None = None
) -> float:
    """The column ``margin`` of one picture: ``similarity`` is (subjects, faces), at least 2 subjects and 1 face.

    ``words`` are the subjects' class words, ``nouns`` the chance of each word for each face.
    """
    subjects = len(words)
    weights = similarity
    if len(set(words)) > 1 and nouns is not None and len(nouns) == subjects:
        chances = np.array([[max(read.get(word, 0.0), LEAST_CHANCE) for read in nouns] for word in words])
        steps = np.round(np.log(chances) / TELLING)
        weights = similarity + (2 * subjects + 1) * steps  # a step outweighs any difference of sums of cosines
    given = hungarian(weights)
    margins = [similarity[row, face] - np.delete(similarity[:, face], row).max() for row, face in given.items()]
    return float(min(margins + [0.0] * (len(given) < subjects)))


def _swapped(
    subjects: Sequence[Subject], outcome: Outcome, nouns: Sequence[Mapping[str, float]] | None, readable: Set[str]
) -> Score:
    """Whether two subjects of different class words stand in each other's place; ``nouns``: what is read of each face.

    ``readable``: the words that can be read; empty where no picture had a face to tell them by.
    """
    words = [subject.noun for subject in subjects]
    if len(set(words)) < 2:
        return Score(None, "the prompt does not tell the subjects apart")
    if nouns is None:
        return Score(None, "nothing reads class words in this stack")
    if readable and (unread := [word for word in words if word not in readable]):
        return Score(None, f"nothing here reads {unread[0]!r}")
    if not outcome.shows(len(subjects)):
        return Score(0.0, "not all subjects are there")
    read = {subject: likeliest(nouns[face]) for face, subject in enumerate(outcome.whose) if subject is not None}
    crossed = any(
        words[a] != words[b] and read[a] == words[b] and read[b] == words[a] for a, b in permutations(read, 2)
    )
    return Score(float(crossed))


def _read_nouns(
    stack: Stack, generations: Sequence[Generation], pictures: Sequence[Faces]
) -> tuple[dict[int, Sequence[Mapping[str, float]]], Set[str]]:
    """Generation's place -> the chance of each class word for its largest faces, where it can make a difference.

    And all words that could have been read.
    """
    told: dict[int, Sequence[Mapping[str, float]]] = {}
    readable: set[str] = set()
    asked = []
    for place, (generation, faces) in enumerate(zip(generations, pictures, strict=True)):
        words = {subject.noun for subject in generation.case.subjects}
        if len(words) < 2:
            continue
        if faces.nouns:
            told[place] = [{noun or "": 1.0} for noun in faces.nouns[: len(generation.case.subjects)]]
            readable.update(NOUNS.values())
        else:
            asked.append(place)
    if asked and "attributes" in stack.load:
        reader = stack.role("attributes")
        boxes = [pictures[place].boxes[: len(generations[place].case.subjects)] for place in asked]
        answers = reader.figures([read_image(generations[place].image) for place in asked], boxes)
        told |= {place: [of["noun"] for of in figures] for place, figures in zip(asked, answers, strict=True)}
        readable.update(*(of["noun"] for figures in answers for of in figures))
    elif told:
        told |= {place: [] for place in asked if not len(pictures[place].boxes)}  # seen like the others: nobody
    return told, readable


def _subjects(generations: Sequence[Generation]) -> list[Subject]:
    return list({s.id: s for generation in generations for s in generation.case.subjects}.values())


def _references(app: Any, subjects: Sequence[Subject]) -> dict[str, Embeddings]:
    """The largest face of each subject's reference: (1, dimensions), or (0, ...) where it shows none."""
    found = find_faces(app, [subject.reference for subject in subjects])
    return {subject.id: faces.embeddings[:1] for subject, faces in zip(subjects, found, strict=True)}


def _photos(app: Any, subject: Subject) -> Embeddings:
    """The largest face of each photo that shows one, the reference's first."""
    return np.concatenate([faces.embeddings[:1] for faces in find_faces(app, subject.images) if len(faces)])


def _partners(generations: Sequence[Generation], known: set[str]) -> list[tuple[str, str]]:
    """Who shares a picture with whom, both ways, once each; in a suite of single subjects nobody."""
    pairs = {
        (a.id, b.id): None
        for generation in generations
        for a, b in permutations(generation.case.subjects, 2)
        if {a.id, b.id} <= known
    }
    return list(pairs)


def _second_photos(
    references: Mapping[str, Embeddings], photos: Mapping[str, Embeddings], partners: Sequence[tuple[str, str]]
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """For every photo but the reference, with every partner: the cosines to its own reference and to the partner's."""
    own, other = [np.zeros(0)], [np.zeros(0)]
    for a, b in partners:
        own.append(similarities(references[a], photos[a][1:]).ravel())
        other.append(similarities(references[b], photos[a][1:]).ravel())
    return np.concatenate(own), np.concatenate(other)
