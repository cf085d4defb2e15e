"""``data evaluate``: how good a build's labels are, against what its source knows and against doing nothing.

The drawn world knows everything. FFHQ knows one face per photo, which must lie in the mask of somebody with a phrase.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from pydantic import ValidationError

from fcbench.build.accuracy import Proportion
from fcbench.build.match import PERSON_WORDS, assign
from fcbench.build.records import Planted, Sidecar
from fcbench.build.rows import Row, Rows
from fcbench.build.segment import owners_of
from fcbench.errors import DataError, UsageError, did_you_mean
from fcbench.files import read_json, write_json, write_text
from fcbench.masks import decode_mask, iou
from fcbench.store import DataFolder
from fcbench.types import Mask
from fcbench.world import traits_in

COLUMNS = ("id", "caption", "noun_phrases", "segments", "flags", "known_face")
SECTION = "## Evaluation"


@dataclass
class Evaluation:
    """Proportions by name, each with its count; ``mean_iou`` is over all visible people, 0 for one that is not found.

    ``stated_true``: of the traits that a captioner's captions state, those that are true of the person described;
    ``named``: of the people, those who have a phrase with the right noun, whoever wrote the captions; ``apart``: of
    the photos of two, those in which each has a mask of its own. ``right...``: of the matches that the caption
    decides, those that are right, by how many people it names, and again without photos flagged ambiguous;
    ``right_in_order`` and ``right_at_random``: the same for matching by the label alone, which is equal for all
    people, and for a random draw. ``decided``: how many of the matches the caption decides: two people of whom it
    says the same can be matched either way. ``recalled``: of the people whom a phrase describes, those whose mask got
    it. ``face``: of the photos with a known face, those in which it lies in the mask of somebody who has a phrase.
    """

    photos: int = 0
    ious: list[float] = field(default_factory=list)
    proportions: dict[str, Proportion] = field(default_factory=dict)

    def count(self, name: str, right: float, of: int = 1) -> None:
        """Add ``right`` successes out of ``of``."""
        self.proportions.setdefault(name, Proportion()).add(right, of)

    @property
    def figures(self) -> dict[str, Any]:
        """As plain values, names sorted."""
        told: dict[str, Any] = {"photos": self.photos}
        if self.ious:
            told["mean_iou"] = round(float(np.mean(self.ious)), 4)
        return told | {name: vars(part) | part.summary for name, part in sorted(self.proportions.items())}

    def below(self, bounds: Mapping[str, float]) -> list[str]:
        """A line for each figure that is less than its bound. UsageError where there is no such figure."""
        shares = {name: part.share for name, part in self.proportions.items()}
        shares |= {"mean_iou": float(np.mean(self.ious))} if self.ious else {}
        if unknown := sorted(bounds.keys() - shares.keys()):
            raise UsageError(f"--at-least {unknown[0]}: {did_you_mean(unknown[0], shares)}")
        return [f"{name}: {shares[name]:.3f} is below {low:g}" for name, low in bounds.items() if shares[name] < low]

    def __str__(self) -> str:
        lines = ["| | share | 95 % | of |", "| --- | --: | --: | --: |"]
        if self.ious:
            lines.append(f"| mean_iou | {np.mean(self.ious):.3f} | | {len(self.ious)} |")
        for name, part in sorted(self.proportions.items()):
            low, high = part.interval
            lines.append(f"| {name} | {part.share:.3f} | {low:.3f}-{high:.3f} | {part.of} |")
        return "\n".join(lines)


def evaluate(folder: DataFolder) -> Evaluation:
    """Score a build, write ``evaluation.json`` and the card's section. DataError where its source knows nothing."""
    found = Evaluation()
    rows = Rows(folder)
    folder.require_whole()
    recaptioned = bool(read_json(folder.build)["recipe"].get("recaption"))
    for row in itertools.chain.from_iterable(rows.of(split, COLUMNS) for split in rows.splits):
        found.photos += 1
        if row["known_face"] is not None:
            found.count("face", row["known_face"])
        sidecar = _sidecar(folder, row["id"])
        if sidecar is not None and sidecar.planted:
            score_row(found, row, sidecar, recaptioned=recaptioned)
    if not found.proportions:
        raise DataError(f"{folder.path}: its source knows nothing to measure by: neither who is in a photo nor a face")
    write_json(folder.evaluation, found.figures)
    _into_card(folder, found)
    return found


def score_row(found: Evaluation, row: Row, sidecar: Sidecar, *, recaptioned: bool) -> None:
    """Add what one photo of the world shows; ``recaptioned``: its caption is a captioner's, not the world's own."""
    people = [(person, mask) for person in sidecar.people if (mask := decode_mask(person.mask)).any()]
    segments = [s for s in row["segments"] if s["label"] in PERSON_WORDS]
    masks = [decode_mask(segment["rle"]) for segment in segments]
    owners = owners_of(masks, [mask for _, mask in people])
    _score_masks(found, masks, [mask for _, mask in people], owners)
    phrases = [number for number, phrase in enumerate(row["noun_phrases"]) if phrase["root"] in PERSON_WORDS]
    stated = [traits_in(text) for text in told_of_each(row, phrases)]
    fits = [[_agreement(one, person) for person, _ in people] for one in stated]
    best = _best(fits)
    _score_caption(found, stated, [person for person, _ in people], best, recaptioned)
    _score_matches(found, row, _Case(segments, owners, phrases, fits, best))


