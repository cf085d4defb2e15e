"""The report for programs, in full: rows, differences, ranks, breakdowns, frontiers, claims and commands."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Any

from fcbench.report.board import Board
from fcbench.report.flat import flat
from fcbench.report.table import Ranking


def to_json(board: Board) -> str:
    """Keys as the page's sections name them; numbers in full, null where there is none."""
    value = {
        "suite": board.suite,
        "command": board.command,
        "commands": board.commands,
        "rankings": [_ranking(ranking) for ranking in board.rankings],
        "kinds": [asdict(part) for part in board.kinds],
        "groups": [asdict(grouping) for grouping in board.groupings],
        "subjects": board.subjects,
        "thresholds": board.thresholds,
        "frontiers": [asdict(frontier) for frontier in board.frontiers],
        "published": [asdict(line) for line in board.lines],
        "against": None if board.against is None else asdict(board.against),
        "claims": [asdict(claim) for claim in board.claims],
    }
    return json.dumps(value, indent=1, allow_nan=False, ensure_ascii=False) + "\n"


def _ranking(ranking: Ranking) -> dict[str, Any]:
    return {
        "title": ranking.title,
        "rows": [flat(row) for row in ranking.rows],
        "baseline": ranking.baseline,
        "differences": [asdict(comparison) for comparison in ranking.comparisons],
        "duels": [
            {"first": first, "second": second, "difference": asdict(result), "p": p}
            for (first, second), (result, p) in ranking.duels.items()
        ],
    }
