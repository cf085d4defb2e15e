"""``manifest.json``, beside a report's files: what it was made from."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from fcbench import __version__
from fcbench.files import digest_file, write_json
from fcbench.report.runs import Run

if TYPE_CHECKING:
    from fcbench.report.board import Board

MANIFEST = "manifest.json"

KEPT = (
    *("method", "options", "suite_digest", "stack", "stack_file", "stack_digests", "sampling", "random_weights"),
    *("low_memory", "sanity", "sees", "note", "device", "memory_kind", "versions", "cases"),
)
"""The keys of a run's configuration that are published."""


def write_manifest(folder: Path, board: Board) -> None:
    """Name the runs, judges and files of the report in ``folder``; written last."""
    manifest = {
        "suite": board.suite,
        "fcbench": __version__,
        "command": board.command,
        "runs": {run.label: describe(run, board.commands[run.label]) for run in board.runs},
        "files": {path.name: digest_file(path) for path in files_of(folder)},
    }
    write_json(folder / MANIFEST, manifest)


def files_of(folder: Path) -> list[Path]:
    """The files of the report in ``folder``, except the manifest."""
    return sorted([*folder.glob("leaderboard.*"), *folder.glob("generations.*")])


def describe(run: Run, command: str) -> dict[str, Any]:
    """A run in the manifest: its settings, its judges, and the digest of the pictures that they judged."""
    return {
        "command": command,
        **{key: run.config[key] for key in KEPT if key in run.config},
        "generations": len(run.generations),
        "failures": len(run.failures),
        "scores": {name: dict(header) for name, header in sorted(run.headers.items())},
    }