@dataclass(frozen=True)
class _Case:
    """One photo's matching: ``best`` holds every best way to give phrases (rows of ``fits``) to people (columns)."""

    segments: Sequence[Mapping[str, Any]]
    owners: Sequence[int | None]
    phrases: Sequence[int]
    fits: Sequence[Sequence[int]]
    best: Sequence[frozenset[tuple[int, int]]]


def told_of_each(row: Row, phrases: Sequence[int]) -> list[str]:
    """What the caption says of each person: from their phrase to the next person's."""
    spans = [(row["noun_phrases"][number]["start"], row["noun_phrases"][number]["end"]) for number in phrases]
    ends = [start for start, _ in spans[1:]] + [len(row["caption"])]
    texts = [row["caption"][start:end] for (start, _), end in zip(spans, ends, strict=True)]
    return [re.sub(r"(,| and)?\s*$", "", text) for text in texts]


def _score_masks(
    found: Evaluation, masks: Sequence[Mask], people: Sequence[Mask], owners: Sequence[int | None]
) -> None:
    for number, person in enumerate(people):
        own = [iou(mask, person) for mask, owner in zip(masks, owners, strict=True) if owner == number]
        found.ious.append(own[0] if own else 0.0)
    if len(people) == 2:
        found.count("apart", {0, 1} <= set(owners))


def _score_caption(
    found: Evaluation,
    stated: Sequence[Mapping[str, str]],
    people: Sequence[Planted],
    best: Sequence[frozenset[tuple[int, int]]],
    recaptioned: bool,
) -> None:
    given = dict(best[0]) if best else {}
    for number, traits in enumerate(stated if recaptioned else ()):  # the world's own captions are true
        person = people[given[number]] if number in given else None
        for kind, value in traits.items():
            if kind != "noun":
                found.count("stated_true", person is not None and person.traits.get(kind) == value)
                found.count(f"stated_true_{kind}", person is not None and person.traits.get(kind) == value)
    named = {person for number, person in given.items() if stated[number].get("noun") == people[person].noun}
    found.count("named", len(named), len(people))


def _score_matches(found: Evaluation, row: Row, case: _Case) -> None:
    many = {1: "one", 2: "two"}.get(len(case.phrases), "three")
    flagged = "ambiguous" in row["flags"]
    place = {number: k for k, number in enumerate(case.phrases)}
    in_order = assign({(s["id"], k): 1.0 for s in case.segments for k in range(len(case.phrases))})
    recalled = set()
    for segment, owner in zip(case.segments, case.owners, strict=True):
        if segment["phrase_index"] not in place:
            continue
        pair = (place[segment["phrase_index"]], owner)
        always, ever = (test(pair in way for way in case.best) for test in (all, any))
        found.count("decided", always or not ever)
        if ever and not always:
            continue
        found.count(f"right_{many}", always)
        if not flagged:
            found.count(f"right_{many}_unflagged", always)
        ordered = (in_order.get(segment["id"]), owner)
        found.count(f"right_in_order_{many}", all(ordered in way for way in case.best))
        found.count(f"right_at_random_{many}", (owner is not None) / len(case.phrases))
        if always:
            recalled.add(owner)
    if len(case.best) == 1:
        found.count("recalled", len(recalled), len(case.best[0]))


def _agreement(stated: Mapping[str, str], person: Planted) -> int:
    """How many of the stated traits are true of somebody, less those that are not; the noun counts three times."""
    weights = {"noun": 3}
    return sum((1 if person.traits.get(kind) == value else -1) * weights.get(kind, 1) for kind, value in stated.items())


def _best(fits: Sequence[Sequence[int]]) -> list[frozenset[tuple[int, int]]]:
    """Every best one-to-one way to give phrases to people; none where there is either nobody or no phrase."""
    if not fits or not fits[0]:
        return []
    phrases, people = len(fits), len(fits[0])
    ways: Iterator[frozenset[tuple[int, int]]]
    if phrases <= people:
        ways = (frozenset(enumerate(chosen)) for chosen in itertools.permutations(range(people), phrases))
    else:
        ways = (
            frozenset((phrase, person) for person, phrase in enumerate(chosen))
            for chosen in itertools.permutations(range(phrases), people)
        )
    scored = [(sum(fits[phrase][person] for phrase, person in way), way) for way in ways]
    top = max(score for score, _ in scored)
    return [way for score, way in scored if score == top]


def _sidecar(folder: DataFolder, photo_id: str) -> Sidecar | None:
    try:
        return Sidecar.model_validate_json(folder.sidecar(photo_id).read_bytes())
    except (OSError, ValidationError):
        return None


def _into_card(folder: DataFolder, found: Evaluation) -> None:
    """Write the figures as the card's last section, in place of an earlier one."""
    try:
        text = folder.card.read_text(encoding="utf-8")
    except OSError:
        return
    kept = text.partition(f"\n{SECTION}\n")[0].rstrip("\n")
    told = f"Of {found.photos} photos, by `fcbench data evaluate`; what each line means is said in its source."
    write_text(folder.card, f"{kept}\n\n{SECTION}\n\n{told}\n\n{found}\n")
