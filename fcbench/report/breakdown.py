"""Scores split by kind of prompt, by group of people and by person, where a mean hides a difference."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean

from fcbench.report.runs import Run
from fcbench.report.statistics import Estimate, mean
from fcbench.report.table import COMPARED, estimate
from fcbench.world.people import SKIN_WORDS

TITLES = {"noun": "class word", "skin": "skin tone"}
SCALES = {"skin": SKIN_WORDS}
"""Property -> order of its values; others go by name."""


@dataclass(frozen=True)
class Part:
    """One kind or group; ``scores``: score -> method -> mean over its pictures."""

    name: str
    size: int
    """Prompts of the kind, or people of the group."""
    scores: Mapping[str, Mapping[str, Estimate]]


@dataclass(frozen=True)
class Grouping:
    """The people split by one property; several in one picture each count under their own value, by their own face."""

    property: str
    parts: tuple[Part, ...]


def by_kind(runs: Sequence[Run]) -> list[Part]:
    """The paper's categories of prompts; empty where a suite has only one."""
    prompts = {case.prompt for run in runs for case in run.cases.values()}
    names = sorted({prompt.kind for prompt in prompts})
    if len(names) < 2:
        return []
    named = {case.id: case.prompt.kind for run in runs for case in run.cases.values()}
    return [Part(name, sum(p.kind == name for p in prompts), _scores(runs, named, name, COMPARED)) for name in names]


def by_group(runs: Sequence[Run]) -> list[Grouping]:
    """Every property that divides the people."""
    properties = dict.fromkeys(key for run in runs for key in run.subject_groups)
    groupings = []
    for key in properties:
        values = {subject: value for run in runs for subject, value in run.subject_groups.get(key, {}).items()}
        scale = SCALES.get(key, ())
        names = sorted(
            set(values.values()), key=lambda name: (scale.index(name) if name in scale else len(scale), name)
        )
        if len(names) > 1:
            groupings.append(Grouping(TITLES.get(key, key), tuple(_part(runs, values, name) for name in names)))
    return groupings


def _part(runs: Sequence[Run], values: Mapping[str, str], name: str) -> Part:
    people = {subject for subject, value in values.items() if value == name}
    return Part(name, len(people), {"identity": {run.label: own_identity(run, people) for run in runs}})


def own_identity(run: Run, people: Collection[str]) -> Estimate:
    """The mean identity of ``people`` with its interval, each judged by their own face, in shared pictures too."""
    told = [(value, (person,), prompt) for person, prompt, value in _own_faces(run) if person in people]
    values, groups, prompts = [v for v, _, _ in told], [g for _, g, _ in told], [p for _, _, p in told]
    return mean(values, groups, prompts, bounds=run.bounds("identity"))


def everyones_identity(runs: Sequence[Run]) -> dict[str, Estimate]:
    """Method -> mean identity of all people, each by their own face: for pairs, not by the worse of the two."""
    return {run.label: own_identity(run, {s.id for case in run.cases.values() for s in case.subjects}) for run in runs}


def _own_faces(run: Run) -> Iterator[tuple[str, str, float]]:
    """For every person in every picture: their id, the prompt's id, and the identity of their own face."""
    for number, case in run.cases.items():
        for place, subject in enumerate(case.subjects, 1):
            column = f"identity_{place}" if len(case.subjects) > 1 else "identity"
            score = run.scores.get(column, {}).get(number)
            if score is not None and score.value is not None:
                yield subject.id, case.prompt.id, score.value


def by_subject(runs: Sequence[Run]) -> dict[str, dict[str, float]]:
    """Person -> method -> mean identity of their own face over their pictures; one person has no interval."""
    people = sorted({s.id for run in runs for case in run.cases.values() for s in case.subjects})
    table: dict[str, dict[str, float]] = {subject: {} for subject in people}
    for run in runs:
        of: dict[str, list[float]] = {}
        for person, _, value in _own_faces(run):
            of.setdefault(person, []).append(value)
        for person, values in of.items():
            table[person][run.label] = fmean(values)
    return table


def _scores(
    runs: Sequence[Run], named: Mapping[str, str], name: str, columns: Sequence[str]
) -> dict[str, dict[str, Estimate]]:
    return {
        column: {run.label: estimate(run, column, lambda case: named[case] == name) for run in runs}
        for column in columns
        if any(column in run.scores for run in runs)
    }
