"""Whether a report still says what it would say if it were made today, and if not, why."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from fcbench.errors import FcbenchError
from fcbench.files import digest_file, read_json
from fcbench.report.claims import OURS
from fcbench.report.manifest import KEPT, MANIFEST
from fcbench.report.runs import METRICS, is_of_others
from fcbench.report.weights import differing
from fcbench.store import runs_of

TABLES = "leaderboard.csv"


def stale(folder: Path, out: Path | None, metrics: Mapping[str, Any]) -> list[str]:
    """Why the report in ``folder`` is out of date; empty if it is not. Loads no model.

    The manifest is compared with the report's files, the stack's weights, the metrics installed now (``metrics``, by
    name), and the suite's runs under ``out``, if there are any. ``out`` is None for a report made elsewhere, such as
    those that ship: runs here say nothing about it.
    """
    path = folder / MANIFEST
    if not path.exists():
        return [f"{path}: not there, so nobody can tell what the report was made from"]
    manifest = read_json(path)
    reasons = [*_files(folder, manifest), *_weights(manifest), *_metrics(manifest, metrics)]
    if out is not None and runs_of(out, str(manifest["suite"])):
        reasons += _runs(folder, manifest, out)
    return [f"{folder}: {reason}" for reason in dict.fromkeys(reasons)]


def _files(folder: Path, manifest: Mapping[str, Any]) -> Iterator[str]:
    for name, digest in manifest["files"].items():
        file = folder / name
        if not file.exists():
            yield f"{name} is missing"
        elif digest_file(file) != digest:
            yield f"{name} was changed after it was made"


def _weights(manifest: Mapping[str, Any]) -> Iterator[str]:
    """Roles of the stack that have other weights now; a stack that is not on this machine is passed over."""
    from fcbench.stacks import load_stack

    for label, run in manifest["runs"].items():
        try:
            digests = load_stack(str(run.get("stack_file", run["stack"]))).digests
        except FcbenchError:
            continue
        if changed := differing(run.get("stack_digests", {}), digests, checkpoint=run.get("method") == OURS):
            yield f"{label} was drawn with other weights than {run['stack']} has now: {', '.join(changed)}"


def _metrics(manifest: Mapping[str, Any], metrics: Mapping[str, Any]) -> Iterator[str]:
    for label, run in manifest["runs"].items():
        for name, metric in metrics.items():
            header = run["scores"].get(name)
            if run.get("random_weights"):
                continue
            if header is None:
                yield f"{label} has no scores of {name}, which is installed now"
            elif header.get("version", 1) != getattr(metric, "version", 1):
                yield f"{label} was scored with version {header.get('version')} of {name}, now {metric.version}"
        for name, header in run["scores"].items():
            if name not in METRICS and is_of_others(header, run["scores"].get(METRICS[0], {})):
                yield f"{label} has scores of {name} that are of other pictures than its identity"


def _runs(folder: Path, manifest: Mapping[str, Any], out: Path) -> Iterator[str]:
    from fcbench.report import read_runs
    from fcbench.report.table import rankings
    from fcbench.report.to_csv import to_csv

    suite = str(manifest["suite"])
    runs = {run.label: run for run in read_runs(out, suite)}
    for label in sorted(runs.keys() ^ manifest["runs"].keys()):
        yield f"{label} is {'not in the report' if label in runs else 'in the report, but no run here'}"
    for run in runs.values():
        yield from (f"{run.label}: {hint}" for hint in run.outdated)
    for label in sorted(runs.keys() & manifest["runs"].keys()):
        then = manifest["runs"][label]
        changed = [key for key in KEPT if key in then and then[key] != runs[label].config.get(key)]
        if changed:
            yield f"{label} was made with other settings: {', '.join(changed)}"
    table = to_csv(rankings([*runs.values()], suite))
    if (folder / TABLES).exists() and (folder / TABLES).read_text(encoding="utf-8") != table:
        yield f"{TABLES} differs from what the runs give now; run: {manifest['command']}"
