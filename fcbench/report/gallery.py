"""The pictures of the page: cases that nobody picked by hand, each with every method's picture."""

from __future__ import annotations

import base64
import io
import random
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from fcbench.images import read_image
from fcbench.report.numbers import quality
from fcbench.report.outcomes import FAILED, OUTCOMES
from fcbench.report.runs import Run, group_of
from fcbench.types import Case

PICTURES = 500
"""About how many pictures the page shows, references and all."""

LEAST_CASES = 12

LARGEST_SIDE = 192
"""Larger pictures are reduced to this many pixels."""

NO_PICTURE, NO_FACE = "no picture", "face missing"


@dataclass(frozen=True)
class Tile:
    """A picture with its caption; ``source`` is a data URL, empty if there is no picture."""

    title: str
    source: str
    identity: str = ""
    prompt: str = ""
    note: str = ""
    problems: tuple[str, ...] = ()


@dataclass(frozen=True)
class Exhibit:
    """One case: who was asked for, what, and what each method drew."""

    case: str
    subjects: tuple[str, ...]
    text: str
    kind: str
    seed: int
    references: tuple[Tile, ...]
    pictures: tuple[Tile, ...]
    spread: float
    """How far apart the methods' identities lie."""

    @property
    def problems(self) -> list[str]:
        """What went wrong for any method, each once."""
        return list(dict.fromkeys(problem for tile in self.pictures for problem in tile.problems))


def gallery(runs: Sequence[Run], suite: str) -> list[Exhibit]:
    """The exhibits, runs in the order given; equal runs give equal exhibits."""
    known = {case.id: case for run in runs for case in run.cases.values()}
    return [_exhibit(known[case], runs) for case in choose(known, runs, suite)]


def choose(known: dict[str, Case], runs: Sequence[Run], suite: str) -> list[str]:
    """Cases in an order seeded by the suite's name: one half takes prompts and subjects in turn, one half failures.

    The first half prefers cases that all runs made; the second takes other cases once failures run out.
    """
    order = sorted(known)
    random.Random(suite).shuffle(order)
    shown = len(runs) + max((len(case.subjects) for case in known.values()), default=1)
    wanted = min(len(order), max(LEAST_CASES, PICTURES // shown))
    made = Counter(case for run in runs for case in run.generations)
    seen: Counter[str | tuple[str, ...]] = Counter()
    chosen: list[str] = []
    while len(chosen) < wanted:
        failed = [case for case in order if len(chosen) >= wanted / 2 and any(problems(known[case], r) for r in runs)]
        sign = 1 if failed else -1  # failures without a picture come first
        best = min(
            failed or order,
            key=lambda case: (sign * made[case], seen[known[case].prompt.id], seen[group_of(known[case])]),
        )
        order.remove(best)
        chosen.append(best)
        seen.update([known[best].prompt.id, group_of(known[best])])
    return chosen


def problems(case: Case, run: Run) -> tuple[str, ...]:
    """What went wrong with one method's picture of a case."""
    if case.id not in run.generations:
        return (NO_PICTURE,)
    faces = run.scores.get("faces", {}).get(case.id)
    few = faces is not None and faces.value is not None and faces.value < len(case.subjects)
    judged = {name: run.scores.get(name, {}).get(case.id) for name in FAILED}
    told = [OUTCOMES[name] for name, score in judged.items() if score is not None and score.value == 1]
    return (*([NO_FACE] if few else []), *told)


def _exhibit(case: Case, runs: Sequence[Run]) -> Exhibit:
    references = tuple(_reference(subject.id, subject.reference) for subject in case.subjects)
    values = [run.values("identity")[case.id] for run in runs if case.id in run.values("identity")]
    return Exhibit(
        case.id,
        group_of(case),
        case.text,
        case.prompt.kind,
        case.seed,
        references,
        tuple(_picture(case, run) for run in runs),
        max(values, default=0.0) - min(values, default=0.0),
    )


def _reference(subject: str, photo: Path) -> Tile:
    # A run may be reported on another machine than it was made on; the leaderboard does not depend on the photo.
    return Tile(subject, data_url(photo)) if photo.exists() else Tile(subject, "", note="photo is not here")


def _picture(case: Case, run: Run) -> Tile:
    wrong = problems(case, run)
    if (generation := run.generations.get(case.id)) is None:
        return Tile(run.label, "", note="failed" if case.id in run.failures else "not made", problems=wrong)
    scores = {column: run.scores.get(column, {}).get(case.id) for column in ("identity", "prompt")}
    identity, prompt = (quality(score.value) if score is not None else "" for score in scores.values())
    notes = dict.fromkeys(score.note for score in scores.values() if score is not None and score.note)
    told = "; ".join([*notes, *(problem for problem in wrong if problem != NO_FACE or not notes)])
    return Tile(run.label, data_url(generation.image), identity, prompt, told, wrong)


def data_url(path: Path) -> str:
    """The picture as WebP in a data URL, reduced if it is large; DataError if it is broken."""
    from PIL import Image as Pillow

    image = Pillow.fromarray(read_image(path))
    image.thumbnail((LARGEST_SIDE, LARGEST_SIDE))
    buffer = io.BytesIO()
    image.save(buffer, "WEBP", quality=84)
    return f"data:image/webp;base64,{base64.b64encode(buffer.getvalue()).decode()}"
