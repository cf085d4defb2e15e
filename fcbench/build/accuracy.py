"""How often the matching is right, where the source planted the truth."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TypedDict

from fcbench.build.records import Photo, Segment
from fcbench.build.wilson import wilson


class Accuracy(TypedDict):
    """Of ``segments`` with a known phrase, ``right`` got exactly its span; ``accuracy`` is the quotient."""

    segments: int
    right: int
    accuracy: float


@dataclass
class Proportion:
    """``right`` out of ``of``; ``right`` may be a fraction where chances are added up."""

    right: float = 0.0
    of: int = 0

    def add(self, right: float, of: int = 1) -> None:
        """Count ``of`` more, ``right`` of them right."""
        self.right += float(right)
        self.of += of

    @property
    def share(self) -> float:
        """The quotient; 0 where ``of`` is 0."""
        return self.right / self.of if self.of else 0.0

    @property
    def interval(self) -> tuple[float, float]:
        """Its 95 % interval."""
        return wilson(self.right, self.of)

    @property
    def summary(self) -> dict[str, float]:
        """Share and interval, rounded."""
        low, high = self.interval
        return {"share": round(self.share, 4), "low": round(low, 4), "high": round(high, 4)}


def matching_accuracy(photos: Iterable[Photo]) -> dict[str, Accuracy]:
    """Accuracy over all segments whose truth is known, in total and by difficulty; empty where no truth is known.

    By difficulty: by the number of people in the photo and, with several, whether another has the same noun; and
    over photos that are not flagged ambiguous.
    """
    seen: Counter[str] = Counter()
    right: Counter[str] = Counter()
    for photo in photos:
        for segment in photo.segments:
            if segment.truth is None:
                continue
            kinds = _kinds(photo, segment)
            seen.update(kinds)
            if _span(photo, segment) == segment.truth:
                right.update(kinds)
    return {
        kind: Accuracy(segments=seen[kind], right=right[kind], accuracy=right[kind] / seen[kind])
        for kind in sorted(seen)
    }


def _span(photo: Photo, segment: Segment) -> tuple[int, int] | None:
    if segment.phrase is None:
        return None
    phrase = photo.phrases[segment.phrase]
    return phrase.start, phrase.end


def _kinds(photo: Photo, segment: Segment) -> list[str]:
    nouns = [person.noun for person in photo.sidecar.people]
    kinds = ["all"] if "ambiguous" in photo.flags else ["all", "not_ambiguous"]
    if len(nouns) == 1:
        return [*kinds, "single"]
    group = "pair" if len(nouns) == 2 else "group"
    own = next(person.noun for person in photo.sidecar.people if person.span == segment.truth)
    shared = nouns.count(own) > 1
    return [*kinds, group, f"{group}_{'same' if shared else 'different'}_noun"]
