"""Which phrase names which segment: one to one, on the product of two similarities (FastComposer, 5.1).

The paper takes the best pair first; here all pairs of a photo are weighed together, which is right more often
(LOG.md), and ``greedy`` is the paper's way.

A crop is compared with the phrase and all that the caption says of it: "a man" and "a man" cannot be told apart,
"a man wearing a red hat" and "a man holding a book" can.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from fcbench.build.records import Item, Photo, Phrase, Reject, Segment, batches
from fcbench.images import read_image
from fcbench.masks import decode_mask, on_grey
from fcbench.types import PERSON, UNLABELLED, Grounder, Image, Matcher, SentenceEncoder

BATCH = 64
AMBIGUOUS_MARGIN = 0.01
"""A matching that beats its runner-up by less than this is flagged ``ambiguous``."""

PERSON_WORDS = frozenset(
    {"adult", "baby", "boy", "bride", "child", "dad", "father", "female", "fellow", "gentleman", "girl", "grandfather"}
    | {"grandmother", "groom", "guy", "human", "kid", "lady", "male", "man", "mom", "mother", "person", "player"}
    | {"student", "teenager", "toddler", "woman", "worker", "actor", "actress", "artist", "athlete", "chef", "cop"}
    | {"dancer", "daughter", "doctor", "farmer", "friend", "grandma", "grandpa", "husband", "infant", "musician"}
    | {"nurse", "officer", "pilot", "policeman", "rider", "singer", "sister", "skier", "soldier", "son", "surfer"}
    | {"teacher", "teen", "tourist", "waiter", "waitress", "wife", "brother", "boyfriend", "girlfriend", "businessman"}
    | {"businesswoman", "celebrity", "cowboy", "elder", "king", "queen", "prince", "princess", "model"}
    | {"skateboarder", "snowboarder", "cyclist", "bicyclist", "biker", "motorcyclist", "skater", "swimmer", "runner"}
    | {"batter", "catcher", "pitcher", "umpire", "golfer", "goalie", "referee", "driver", "performer", "guitarist"}
)
"""Nouns that name one person; plurals are left out, as one segment is one person."""

Features = npt.NDArray[np.floating]
Pair = tuple[int, int]


def match(
    items: Iterable[Item],
    matcher: Matcher | Grounder,
    assignment: str = "hungarian",
    sentences: SentenceEncoder | None = None,
) -> Iterator[Item]:
    """Give each segment the phrase that names it; ``no_match`` where no segment of a photo gets one.

    The score of a pair is s(masked crop, description) * s(label, phrase) with s = (1 + cosine) / 2, in [0, 1]: it grows
    with both, whereas two negative plain cosines would make a good match. Labels and phrases are compared by
    ``sentences``, a sentence encoder as in the paper, or without one by the matcher's own text features. A grounding
    matcher's score is a box's own score times its overlap with the segment. People match phrases of people only,
    ``UNLABELLED`` segments any. ``assignment``: see ``ASSIGNMENTS``.
    """
    choose = ASSIGNMENTS[assignment]
    texts = None if isinstance(matcher, Grounder) else _Texts(matcher, sentences)
    for batch in batches(items, BATCH):
        photos = [item for item in batch if isinstance(item, Photo)]
        scores = _grounded(photos, matcher) if isinstance(matcher, Grounder) else _compared(photos, matcher, texts)
        matched = {photo.id: _matched(photo, pairs, choose) for photo, pairs in zip(photos, scores, strict=True)}
        for item in batch:
            yield matched[item.id] if isinstance(item, Photo) else item


def assign(scores: Mapping[Pair, float]) -> dict[int, int]:
    """Greedy one-to-one matching of (segment, phrase start) pairs: best score first, then lowest segment, then start.

    >>> assign({(1, 0): 0.9, (1, 8): 0.8, (2, 0): 0.85, (2, 8): 0.1})
    {1: 0, 2: 8}
    """
    found: dict[int, int] = {}
    for segment, start in sorted(scores, key=lambda pair: (-scores[pair], *pair)):
        if segment not in found and start not in found.values():
            found[segment] = start
    return found


def assign_best(scores: Mapping[Pair, float]) -> dict[int, int]:
    """The one-to-one matching with the most pairs, and of these the one with the highest sum (Kuhn, 1955).

    >>> assign_best({(1, 0): 0.9, (1, 8): 0.8, (2, 0): 0.85, (2, 8): 0.1})
    {1: 8, 2: 0}
    """
    from scipy.optimize import linear_sum_assignment

    if not scores:
        return {}
    segments = sorted({segment for segment, _ in scores})
    starts = sorted({start for _, start in scores})
    table = np.full((len(segments), len(starts)), -len(scores) - 1.0)
    for (segment, start), score in scores.items():
        table[segments.index(segment), starts.index(start)] = score
    rows, columns = linear_sum_assignment(table, maximize=True)
    pairs = [(segments[row], starts[column]) for row, column in zip(rows.tolist(), columns.tolist(), strict=True)]
    return {segment: start for segment, start in pairs if (segment, start) in scores}


ASSIGNMENTS = {"hungarian": assign_best, "greedy": assign}
"""Hungarian weighs all pairs of a photo together; greedy is as in the paper."""


def margin(scores: Mapping[Pair, float], found: Mapping[int, int], segment: int) -> float | None:
    """By how much the matching beats the best one in which ``segment`` has another phrase, or its phrase another owner.

    The runner-up changes one thing: it gives ``segment`` a free phrase, its phrase to a free segment, or exchanges
    the phrases of two segments. Negative where greedy took a worse one; None where nothing could be changed.

    >>> round(margin({(1, 0): 0.9, (1, 8): 0.8, (2, 0): 0.85, (2, 8): 0.1}, {1: 0, 2: 8}, 1), 6)
    -0.65
    """
    start = found[segment]
    owners = {phrase: owner for owner, phrase in found.items()}
    changes = []
    for (other, phrase), score in scores.items():
        if other == segment and phrase not in owners:
            changes.append(scores[segment, start] - score)
        elif other == segment and phrase != start and (owners[phrase], start) in scores:
            owner = owners[phrase]
            changes.append(scores[segment, start] + scores[owner, phrase] - score - scores[owner, start])
        elif phrase == start and other not in found:
            changes.append(scores[segment, start] - score)
    return min(changes, default=None)


class _Known:
    """Text features, each text computed once."""

    def __init__(self, encoder: SentenceEncoder) -> None:
        self._encoder = encoder
        self._known: dict[str, Features] = {}

    def learn(self, texts: Iterable[str]) -> None:
        new = sorted(set(texts) - self._known.keys())
        if new:
            self._known.update(zip(new, self._encoder.text_features(new), strict=True))

    def __call__(self, texts: Sequence[str]) -> Features:
        return np.stack([self._known[text] for text in texts]).astype(np.float64)


class _Texts:
    """Features of the texts that crops are compared with, and of labels and phrases."""

    def __init__(self, matcher: Matcher, sentences: SentenceEncoder | None) -> None:
        self.told = _Known(matcher)
        self.named = self.told if sentences is None else _Known(sentences)

    def learn(self, photos: Sequence[Photo]) -> None:
        """Compute what the photos need, in two batches at most, whatever their number."""
        told = {_told(phrase) for photo in photos for phrase in photo.phrases}
        named = {phrase.text for photo in photos for phrase in photo.phrases}
        named |= {segment.label for photo in photos for segment in photo.segments}
        self.told.learn(told | named if self.named is self.told else told)
        self.named.learn(named)


def _compared(photos: Sequence[Photo], matcher: Matcher, texts: _Texts | None) -> list[dict[Pair, float]]:
    """The scores of each photo's allowed pairs, none where nothing may be paired."""
    assert texts is not None
    pairs = [_pairs(photo) for photo in photos]
    open_photos = [photo for photo, allowed in zip(photos, pairs, strict=True) if allowed]
    texts.learn(open_photos)
    features = iter(matcher.image_features(_crops(open_photos))) if open_photos else iter(())
    scores: list[dict[Pair, float]] = []
    for photo, allowed in zip(photos, pairs, strict=True):
        crops = np.stack([next(features) for _ in photo.segments]) if allowed else np.zeros((0, 0), np.float32)
        scores.append(_scores(photo, allowed, crops, texts) if allowed else {})
    return scores


