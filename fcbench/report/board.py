"""Everything that one suite's report says, computed once: the page and the JSON only write it down."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fcbench.errors import UsageError, did_you_mean
from fcbench.report.against import Against, against
from fcbench.report.breakdown import Grouping, Part, by_group, by_kind, by_subject, everyones_identity
from fcbench.report.claims import OURS, UNLOCALIZED, Claim, claims
from fcbench.report.commands import report_command, run_command
from fcbench.report.frontier import Frontier, frontiers
from fcbench.report.outcomes import thresholds
from fcbench.report.published import Line, Published, read_published, three_columns
from fcbench.report.runs import Run
from fcbench.report.size import Size, size_of
from fcbench.report.statistics import Difference, Estimate
from fcbench.report.table import BASELINE, Ranking, compare, rankings


@dataclass(frozen=True)
class Board:
    """One suite's report; ``runs`` are in the order of the rankings' rows, ``kinds`` to ``everyone`` for methods."""

    suite: str
    size: Size
    runs: tuple[Run, ...]
    rankings: tuple[Ranking, ...]
    kinds: tuple[Part, ...]
    groupings: tuple[Grouping, ...]
    subjects: dict[str, dict[str, float]]
    everyone: dict[str, Estimate]
    """Method -> mean identity of all people, each judged by their own face."""
    thresholds: dict[str, Mapping[str, Any]]
    """Run -> what its outcomes of several people were judged by."""
    frontiers: tuple[Frontier, ...]
    published: Published
    lines: tuple[Line, ...]
    claims: tuple[Claim, ...]
    against: Against | None
    """Methods here against those of an earlier report, where one was given."""
    command: str
    commands: dict[str, str]

    @property
    def methods(self) -> list[Run]:
        """The runs that are methods."""
        roles = {row.method: row.role for ranking in self.rankings for row in ranking.rows}
        return [run for run in self.runs if roles[run.label] == "method"]


def make_board(
    runs: Sequence[Run],
    suite: str,
    *,
    out: Path,
    beside: Sequence[Run] = (),
    earlier: Path | None = None,
    baseline: str | None = None,
) -> Board:
    """The report of ``runs``; ``beside``: those of the sister suite (pairs or single people), for the claims.

    ``earlier``: a folder of reports, whose report of this suite the runs are compared with. ``baseline``: the run that
    the methods here are compared with; UsageError if no run has that name.
    """
    by_label = {run.label: run for run in runs}
    if baseline is not None:
        check_baseline(baseline, [*by_label], suite)
    ranked = rankings(runs, suite, baseline=baseline or BASELINE)
    ordered = [by_label[row.method] for ranking in ranked for row in ranking.rows]
    methods = [by_label[row.method] for ranking in ranked for row in ranking.of("method") if row.scores]
    size = size_of(runs)
    boards: dict[Size, Ranking] = {size: ranked[0]}
    if beside and size_of(beside) != size:
        boards[size_of(beside)] = rankings(beside, suite)[0]
    curves = frontiers(runs)
    of_size: dict[Size, list[Frontier]] = {size_of(beside): frontiers(beside)} if beside else {}
    of_size[size] = curves
    published = read_published()
    return Board(
        suite=suite,
        size=size,
        runs=tuple(ordered),
        rankings=tuple(ranked),
        kinds=tuple(by_kind(methods)),
        groupings=tuple(by_group(methods)),
        subjects=by_subject(methods),
        everyone=everyones_identity(methods),
        thresholds=thresholds(ordered),
        frontiers=tuple(curves),
        published=published,
        lines=tuple(three_columns(published, ranked[0], suite=suite, size=size)),
        claims=tuple(claims(boards, of_size, _unlocalized(runs if size == "pair" else beside))),
        against=None if earlier is None else against(ordered, ranked, earlier, suite),
        command=report_command(suite, out, earlier, baseline),
        commands={run.label: run_command(run, out) for run in ordered},
    )


def check_baseline(baseline: str, labels: Sequence[str], suite: str) -> None:
    """UsageError if no run of the suite has that name."""
    if baseline not in labels:
        raise UsageError(f"--baseline {baseline}: no such run of {suite}: {did_you_mean(baseline, labels)}")


def _unlocalized(runs: Sequence[Run]) -> Difference | None:
    """How much more often pairs blend without the localisation loss, if both runs are complete, in one setting."""
    by_label = {run.label: run for run in runs}
    ours, without = by_label.get(OURS), by_label.get(f"{OURS}@{UNLOCALIZED}")
    if ours is None or without is None or ours.setting != without.setting:
        return None
    if not (ours.is_complete and without.is_complete):
        return None
    return compare(without, ours, "blended")
