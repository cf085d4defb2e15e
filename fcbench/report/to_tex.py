"""The leaderboard as a LaTeX table for a paper; needs the booktabs package."""

from __future__ import annotations

from collections.abc import Sequence

from fcbench.report.columns import Column, columns
from fcbench.report.table import Ranking

SPECIAL = {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "\N{EN DASH}": "--",
    "\N{MINUS SIGN}": r"\ensuremath{-}",
    **{character: f"\\{character}" for character in "&%$#_{}"},
}


def to_tex(rankings: Sequence[Ranking], suite: str) -> str:
    """A ``table*`` with one block of rows a ranking."""
    shown = columns([row for ranking in rankings for row in ranking.rows])
    lines = [
        "% Needs \\usepackage{booktabs}.",
        r"\begin{table*}",
        r"\centering\small",
        rf"\caption{{Suite {escape(suite)}. Intervals: 95\,\%, over subjects and prompts.}}",
        rf"\begin{{tabular}}{{{''.join(map(_alignment, shown))}}}",
        r"\toprule",
        _line([column.heading for column in shown]),
    ]
    for ranking in rankings:
        lines += [r"\midrule", rf"\multicolumn{{{len(shown)}}}{{l}}{{\emph{{{escape(ranking.title)}}}}} \\"]
        lines += [_line([column.cell(row) for column in shown]) for row in ranking.rows]
    return "\n".join([*lines, r"\bottomrule", r"\end{tabular}", r"\end{table*}"]) + "\n"


def escape(text: str) -> str:
    """Text as LaTeX prints it, character by character, on one line."""
    return "".join(SPECIAL.get(character, character) for character in " ".join(text.split()))


def _alignment(column: Column) -> str:
    return "l" if column.is_text else "r"


def _line(cells: Sequence[str]) -> str:
    return " & ".join(map(escape, cells)) + r" \\"
