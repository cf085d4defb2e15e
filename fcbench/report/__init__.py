"""The verb ``report``: a suite's scored runs -> leaderboard.{csv,md,tex,html}. Loads no model and no torch."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fcbench.errors import DataError
from fcbench.store import report_folder, runs_of, write_text

if TYPE_CHECKING:
    from fcbench.report.runs import Run
    from fcbench.report.table import Ranking


def write_report(out: Path, suite: str) -> Path:
    """Write the leaderboard of a suite under ``out`` and return the page's path.

    Raises DataError if the suite has no run, or if a run is not scored.
    """
    from fcbench.report.to_csv import to_csv
    from fcbench.report.to_html import to_html
    from fcbench.report.to_markdown import to_markdown
    from fcbench.report.to_tex import to_tex

    runs, ranked = _read(out, suite)
    folder = report_folder(out, suite)
    write_text(folder / "leaderboard.csv", to_csv(ranked))
    write_text(folder / "leaderboard.md", to_markdown(ranked, suite))
    write_text(folder / "leaderboard.tex", to_tex(ranked, suite))
    page = folder / "leaderboard.html"
    write_text(page, to_html(runs, ranked, suite))
    return page


def leaderboard(out: Path, suite: str) -> list[dict[str, Any]]:
    """The rows of a suite's leaderboard, as in its CSV; raises as ``write_report`` does."""
    return [asdict(row) for ranking in _read(out, suite)[1] for row in ranking.rows]


def _read(out: Path, suite: str) -> tuple[list[Run], list[Ranking]]:
    from fcbench.report.runs import check_judges, read_run
    from fcbench.report.table import rankings

    folders = runs_of(out, suite)
    if not folders:
        raise DataError(f"{out / 'runs' / suite}: no run there; make one with: fcbench run --suite {suite}")
    runs = [read_run(folder) for folder in folders]
    check_judges(runs)
    return runs, rankings(runs, suite)


__all__ = ["leaderboard", "write_report"]
