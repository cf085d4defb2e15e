"""Runs of this suite against those of an earlier report, whose pictures and models need not be here.

Only quality is paired: the earlier costs were measured on whatever machine drew the pictures.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from fcbench.changes import changes
from fcbench.config import shipped
from fcbench.errors import DataError, UsageError
from fcbench.files import digest_file, read_json, read_rows
from fcbench.report.claims import OURS
from fcbench.report.manifest import MANIFEST
from fcbench.report.runs import Run, check_judges
from fcbench.report.table import COMPARED, Comparison, Ranking, compared
from fcbench.report.to_parquet import FIXED, GENERATIONS
from fcbench.report.weights import differing
from fcbench.types import Case, Generation, Prompt, Score, Subject

PUBLISHED = Path("published")
"""Given in place of a folder: the reports that ship."""


@dataclass(frozen=True)
class Against:
    """``comparisons`` are of methods here with methods of the report in ``place``, kept as it was given."""

    place: str
    devices: tuple[str, ...]
    comparisons: tuple[Comparison, ...]
    changed: tuple[str, ...]
    """What differs from the report, a line each: in a method against its earlier self, and in what others drew from."""

    @property
    def reading(self) -> str:
        """What the differences are, in words."""
        drawn = f", drawn on {' and '.join(self.devices)}" if self.devices else ""
        return (
            f"Methods here minus those of the report in {self.place}{drawn}: quality alone, on equal cases (subjects, "
            "prompt, seed). What was drawn here stands against its earlier self."
            + "".join(f" {line}." for line in self.changed)
        )


def against(runs: Sequence[Run], rankings: Sequence[Ranking], place: Path, suite: str) -> Against:
    """Each method's quality minus that of the earlier run of its name, and minus that of methods not drawn here.

    Raises UsageError if ``place`` holds no report of the suite, DataError if its people, prompts or judges differ.
    """
    folder = earlier_report(place, suite)
    earlier = [run for run in read_earlier(folder) if not run.is_sanity and not run.is_of_sweep]
    methods = {row.method for ranking in rankings for row in ranking.of("method")}
    ours = [run for run in runs if run.label in methods and run.values("identity")]
    for run in earlier:
        _check_comparable(run, ours, folder)
    drawn = {run.label for run in ours}
    pairs = [
        (run, other)
        for run in ours
        for other in sorted(earlier, key=lambda other: other.label != run.label)  # its earlier self first
        if other.label not in drawn - {run.label}
    ]
    devices = tuple(sorted({str(run.config["device"]) for run in earlier if run.config["device"]}))
    same = [_changed(run, other) for run, other in pairs if run.label == other.label]
    changed = filter(None, [*same, *(_elsewhere(run, [o for r, o in pairs if r is run]) for run in ours)])
    return Against(str(place), devices, tuple(compared(pairs)), tuple(changed))


def _changed(run: Run, earlier: Run) -> str:
    """In which settings and weights a method's two runs differ."""
    then, now = earlier.config, run.config
    found = [change for key in ("options", "sampling") for change in changes(key, then.get(key), now.get(key))]
    digests = then.get("stack_digests") or {}, now.get("stack_digests") or {}
    if weights := differing(*digests, checkpoint=run.method == OURS):
        found.append(f"other weights of {', '.join(weights)}")
    return f"{run.label}: {'; '.join(found)}" if found else ""


def _elsewhere(run: Run, others: Sequence[Run]) -> str:
    """Which of the ``others`` drew from another base than a method here."""
    if not run.config.get("stack_digests"):
        return ""  # made elsewhere: nobody knows from what
    drawn = [other for other in others if other.label != run.label and other.config.get("stack_digests")]
    found = [other.label for other in drawn if run.setting.base != other.setting.base]
    return f"{run.label}: drawn from other weights or defaults than {', '.join(found)}" if found else ""


def earlier_report(place: Path, suite: str) -> Path:
    """A suite's report in a folder of reports; UsageError if its manifest or its rows of pictures are not there."""
    folder = (shipped("reports") if place == PUBLISHED else place) / suite
    if absent := [path for path in (folder / MANIFEST, folder / GENERATIONS) if not path.exists()]:
        raise UsageError(f"{absent[0]}: not there; --against takes a folder of reports, as OUT/reports, or {PUBLISHED}")
    return folder


def read_earlier(folder: Path) -> list[Run]:
    """The scored runs of a report, from its manifest and ``generations.parquet``: all but pictures and costs."""
    file = folder / GENERATIONS
    told = read_json(folder / MANIFEST)
    if told["files"].get(GENERATIONS) != digest_file(file):
        raise DataError(f"{file}: not the file that {MANIFEST} beside it names; fetch both again")
    rows = list(read_rows(file))
    return [_run(label, run, rows) for label, run in told["runs"].items() if run["scores"]]


def _run(label: str, told: dict[str, Any], rows: Sequence[dict[str, Any]]) -> Run:
    own = {row["case"]: row for row in rows if row["method"] == label and row["failure"] is None}
    columns = [name for name in next(iter(own.values()), {}) if name not in {*FIXED.names, "notes"}]
    return Run(
        label=label,
        config=told,
        generations={case: _generation(row) for case, row in own.items()},
        failures={row["case"]: row["failure"] for row in rows if row["method"] == label and row["failure"] is not None},
        scores={column: {case: Score(row[column]) for case, row in own.items()} for column in columns},
        headers=told["scores"],
    )


def _generation(row: dict[str, Any]) -> Generation:
    """A picture that is not here itself; its case is known by its id."""
    people = tuple(Subject(name, noun, ()) for name, noun in zip(row["subjects"], row["nouns"], strict=True))
    case = Case(people, Prompt(row["prompt_id"], row["text"], row["prompt_kind"]), row["seed"])
    return Generation(case, Path(f"{row['case']}.png"), row["fit_seconds"] or 0.0, row["sample_seconds"] or 0.0, 0, 0)


def _check_comparable(earlier: Run, ours: Sequence[Run], folder: Path) -> None:
    for run in ours:
        if run.config["suite_digest"] != earlier.config["suite_digest"]:
            raise DataError(f"{folder}: {earlier.label} was drawn for other people or prompts than {run.label} here")
        try:
            check_judges(
                [_compared_alone(run), _compared_alone(replace(earlier, label=f"the earlier {earlier.label}"))]
            )
        except DataError as error:
            raise DataError(f"{folder} does not compare with the runs here: {error}") from error


def _compared_alone(run: Run) -> Run:
    """The run with the judges of compared scores only: those of other scores may differ."""
    return replace(run, headers={name: header for name, header in run.headers.items() if name in COMPARED})


__all__ = ["PUBLISHED", "Against", "against", "earlier_report", "read_earlier"]
