"""The leaderboard for programs: one row per run, six significant digits, empty where there is nothing."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence

from fcbench.report.flat import flat
from fcbench.report.numbers import plain
from fcbench.report.table import Ranking


def to_csv(rankings: Sequence[Ranking]) -> str:
    """RFC 4180 with a header line; rows in the order of the rankings."""
    rows = [flat(row) for ranking in rankings for row in ranking.rows]
    columns = list(dict.fromkeys(column for row in rows for column in row))
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows([plain(row.get(column)) for column in columns] for row in rows)
    return text.getvalue()
