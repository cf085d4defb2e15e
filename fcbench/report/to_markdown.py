"""The leaderboard as GitHub-flavoured Markdown."""

from __future__ import annotations

import re
from collections.abc import Sequence

from fcbench.report.columns import COLUMNS
from fcbench.report.numbers import interval, p_value, signed
from fcbench.report.table import Ranking


def to_markdown(rankings: Sequence[Ranking], suite: str) -> str:
    """One section a ranking: the table, notes on its rows, the differences to the baseline."""
    parts = [f"# Leaderboard: {escape(suite)}"]
    for ranking in rankings:
        parts += [f"## {escape(ranking.title)}", _leaderboard(ranking)]
        parts += ["\n".join(f"- {escape(row.method)}: {escape(row.note)}" for row in ranking.rows if row.note)]
        if ranking.comparisons:
            parts += [f"Paired differences to {escape(ranking.baseline)}:", _differences(ranking)]
    return "\n\n".join(part for part in parts if part) + "\n"


def escape(text: str) -> str:
    """Text that Markdown and HTML leave as it is, on one line."""
    plain = text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return re.sub(r"([\\`*_{}\[\]#|~!])", r"\\\1", " ".join(plain.split()))


def _leaderboard(ranking: Ranking) -> str:
    return _table(
        [column.heading for column in COLUMNS],
        [column.is_text for column in COLUMNS],
        [[column.cell(row) for column in COLUMNS] for row in ranking.rows],
    )


def _differences(ranking: Ranking) -> str:
    cells = [
        [c.method, c.column, signed(e.value), interval(e.low, e.high), p_value(c.p), c.difference.test, str(e.count)]
        for c in ranking.comparisons
        for e in [c.difference.estimate]
    ]
    headings = ["method", "score", "difference", "95 % interval", "p (Holm)", "test", "pictures"]
    return _table(headings, [True, True, False, False, False, True, False], cells)


def _table(headings: Sequence[str], is_text: Sequence[bool], rows: Sequence[Sequence[str]]) -> str:
    rule = [":--" if left else "--:" for left in is_text]
    lines = [headings, rule, *([escape(cell) for cell in row] for row in rows)]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)
