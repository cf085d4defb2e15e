"""The leaderboard as LaTeX tables for a paper; needs the booktabs package."""

from __future__ import annotations

from collections.abc import Sequence

from fcbench.report.columns import Column, Kind, columns
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


CAPTIONS: dict[Kind, str] = {
    "quality": "quality. Intervals: 95 %, over subjects and prompts. Rank \N{EN DASH}: incomplete, sweep or yardstick.",
    "cost": "cost. Total: one fit and one picture drawn alone; sample: a picture's share of a batch.",
}


def to_tex(rankings: Sequence[Ranking], suite: str) -> str:
    """Two ``table*``, quality and cost, that fit a page, each with a block of rows per ranking and the rows' notes."""
    tables = [_table(rankings, suite, kind) for kind in CAPTIONS]
    return "\n\n".join(["% Needs \\usepackage{booktabs}.", *tables]) + "\n"


def _table(rankings: Sequence[Ranking], suite: str, kind: Kind) -> str:
    rows = [row for ranking in rankings for row in ranking.rows]
    shown = [column for column in columns(rows) if column.kind in ("row", kind)]
    lines = [
        r"\begin{table*}",
        r"\centering\footnotesize\setlength{\tabcolsep}{4pt}",
        rf"\caption{{Suite {escape(suite)}: {escape(CAPTIONS[kind])}}}",
        rf"\begin{{tabular}}{{{''.join(map(_alignment, shown))}}}",
        r"\toprule",
        " & ".join(_heading(column.heading) for column in shown) + r" \\",
    ]
    for ranking in rankings:
        lines += [r"\midrule", rf"\multicolumn{{{len(shown)}}}{{l}}{{\emph{{{escape(ranking.title)}}}}} \\"]
        for block in (ranking.of("method"), [*ranking.of("sweep"), *ranking.of("sanity")]):
            lines += [r"\addlinespace"] if block else []
            lines += [_line([column.cell(row) for column in shown]) for row in block]
    notes = [rf"\par {escape(row.method)}: {escape(row.note)}" for row in rows if row.note]
    under = [r"\par\smallskip\raggedright", *notes] if notes else []
    return "\n".join([*lines, r"\bottomrule", r"\end{tabular}", *under, r"\end{table*}"])


def _heading(text: str) -> str:
    """A heading, on two lines from three words on: cells are narrower."""
    first, space, last = text.rpartition(" ") if text.count(" ") > 1 else ("", "", text)
    return rf"\shortstack{{{escape(first)}\\{escape(last)}}}" if space else escape(last)


def escape(text: str) -> str:
    """Text as LaTeX prints it, character by character, on one line."""
    return "".join(SPECIAL.get(character, character) for character in " ".join(text.split()))


def _alignment(column: Column) -> str:
    return "l" if column.is_text else "r"


def _line(cells: Sequence[str]) -> str:
    """A row, after empty braces if LaTeX would read its start as an argument of the row end above."""
    line = " & ".join(map(escape, cells)) + r" \\"
    return f"{{}}{line}" if line.startswith(("[", "*")) else line
