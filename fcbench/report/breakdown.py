"""Scores apart by kind of prompt, by group of people, by person: where a mean hides a difference."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean

from fcbench.report.runs import Run
from fcbench.report.statistics import Estimate
from fcbench.report.table import COMPARED, estimate
from fcbench.types import Case

TITLES = {"noun": "class word", "skin": "skin tone"}


@dataclass(frozen=True)
class Part:
    """One kind or group: by score, then by method, the mean over its pictures."""

    name: str
    size: int
    """Prompts of the kind, or people of the group."""
    scores: Mapping[str, Mapping[str, Estimate]]


@dataclass(frozen=True)
class Grouping:
    """The people apart by one property; a pair belongs to the two values of its people together."""

    property: str
    parts: tuple[Part, ...]


def by_kind(runs: Sequence[Run]) -> list[Part]:
    """The paper's categories of prompts; empty where a suite has one only."""
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
        named = {case.id: _together(case, values) for run in runs for case in run.cases.values()}
        names = sorted({name for name in named.values() if name})
        if len(names) > 1:
            parts = [
                Part(name, _people(runs, named, name), _scores(runs, named, name, ("identity",))) for name in names
            ]
            groupings.append(Grouping(TITLES.get(key, key), tuple(parts)))
    return groupings


def by_subject(runs: Sequence[Run]) -> dict[str, dict[str, float]]:
    """Person -> method -> mean identity over the pictures with that person; one person has no interval."""
    people = sorted({s.id for run in runs for case in run.cases.values() for s in case.subjects})
    table: dict[str, dict[str, float]] = {subject: {} for subject in people}
    for run in runs:
        of: dict[str, list[float]] = {}
        for case, value in run.values("identity").items():
            for subject in run.cases[case].subjects:
                of.setdefault(subject.id, []).append(value)
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


def _together(case: Case, values: Mapping[str, str]) -> str:
    return " + ".join(sorted(values.get(subject.id, "not told") for subject in case.subjects))


def _people(runs: Sequence[Run], named: Mapping[str, str], name: str) -> int:
    cases = {case.id: case for run in runs for case in run.cases.values() if named[case.id] == name}
    return len({subject.id for case in cases.values() for subject in case.subjects})
