"""The leaderboard as one page that needs nothing but itself: no script, no font, no picture from elsewhere."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from fcbench.report import numbers
from fcbench.report.columns import coverage
from fcbench.report.gallery import gallery
from fcbench.report.plots import Axis, Point, Span, bar, linear_axis, log_axis, scatter
from fcbench.report.runs import METRICS, Run
from fcbench.report.statistics import LEAST_SUBJECTS, Estimate
from fcbench.report.table import Ranking, Row, estimate

AXES = {"identity": "identity (cosine of faces)", "prompt": "prompt (CLIP cosine)"}

COLOURS = 8
"""How many colours the style sheet has; methods beyond share them."""


@dataclass(frozen=True)
class Kind:
    """One kind of prompt: each metric's mean by method, as text."""

    name: str
    prompts: int
    means: Mapping[str, tuple[str, ...]]


def to_html(runs: Sequence[Run], rankings: Sequence[Ranking], suite: str) -> str:
    """The page; every text in it is escaped."""
    environment = Environment(
        loader=PackageLoader("fcbench.report", ""),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.globals.update({name: getattr(numbers, name) for name in NUMBERS}, bar=bar, coverage=coverage, zip=zip)
    by_label = {run.label: run for run in runs}
    ordered = [by_label[row.method] for ranking in rankings for row in ranking.rows]
    colours = {run.label: i % COLOURS for i, run in enumerate(ordered)}
    return environment.get_template("leaderboard.html.j2").render(
        suite=suite,
        facts=_facts(ordered),
        findings=[("" if len(rankings) == 1 else ranking.title, _finding(ranking)) for ranking in rankings],
        sections=[_section(ranking, colours) for ranking in rankings],
        limits=_limits([row for ranking in rankings for row in ranking.rows]),
        colours=colours,
        kinds=_kinds(ordered),
        methods=[run.label for run in ordered],
        gallery=gallery(ordered, suite),
        failures=[(run.label, case, reason) for run in ordered for case, reason in run.failures.items()],
        provenance=[(run.label, _flat(run.config)) for run in ordered],
        judges=_flat(next((run.headers["identity"] for run in ordered if "identity" in run.headers), {})),
        least_subjects=LEAST_SUBJECTS,
    )


NUMBERS = ("quality", "signed", "interval", "share", "amount", "rank", "p_value")


def _facts(runs: Sequence[Run]) -> list[tuple[str, str]]:
    """What the suite is made of, told from its cases."""
    cases = {case.id: case for run in runs for case in run.cases.values()}
    groups = {tuple(s.id for s in case.subjects) for case in cases.values()}
    subjects = {subject for group in groups for subject in group}
    counts = [
        ("method", len(runs)),
        ("subject", len(subjects)),
        *([("pair", len(groups))] if any(len(group) > 1 for group in groups) else []),
        ("prompt", len({case.prompt.id for case in cases.values()})),
        ("seed", len({case.seed for case in cases.values()})),
    ]
    facts = [(noun if count == 1 else f"{noun}s", str(count)) for noun, count in counts]
    return [*facts, ("pictures a method", str(max(run.expected for run in runs)))]


def _finding(ranking: Ranking) -> str:
    """The result in a sentence, no more sure than the figures are."""
    ranked = [row for row in ranking.rows if row.rank_best is not None]
    if not ranked:
        return "No complete run with scores yet: nothing is ranked."
    first = [row.method for row in ranked if row.rank_best == 1]
    best = ranked[0]
    figure = f"{numbers.quality(best.identity)} {numbers.interval(best.identity_low, best.identity_high)}"
    if best.identity_low is None:
        figure = f"{numbers.quality(best.identity)}, no interval below {LEAST_SUBJECTS} subjects"
    if len(ranked) == 1:
        return f"{best.method} is the only complete run: identity {figure}."
    if len(first) == 1:
        return f"{best.method} keeps identity best: {figure}, told apart from every other method."
    others = ", ".join(method for method in first if method != best.method)
    return f"{best.method} has the highest identity, {figure}, but cannot be told apart from {others}."


def _section(ranking: Ranking, colours: Mapping[str, int]) -> dict[str, Any]:
    """A ranking with the drawings that go with it, and the scale of its differences."""
    estimates = {
        column: [c.difference.estimate for c in ranking.comparisons if c.column == column] for column in METRICS
    }
    reach = {column: _reach(found) for column, found in estimates.items()}
    return {"ranking": ranking, "reach": reach, "plots": _plots(ranking.rows, colours)}


def _reach(estimates: Sequence[Estimate]) -> Span:
    """As far to both sides of 0 as any interval goes."""
    ends = [abs(end) for e in estimates for end in (e.value, e.low, e.high) if end is not None]
    reach = max(ends, default=0.0) or 1.0
    return -reach, reach


def _limits(rows: Sequence[Row]) -> dict[str, Span]:
    """What the bars of each score span: from the least to the largest of its means and intervals."""
    limits = {}
    for column in METRICS:
        judged = [row for row in rows if getattr(row, column) is not None]
        if ends := _ends(judged, column):
            limits[column] = (min(ends), max(max(ends), min(ends) + 0.01))
    return limits


def _ends(rows: Sequence[Row], column: str) -> list[float]:
    """The means of judged rows and the ends of their intervals."""
    return [end for row in rows for end in (getattr(row, column), *(_interval(row, column) or ()))]


def _plots(rows: Sequence[Row], colours: Mapping[str, int]) -> list[tuple[str, Markup]]:
    """Identity against prompt consistency, and against time."""
    judged = [row for row in rows if row.identity is not None and row.prompt is not None]
    if len(judged) < 2:
        return []
    identity = _axis("identity", judged)
    points = [_point(row, colours, row.prompt, _interval(row, "prompt")) for row in judged]
    plots = [("Identity and prompt", scatter(points, _axis("prompt", judged), identity, "identity against prompt"))]
    timed = [row for row in judged if row.total_seconds]
    if timed:
        seconds = log_axis("total seconds for a first picture", [row.total_seconds or 0.0 for row in timed])
        points = [_point(row, colours, row.total_seconds, None) for row in timed]
        plots.append(("Identity and time", scatter(points, seconds, identity, "identity against seconds")))
    return plots


def _axis(column: str, rows: Sequence[Row]) -> Axis:
    return linear_axis(AXES[column], _ends(rows, column))


def _point(row: Row, colours: Mapping[str, int], x: float | None, x_interval: Span | None) -> Point:
    return Point(row.method, colours[row.method], x or 0.0, row.identity or 0.0, x_interval, _interval(row, "identity"))


def _interval(row: Row, column: str) -> Span | None:
    low, high = getattr(row, f"{column}_low"), getattr(row, f"{column}_high")
    return None if low is None else (low, high)


def _kinds(runs: Sequence[Run]) -> list[Kind]:
    """Means by kind of prompt, where the suite has several kinds."""
    prompts = {case.prompt for run in runs for case in run.cases.values()}
    names = sorted({prompt.kind for prompt in prompts})
    if len(names) < 2 or not any(run.scores for run in runs):
        return []

    def text(run: Run, column: str, kind: str) -> str:
        return numbers.quality(estimate(run, column, lambda case: run.cases[case].prompt.kind == kind).value)

    return [
        Kind(
            kind,
            sum(prompt.kind == kind for prompt in prompts),
            {run.label: tuple(text(run, column, kind) for column in METRICS) for run in runs},
        )
        for kind in names
    ]


def _flat(value: Any, prefix: str = "") -> list[tuple[str, str]]:
    """A nested mapping as lines: ``versions.torch``, ``2.4``."""
    if isinstance(value, Mapping):
        start = f"{prefix}." if prefix else ""
        return [line for key, inner in value.items() for line in _flat(inner, f"{start}{key}")]
    return [(prefix, value if isinstance(value, str) else json.dumps(value))]
