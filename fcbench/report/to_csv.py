"""The leaderboard for programs: one row a run, numbers in full, nothing where there is nothing."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import astuple, fields

from fcbench.report.numbers import plain
from fcbench.report.table import Ranking, Row


def to_csv(rankings: Sequence[Ranking]) -> str:
    """RFC 4180 with a header line; rows in the order of the rankings."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow([field.name for field in fields(Row)])
    for ranking in rankings:
        writer.writerows([plain(cell) for cell in astuple(row)] for row in ranking.rows)
    return text.getvalue()
