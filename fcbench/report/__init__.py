"""The verb ``report``: a suite's scored runs -> leaderboard.{csv,md,tex,json,html}, generations.parquet. No torch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fcbench.errors import DataError, UsageError
from fcbench.files import write_bytes, write_text
from fcbench.report.merge import merge
from fcbench.store import report_folder, runs_of, suites_with_runs

if TYPE_CHECKING:
    from fcbench.report.runs import Run
    from fcbench.types import Metric

SISTERS = {"-single": "-pair", "-pair": "-single"}
"""How the names of two suites that belong together end: people alone, and in pairs."""


def write_report(out: Path, suite: str, *, earlier: Path | None = None, baseline: str | None = None) -> Path:
    """Write the leaderboard of a suite under ``out`` and return the page's path.

    ``earlier``: a folder of reports, like ``reports/``, whose methods the runs are compared with in quality.
    ``baseline``: the run that all methods are compared with, by default the one that sees no photo. Raises DataError
    if the suite has no run, if a run is not scored, or if the earlier report does not compare; UsageError if the
    baseline or the earlier report is not there.
    """
    from fcbench.report.board import make_board
    from fcbench.report.manifest import write_manifest
    from fcbench.report.to_csv import to_csv
    from fcbench.report.to_html import to_html
    from fcbench.report.to_json import to_json
    from fcbench.report.to_markdown import to_markdown
    from fcbench.report.to_parquet import GENERATIONS, to_parquet
    from fcbench.report.to_tex import to_tex

    runs = read_runs(out, suite)
    board = make_board(runs, suite, out=out, beside=_sister(out, suite), earlier=earlier, baseline=baseline)
    folder = report_folder(out, suite)
    write_text(folder / "leaderboard.csv", to_csv(board.rankings))
    write_text(folder / "leaderboard.md", to_markdown(board))
    write_text(folder / "leaderboard.tex", to_tex(board.rankings, suite))
    write_text(folder / "leaderboard.json", to_json(board))
    write_bytes(folder / GENERATIONS, to_parquet(board.runs))
    page = folder / "leaderboard.html"
    write_text(page, to_html(board))
    write_manifest(folder, board)
    return page


def publish(out: Path, suite: str, target: Path) -> Path:
    """Copy a suite's report, its manifest last, to ``target``; returns the folder there."""
    from fcbench.report.manifest import MANIFEST, files_of

    folder, copy = report_folder(out, suite), target / suite
    for path in (*files_of(folder), folder / MANIFEST):
        write_bytes(copy / path.name, path.read_bytes())
    return copy


def stale_reports(out: Path, metrics: Mapping[str, Metric], suites: Sequence[str] | None = None) -> list[str]:
    """Why reports under ``out``, and those that ship, are out of date; ``suites`` picks some.

    Those that ship are not compared with the runs under ``out``, which need not be theirs. Raises UsageError if there
    is no report to check.
    """
    from fcbench.config import shipped
    from fcbench.report.stale import stale

    own = report_folder(out, "x").parent
    places: dict[Path, Path | None] = {own: out, shipped("reports"): None}
    folders = {path.parent: runs for place, runs in places.items() for path in sorted(place.glob("*/leaderboard.csv"))}
    chosen = {folder: runs for folder, runs in folders.items() if suites is None or folder.name in suites}
    if not chosen:
        raise UsageError(f"{own}: no leaderboard there to check; make one with: fcbench report")
    unreported = [
        f"{out / 'runs' / suite}: no leaderboard of these runs; make one with: fcbench report --suite {suite}"
        for suite in suites_with_runs(out)
        if own / suite not in folders and (suites is None or suite in suites)
    ]
    return unreported + [reason for folder, runs in chosen.items() for reason in stale(folder, runs, metrics)]


def leaderboard(out: Path, suite: str) -> list[dict[str, Any]]:
    """The rows of a suite's leaderboard, as in its CSV; raises as ``write_report`` does."""
    from fcbench.report.flat import flat
    from fcbench.report.table import rankings

    return [flat(row) for ranking in rankings(read_runs(out, suite), suite) for row in ranking.rows]


def read_runs(out: Path, suite: str) -> list[Run]:
    """The runs of a suite, all of them scored by the same judges; DataError if not."""
    from fcbench.report.runs import check_judges, read_run

    folders = runs_of(out, suite)
    if not folders:
        raise DataError(f"{out / 'runs' / suite}: no run there; make one with: fcbench run --suite {suite}")
    runs = [read_run(folder) for folder in folders]
    check_judges(runs)
    return runs


def _sister(out: Path, suite: str) -> list[Run]:
    """The runs of the suite that belongs to this one; none if it was not drawn or is not scored yet."""
    name = next((suite.removesuffix(end) + other for end, other in SISTERS.items() if suite.endswith(end)), None)
    if name is None or not runs_of(out, name):
        return []
    try:
        return read_runs(out, name)
    except DataError:
        return []


__all__ = ["leaderboard", "merge", "publish", "read_runs", "stale_reports", "write_report"]