def _grounded(photos: Sequence[Photo], grounder: Grounder) -> list[dict[Pair, float]]:
    """For each allowed pair the best of the phrase's boxes: its score times its overlap with the segment's box."""
    images = [read_image(photo.path) for photo in photos]
    spans = [[(phrase.start, phrase.end) for phrase in photo.phrases] for photo in photos]
    found = grounder.ground(images, [photo.caption for photo in photos], spans) if photos else []
    scores = []
    for photo, boxes in zip(photos, found, strict=True):
        by_start = {phrase.start: there for phrase, there in zip(photo.phrases, boxes, strict=True)}
        pairs = {
            (s.id, p.start): max((score * _overlap(s.bbox, box) for box, score in by_start[p.start]), default=0.0)
            for s, p in _pairs(photo)
        }
        scores.append({pair: score for pair, score in pairs.items() if score > 0})
    return scores


def _overlap(first: Sequence[float], second: Sequence[float]) -> float:
    """Intersection over union of two boxes (x1, y1, x2, y2)."""
    width = min(first[2], second[2]) - max(first[0], second[0])
    height = min(first[3], second[3]) - max(first[1], second[1])
    shared = max(width, 0.0) * max(height, 0.0)
    areas = [(box[2] - box[0]) * (box[3] - box[1]) for box in (first, second)]
    return shared / (sum(areas) - shared) if shared else 0.0


