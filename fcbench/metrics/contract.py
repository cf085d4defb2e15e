"""What every metric must keep to; its rows are checked before they are written, and by :mod:`fcbench.testing`."""

from __future__ import annotations

from collections.abc import Iterable, Sequence, Set
from math import inf, isfinite
from numbers import Real
from typing import Any

from fcbench.types import Metric, Score

FIXED_COLUMNS = frozenset([
    "method", "suite", "role", "status", "note", "notes", "device", "stack", "cases", "case", "subjects", "nouns",
    "prompt_id", "prompt_kind", "text", "seed", "failure", "failures", "generations", "images_per_subject",
    "faces_found", "needs_tuning", "rank_best", "rank_worst", "memory_kind", "prior_seconds", "fit_seconds",
    "sample_seconds", "single_seconds", "single_low", "single_high", "total_seconds", "load_seconds",
    "warm_up_seconds", "peak_gib", "reserved_gib", "device_gib", "prior_peak_gib", "fit_peak_gib",
    "sample_peak_gib", "stored_mib_per_subject", "low_memory",
])  # fmt: skip
"""Names of reports' columns that are not scores."""

ROUNDING = 1e-6
"""How far beyond its range a score may lie: a cosine's last bits."""


class ContractError(ValueError):
    """What is wrong with a metric's rows, to be read after the metric's name."""


def checked_rows(metric: Metric, cases: Sequence[str], rows: Any) -> list[dict[str, Score]]:
    """The rows of a metric for these cases, their values as Python's own numbers.

    There must be one per case, with a Score for ``metric.name``; a value is a finite number in its column's range, or
    None with a note. ContractError says what is wrong, and for which case.
    """
    if not isinstance(rows, Sequence):
        raise ContractError(f"gave {_kind(rows)} for a list of rows")
    if len(rows) != len(cases):
        raise ContractError(f"gave {len(rows)} rows for {len(cases)} generations")
    checked = [_checked_row(metric, case, row) for case, row in zip(cases, rows, strict=True)]
    _check_names({column for row in checked for column in row})
    return checked


def printed(columns: Iterable[str]) -> set[str]:
    """Reports' columns for these scores: the mean, its interval's ends and the number of pictures of each."""
    return {column + suffix for column in columns for suffix in ("", "_low", "_high", "_n")}


def _checked_row(metric: Metric, case: str, row: Any) -> dict[str, Score]:
    if not isinstance(row, dict):
        raise ContractError(f"gave {_kind(row)} for {case}, not a Score by column")
    if metric.name not in row:
        raise ContractError(f"gave no column {metric.name!r} for {case}")
    ranges = {metric.name: metric.range, **getattr(metric, "ranges", {})}
    return {column: _checked(column, case, score, *ranges.get(column, (-inf, inf))) for column, score in row.items()}


def _checked(column: str, case: str, score: Any, low: float, high: float) -> Score:
    if not isinstance(score, Score):
        raise ContractError(f"gave {_kind(score)} as {column} of {case}: put it into a Score")
    value: Any = score.value
    if value is None:
        if not score.note:
            raise ContractError(f"gave no {column} for {case}, and no note that says why")
        return score
    if isinstance(value, bool) or not isinstance(value, Real):
        raise ContractError(f"gave {value!r} as {column} of {case}, which is no number")
    if not isfinite(value):
        raise ContractError(f"gave {value} as {column} of {case}: use None with a note")
    number = float(value)
    if not low - ROUNDING <= number <= high + ROUNDING:
        raise ContractError(f"gave {value} as {column} of {case}, which it says lies in [{low:g}, {high:g}]")
    return Score(number, score.note)


def _check_names(columns: Set[str]) -> None:
    """Refuse a column that would be printed under the name of another of the metric's, or of every table's."""
    for column in sorted(columns):
        if taken := sorted(printed({column}) & (FIXED_COLUMNS | printed(columns - {column}))):
            raise ContractError(f"has a column {column!r}: its tables would have two called {taken[0]!r}")


def _kind(value: object) -> str:
    return "None" if value is None else f"a {type(value).__name__}"
