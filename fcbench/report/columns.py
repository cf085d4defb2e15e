"""The columns that the tables for people share: heading, and how a row's cell is written."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from fcbench.report.numbers import amount, interval, quality, rank, share
from fcbench.report.table import NOTHING, Row


def coverage(row: Row) -> str:
    """Pictures made of pictures expected; failures named.

    A picture that is neither made nor failed was not tried yet.
    """
    return f"{row.generations}/{row.cases}" + (f", {row.failures} failed" if row.failures else "")


@dataclass(frozen=True)
class Column:
    """One column; ``is_text`` aligns left."""

    heading: str
    cell: Callable[[Row], str]
    is_text: bool = False


def columns(rows: list[Row]) -> list[Column]:
    """The columns that these rows can fill."""
    extra = [Column("attributes", lambda row: share(row.scores.get("attributes", NOTHING).value))]
    return [
        Column("rank", lambda row: rank(row.rank_best, row.rank_worst)),
        Column("method", lambda row: row.method, is_text=True),
        Column("photos", lambda row: str(row.images_per_subject)),
        Column("identity", lambda row: quality(row.identity.value)),
        Column("95 % interval", lambda row: interval(row.identity.low, row.identity.high)),
        Column("prompt", lambda row: quality(row.prompt.value)),
        Column("95 % interval", lambda row: interval(row.prompt.low, row.prompt.high)),
        *(extra if any("attributes" in row.scores for row in rows) else []),
        Column("own prompt first", lambda row: share(row.scores.get("prompt_rank1", NOTHING).value)),
        Column("faces found", lambda row: share(row.faces_found)),
        Column("fit s", lambda row: amount(row.costs.fit_seconds)),
        Column("sample s", lambda row: amount(row.costs.sample_seconds)),
        Column("total s", lambda row: amount(row.costs.total_seconds)),
        Column("peak GiB", lambda row: amount(row.costs.peak_gib)),
        Column("kept MiB", lambda row: amount(row.costs.stored_mib_per_subject)),
        Column("pictures", coverage),
    ]
