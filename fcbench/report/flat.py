"""A row as one flat line of named figures: the columns of the CSV, and what ``leaderboard`` returns."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from fcbench.report.statistics import Estimate
from fcbench.report.table import NOTHING, Row

LEADING = ("identity", "prompt")
"""Scores that every row has a place for, filled or not."""


def flat(row: Row) -> dict[str, Any]:
    """Column -> figure, numbers in full, None where there is none."""
    further = sorted(set(row.scores) - set(LEADING))
    return {
        "method": row.method,
        "suite": row.suite,
        "images_per_subject": row.images_per_subject,
        "subjects": row.subjects,
        "generations": row.generations,
        "failures": row.failures,
        **{key: value for name in LEADING for key, value in _score(name, row.scores.get(name, NOTHING)).items()},
        "faces_found": row.faces_found,
        **asdict(row.costs),
        "device": row.device,
        "stack": row.stack,
        "cases": row.cases,
        "status": row.status,
        "role": row.role,
        "needs_tuning": row.needs_tuning,
        "rank_best": row.rank_best,
        "rank_worst": row.rank_worst,
        "note": row.note,
        **{key: value for name in further for key, value in _score(name, row.scores[name]).items()},
    }


def _score(name: str, estimate: Estimate) -> dict[str, float | int | None]:
    return {
        name: estimate.value,
        f"{name}_low": estimate.low,
        f"{name}_high": estimate.high,
        f"{name}_n": estimate.count,
    }
