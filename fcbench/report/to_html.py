"""The leaderboard as one page that needs nothing but itself: no font, no picture and no script from elsewhere.

Everything can be read without scripts; the one that the page holds sorts tables and filters pictures. It is a file of
ours without a word of the report in it, and the page's policy names its digest: no other script can run.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Mapping, Sequence
from importlib import resources
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from fcbench.report import numbers, views
from fcbench.report.board import Board
from fcbench.report.columns import coverage, further
from fcbench.report.gallery import gallery
from fcbench.report.outcomes import COSINES, calibrations, outcomes
from fcbench.report.plots import Span, bar, legend
from fcbench.report.reading import reading
from fcbench.report.size import PEOPLE
from fcbench.report.statistics import LEAST_CLUSTERS
from fcbench.report.table import COMPARED, NOTHING, Comparison, Ranking

NUMBERS = ("quality", "signed", "interval", "share", "amount", "rank", "p_value")


def to_html(board: Board) -> str:
    """The page; every text in it is escaped."""
    environment = Environment(
        loader=PackageLoader("fcbench.report", ""),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.globals.update({name: getattr(numbers, name) for name in NUMBERS})
    environment.globals.update(bar=bar, legend=legend, coverage=coverage, nothing=NOTHING)
    colours = {run.label: i for i, run in enumerate(board.runs)}
    shown = [run for run in board.runs if run in board.methods or run.is_sanity]
    script = _own("page.js")
    return environment.get_template("leaderboard.html.j2").render(
        board=board,
        people=PEOPLE[board.size],
        style=_own("page.css"),
        script=script,
        script_digest=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
        facts=views.facts(board),
        earlier_reach=_reach(board.against.comparisons if board.against else ()),
        findings=[(r.title if len(board.rankings) > 1 else "", views.finding(r)) for r in board.rankings],
        sections=[_section(board, ranking, colours) for ranking in board.rankings],
        limits=views.limits([row for ranking in board.rankings for row in ranking.rows]),
        group_limits=views.span(
            [e for grouping in board.groupings for part in grouping.parts for e in part.scores["identity"].values()]
        ),
        colours=colours,
        curves=[(frontier, views.frontier_plot(frontier)) for frontier in board.frontiers],
        heat=_heat(board),
        gallery=gallery(shown, board.suite),
        failures=[(run.label, case, reason) for run in board.runs for case, reason in run.failures.items()],
        provenance=[(run.label, _flat(run.config)) for run in board.runs],
        judges={
            name: _flat(next(run.headers[name] for run in board.runs if name in run.headers))
            for name in dict.fromkeys(name for run in board.runs for name in run.headers)
        },
        least=LEAST_CLUSTERS,
        reading=reading(board.rankings),
    )


def _own(name: str) -> Markup:
    """A file of this package, put into the page as it is."""
    return Markup(resources.files("fcbench.report").joinpath(name).read_text(encoding="utf-8"))


def _section(board: Board, ranking: Ranking, colours: Mapping[str, int]) -> dict[str, Any]:
    """A ranking with the drawings that go with it, and the scale of its differences."""
    labels = {row.method for row in ranking.of("method")}
    subjects = {subject: {m: v for m, v in of.items() if m in labels} for subject, of in board.subjects.items()}
    return {
        "ranking": ranking,
        "place": board.rankings.index(ranking),
        "attributes": any("attributes" in row.scores for row in ranking.rows),
        "outcomes": outcomes(ranking.rows, board.size),
        "calibrations": calibrations(ranking.rows, board.thresholds),
        "further": further(ranking.rows),
        "cosines": {name: (COSINES[name], ends) for name, ends in views.limits(ranking.rows, (*COSINES,)).items()},
        "reach": _reach(ranking.comparisons),
        "plots": views.plots(ranking, subjects, board.everyone, colours),
    }


def _reach(comparisons: Sequence[Comparison]) -> dict[str, Span]:
    found = {column: [c.difference.estimate for c in comparisons if c.column == column] for column in COMPARED}
    return {column: views.reach(estimates) for column, estimates in found.items()}


def _heat(board: Board) -> dict[str, dict[str, tuple[float, int]]]:
    """Person -> method -> mean identity, and its step on a scale of ten from the least to the largest."""
    values = [value for of in board.subjects.values() for value in of.values()]
    low, high = min(values, default=0.0), max(values, default=1.0)
    span = max(high - low, 1e-9)
    return {
        subject: {method: (value, min(9, int(10 * (value - low) / span))) for method, value in of.items()}
        for subject, of in board.subjects.items()
    }


def _flat(value: Any, prefix: str = "") -> list[tuple[str, str]]:
    """A nested mapping as lines: ``versions.torch``, ``2.4``."""
    if isinstance(value, Mapping):
        start = f"{prefix}." if prefix else ""
        return [line for key, inner in value.items() for line in _flat(inner, f"{start}{key}")]
    return [(prefix, value if isinstance(value, str) else json.dumps(value))]
