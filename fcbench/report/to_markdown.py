"""The leaderboard as GitHub-flavoured Markdown."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

from fcbench.report.board import Board
from fcbench.report.columns import columns, further
from fcbench.report.numbers import interval, p_value, quality, share, signed
from fcbench.report.outcomes import COSINES, calibrations, outcomes
from fcbench.report.reading import reading
from fcbench.report.size import Size
from fcbench.report.statistics import Estimate
from fcbench.report.table import NOTHING, Comparison, Ranking, Row


def to_markdown(board: Board) -> str:
    """The tables, outcomes for groups, differences to the baseline, the paper's claims, and how to read it all."""
    parts = [f"# Leaderboard: {escape(board.suite)}"]
    for ranking in board.rankings:
        parts += [f"## {escape(ranking.title)}"]
        if methods := ranking.of("method"):
            parts += [_leaderboard(ranking, methods)]
        if unranked := [*ranking.of("sweep"), *ranking.of("sanity")]:
            parts += ["Sweeps of alpha and yardsticks, not ranked:", _leaderboard(ranking, unranked)]
        parts += ["\n".join(f"- {escape(row.method)}: {escape(row.note)}" for row in ranking.rows if row.note)]
        if judged := _outcomes(ranking, board.size):
            parts += ["Outcomes:", judged, *map(escape, calibrations(ranking.rows, board.thresholds))]
        parts += [_further(ranking.rows)]
        if ranking.comparisons:
            parts += [f"Paired differences to {escape(ranking.baseline)}:", _differences(ranking.comparisons)]
    if board.against is not None:
        parts += ["## Against earlier pictures", escape(board.against.reading), _earlier(board.against.comparisons)]
    claims = [[claim.text, claim.verdict, claim.numbers] for claim in board.claims]
    parts += ["## The paper's claims", _table(["claim", "here", "numbers"], [True] * 3, claims)]
    parts += ["## How to read the figures"]
    parts += ["\n".join(f"- **{term}** {escape(words)}" for term, words in reading(board.rankings).items())]
    parts += [f"Made by: {escape(board.command)}"]
    return "\n\n".join(part for part in parts if part) + "\n"


def escape(text: str) -> str:
    """Text that Markdown and HTML leave as it is, on one line."""
    plain = text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return re.sub(r"([\\`*_{}\[\]#|~!])", r"\\\1", " ".join(plain.split()))


def _leaderboard(ranking: Ranking, rows: Sequence[Row]) -> str:
    shown = columns([*ranking.rows])
    return _table(
        [column.heading for column in shown],
        [column.is_text for column in shown],
        [[column.cell(row) for column in shown] for row in rows],
    )


def _outcomes(ranking: Ranking, size: Size) -> str:
    """Shares of pictures of several people, where they were judged, and the cosines beside them."""
    judged = outcomes(ranking.rows, size)
    cosines = {name: heading for name, heading in COSINES.items() if any(name in row.scores for row in ranking.rows)}
    rows = []
    for row in ranking.rows:
        found = [row.scores[name] for name in judged if name in row.scores]
        if len(found) == len(judged):
            beside = [_spanned(row.scores.get(name, NOTHING), quality) for name in cosines]
            rows.append([row.method, *(_scored(e, share) for e in found), *beside])
    headings = ["method", *judged.values(), *cosines.values()]
    return _table(headings, [True, *[False] * (len(headings) - 1)], rows) if judged else ""


def _further(rows: Sequence[Row]) -> str:
    """Scores that were asked for by name."""
    asked = further(rows)
    cells = [[row.method, *(_scored(row.scores.get(score, NOTHING), quality) for score in asked)] for row in rows]
    return _table(["method", *map(escape, asked.values())], [True, *[False] * len(asked)], cells) if asked else ""


def _scored(estimate: Estimate, told: Callable[[float | None], str]) -> str:
    return f"{_spanned(estimate, told)} of {estimate.count}"


def _spanned(estimate: Estimate, told: Callable[[float | None], str]) -> str:
    """A mean with its interval, where it has one."""
    ends = "" if estimate.low is None else " " + interval(estimate.low, estimate.high, told)
    return told(estimate.value) + ends


def _differences(comparisons: Sequence[Comparison]) -> str:
    headings = ["method", "score", "difference", "95 % interval", "p (Holm)", "pictures"]
    return _table(headings, [True, True, False, False, False, False], [[c.method, *_told(c)] for c in comparisons])


def _earlier(comparisons: Sequence[Comparison]) -> str:
    headings = ["method here", "earlier", "score", "difference", "95 % interval", "p (Holm)", "pictures"]
    cells = [[c.method, c.other, *_told(c)] for c in comparisons]
    return _table(headings, [True, True, True, False, False, False, False], cells)


def _told(comparison: Comparison) -> list[str]:
    e = comparison.difference.estimate
    p = p_value(comparison.p) + (" ‡" if comparison.is_split else "")
    return [comparison.column, signed(e.value), interval(e.low, e.high), p, str(e.count)]


def _table(headings: Sequence[str], is_text: Sequence[bool], rows: Sequence[Sequence[str]]) -> str:
    rule = [":--" if left else "--:" for left in is_text]
    lines = [headings, rule, *([escape(cell) for cell in row] for row in rows)]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)
