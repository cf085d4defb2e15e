"""The pictures of the page: a sample of cases that nobody picked by hand, each with every method's picture."""

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
from fcbench.report.runs import Run, group_of
from fcbench.types import Case

CASES = 12
"""How many cases the page shows."""

LARGEST_SIDE = 256
"""Larger pictures are reduced to this many pixels."""


@dataclass(frozen=True)
class Tile:
    """A picture with its caption; ``source`` is a data URL, empty if there is no picture."""

    title: str
    source: str
    identity: str = ""
    prompt: str = ""
    note: str = ""


@dataclass(frozen=True)
class Exhibit:
    """One case: who was asked for, what, and what each method drew."""

    case: str
    text: str
    kind: str
    seed: int
    references: tuple[Tile, ...]
    pictures: tuple[Tile, ...]


def gallery(runs: Sequence[Run], suite: str) -> list[Exhibit]:
    """The exhibits, runs in the order given; equal runs give equal exhibits."""
    known = {case.id: case for run in runs for case in run.cases.values()}
    return [_exhibit(known[case], runs) for case in choose(known, runs, suite)]


def choose(known: dict[str, Case], runs: Sequence[Run], suite: str) -> list[str]:
    """Cases in an order drawn from the suite's name, those that all runs made first, prompts and subjects in turn."""
    order = sorted(known)
    random.Random(suite).shuffle(order)
    made = Counter(case for run in runs for case in run.generations)
    seen: Counter[str | tuple[str, ...]] = Counter()
    chosen: list[str] = []
    while order and len(chosen) < CASES:
        best = min(order, key=lambda case: (-made[case], seen[known[case].prompt.id], seen[group_of(known[case])]))
        order.remove(best)
        chosen.append(best)
        seen.update([known[best].prompt.id, group_of(known[best])])
    return chosen


def _exhibit(case: Case, runs: Sequence[Run]) -> Exhibit:
    references = tuple(_reference(subject.id, subject.reference) for subject in case.subjects)
    pictures = tuple(_picture(case, run) for run in runs)
    return Exhibit(case.id, case.text, case.prompt.kind, case.seed, references, pictures)


def _reference(subject: str, photo: Path) -> Tile:
    # A run may be reported on another machine than it was made on; the leaderboard does not depend on the photo.
    return Tile(subject, data_url(photo)) if photo.exists() else Tile(subject, "", note="photo is not here")


def _picture(case: Case, run: Run) -> Tile:
    if (generation := run.generations.get(case.id)) is None:
        return Tile(run.label, "", note="failed" if case.id in run.failures else "not made")
    scores = {column: run.scores.get(column, {}).get(case.id) for column in ("identity", "prompt")}
    identity, prompt = (quality(score.value) if score is not None else "" for score in scores.values())
    notes = [score.note for score in scores.values() if score is not None and score.note]
    return Tile(run.label, data_url(generation.image), identity, prompt, "; ".join(notes))


def data_url(path: Path) -> str:
    """The picture as a PNG in a data URL, reduced if it is large; DataError if it is broken."""
    from PIL import Image as Pillow

    image = Pillow.fromarray(read_image(path))
    image.thumbnail((LARGEST_SIDE, LARGEST_SIDE))
    buffer = io.BytesIO()
    image.save(buffer, "PNG", optimize=True)
    return f"data:image/png;base64,{base64.b64encode(buffer.getvalue()).decode()}"
