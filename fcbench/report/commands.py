"""The commands that reproduce a report's figures, printed beside them."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fcbench.report.runs import Run, under


def run_command(run: Run, out: Path) -> str:
    """Draws the run's pictures again; if they were made elsewhere, takes them over again."""
    config = run.config
    suite = str(config.get("suite_file") or config.get("suite", ""))
    if run.is_sanity:
        return shlex.join(["fcbench", "run", "--suite", suite, "--sanity", *_files(config), *under(out)])
    if not run.costs_measured:
        photos = str(config.get("images_per_subject", 1))
        words = ["fcbench", "score", str(config.get("pictures", "PICTURES")), "--suite", suite, "--name", run.label]
        words += [
            "--images-per-subject",
            photos,
            *(word for name in config.get("sees", ()) for word in ("--sees", name)),
        ]
        words += ["--note", str(config["note"])] if config.get("note") else []
        return shlex.join([*words, *_files(config), *under(out)])
    if "options" not in config:
        return ""
    words = ["fcbench", "run", "--suite", suite, "--method", str(config.get("method", ""))]
    for key, value in config["options"].items():
        if value is not None and value != "":
            words += ["--set", f"{key}={json.dumps(value) if isinstance(value, list) else value}"]
    if variant := run.label.partition("@")[2]:
        words += ["--variant", variant]
    flags = [f"--{key.replace('_', '-')}" for key in ("random_weights", "low_memory") if config.get(key)]
    return shlex.join([*words, *_files(config), *flags, *under(out)])


def report_command(suite: str, out: Path, earlier: Path | None = None, baseline: str | None = None) -> str:
    """Writes the report again from the runs, with its figures in full in leaderboard.json."""
    against = [] if earlier is None else ["--against", str(earlier)]
    compared = [] if baseline is None else ["--baseline", baseline]
    return shlex.join(["fcbench", "report", "--suite", suite, *compared, *against, *under(out)])


def _files(config: Mapping[str, Any]) -> list[str]:
    """The options that name weights: the stack, and a checkpoint other than its own."""
    options = {"stack_file": "--stack", "checkpoint_file": "--checkpoint"}
    return [word for key, option in options.items() if config.get(key) for word in (option, str(config[key]))]