def _pairs(photo: Photo) -> list[tuple[Segment, Phrase]]:
    return [
        (segment, phrase)
        for segment in photo.segments
        for phrase in photo.phrases
        if segment.label == UNLABELLED or (segment.label in PERSON_WORDS) == (phrase.root in PERSON_WORDS)
    ]


def _told(phrase: Phrase) -> str:
    return phrase.description or phrase.text


def _crops(photos: Sequence[Photo]) -> list[Image]:
    crops = []
    for photo in photos:
        image = read_image(photo.path)
        crops += [on_grey(image, decode_mask(s.rle), s.bbox) for s in photo.segments]
    return crops


def _scores(
    photo: Photo, allowed: Sequence[tuple[Segment, Phrase]], crops: Features, texts: _Texts
) -> dict[Pair, float]:
    """The scores of a photo's allowed pairs, computed in float64 from normalised features."""
    named = texts.named([phrase.text for phrase in photo.phrases])
    labels = texts.named([segment.label for segment in photo.segments])
    told = texts.told([_told(phrase) for phrase in photo.phrases])
    scores = (1 + crops @ told.T) / 2 * (1 + labels @ named.T) / 2
    rows = {segment.id: row for row, segment in enumerate(photo.segments)}
    columns = {phrase.start: column for column, phrase in enumerate(photo.phrases)}
    return {(s.id, p.start): float(scores[rows[s.id], columns[p.start]]) for s, p in allowed}


def _label(segment: Segment, phrase: Phrase) -> str:
    """Somebody whom a phrase names is a person, whatever the segmenter calls them."""
    return PERSON if phrase.root in PERSON_WORDS else segment.label


def _matched(
    photo: Photo, scores: Mapping[Pair, float], choose: Callable[[Mapping[Pair, float]], dict[int, int]]
) -> Item:
    if not scores:
        return Reject(photo.id, "no_match", "match", f"nobody of the picture in {photo.caption!r}")
    found = choose(scores)
    index = {phrase.start: number for number, phrase in enumerate(photo.phrases)}
    segments = tuple(
        replace(
            segment,
            label=_label(segment, photo.phrases[index[found[segment.id]]]),
            phrase=index[found[segment.id]],
            match_score=scores[segment.id, found[segment.id]],
            margin=margin(scores, found, segment.id),
        )
        if segment.id in found
        else segment
        for segment in photo.segments
    )
    ambiguous = any(s.margin is not None and s.margin < AMBIGUOUS_MARGIN for s in segments)
    unmatched = any(s.phrase is None for s in segments if s.is_thing)
    flags = ("ambiguous",) * ambiguous + ("unmatched",) * unmatched
    return replace(photo, segments=segments, flags=photo.flags + flags)
