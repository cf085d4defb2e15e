"""The leaderboard as a LaTeX table for a paper; needs the booktabs package."""

from __future__ import annotations

from collections.abc import Sequence

from fcbench.report.columns import COLUMNS, Column
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
    span = len(COLUMNS)
    lines = [
        "% Needs \\usepackage{booktabs}.",
        r"\begin{table*}",
        r"\centering\small",
        rf"\caption{{Suite {escape(suite)}. Intervals: 95\,\%, clustered on subjects.}}",
        rf"\begin{{tabular}}{{{''.join(map(_alignment, COLUMNS))}}}",
        r"\toprule",
        _line([column.heading for column in COLUMNS]),
    ]
    for ranking in rankings:
        lines += [r"\midrule", rf"\multicolumn{{{span}}}{{l}}{{\emph{{{escape(ranking.title)}}}}} \\"]
        lines += [_line([column.cell(row) for column in COLUMNS]) for row in ranking.rows]
    return "\n".join([*lines, r"\bottomrule", r"\end{tabular}", r"\end{table*}"]) + "\n"


def escape(text: str) -> str:
    """Text as LaTeX prints it, character by character, on one line."""
    return "".join(SPECIAL.get(character, character) for character in " ".join(text.split()))


def _alignment(column: Column) -> str:
    return "l" if column.is_text else "r"


def _line(cells: Sequence[str]) -> str:
    return " & ".join(map(escape, cells)) + r" \\"
