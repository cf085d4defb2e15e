"""The columns that the tables for people share: heading, and how a row's cell is written."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

from fcbench.report.numbers import amount, interval, quality, rank, share
from fcbench.report.table import NOTHING, Row


def coverage(row: Row) -> str:
    """Pictures made out of those expected, and failures.

    A picture that is neither has not been tried yet.
    """
    return f"{row.generations}/{row.cases}" + (f", {row.failures} failed" if row.failures else "")


Kind: TypeAlias = Literal["row", "quality", "cost"]
"""What a column tells: which row this is, how good its pictures are, or what they took."""


@dataclass(frozen=True)
class Column:
    """One column; ``is_text`` aligns left."""

    heading: str
    cell: Callable[[Row], str]
    kind: Kind
    is_text: bool = False


def further(rows: Sequence[Row]) -> dict[str, str]:
    """Score -> heading of what was asked for by name, in any of the rows."""
    return {score: heading for row in rows for score, heading in row.further.items()}


def columns(rows: list[Row]) -> list[Column]:
    """The columns that these rows can fill."""
    extra = [Column("attributes", lambda row: share(row.scores.get("attributes", NOTHING).value), "quality")]
    return [
        Column("rank", lambda row: rank(row.rank_best, row.rank_worst), "quality"),
        Column("method", lambda row: row.method, "row", is_text=True),
        Column("photos", lambda row: str(row.images_per_subject), "cost"),
        Column("identity", lambda row: quality(row.identity.value), "quality"),
        Column("95 % interval", lambda row: interval(row.identity.low, row.identity.high), "quality"),
        Column("prompt", lambda row: quality(row.prompt.value), "quality"),
        Column("95 % interval", lambda row: interval(row.prompt.low, row.prompt.high), "quality"),
        *(extra if any("attributes" in row.scores for row in rows) else []),
        Column("own prompt first", lambda row: share(row.scores.get("prompt_rank1", NOTHING).value), "quality"),
        Column("faces found", lambda row: share(row.faces_found), "quality"),
        Column("fit s", lambda row: amount(row.costs.fit_seconds), "cost"),
        Column("sample s", lambda row: amount(row.costs.sample_seconds), "cost"),
        Column("total s", lambda row: amount(row.costs.total_seconds), "cost"),
        Column("peak GiB", lambda row: amount(row.costs.peak_gib), "cost"),
        Column("kept MiB", lambda row: amount(row.costs.stored_mib_per_subject), "cost"),
        Column("pictures", coverage, "cost"),
    ]
