"""The columns that the tables for people share: heading, and how a row's cell is written."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from fcbench.report.numbers import amount, interval, quality, rank, share
from fcbench.report.table import Row


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


COLUMNS = (
    Column("rank", lambda row: rank(row.rank_best, row.rank_worst)),
    Column("method", lambda row: row.method, is_text=True),
    Column("photos", lambda row: str(row.images_per_subject)),
    Column("identity", lambda row: quality(row.identity)),
    Column("95 % interval", lambda row: interval(row.identity_low, row.identity_high)),
    Column("prompt", lambda row: quality(row.prompt)),
    Column("95 % interval", lambda row: interval(row.prompt_low, row.prompt_high)),
    Column("own prompt first", lambda row: share(row.prompt_rank1)),
    Column("faces found", lambda row: share(row.faces_found)),
    Column("fit s", lambda row: amount(row.fit_seconds)),
    Column("sample s", lambda row: amount(row.sample_seconds)),
    Column("total s", lambda row: amount(row.total_seconds)),
    Column("peak GiB", lambda row: amount(row.peak_gib)),
    Column("kept MiB", lambda row: amount(row.stored_mib_per_subject)),
    Column("pictures", coverage),
)
