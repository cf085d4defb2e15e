"""The commands that make a report's figures again, to be printed beside them."""

from __future__ import annotations

import shlex
from pathlib import Path

from fcbench.report.runs import Run


def run_command(run: Run, out: Path) -> str:
    """Draws the run's pictures again. A yardstick and a folder of foreign pictures have no such command."""
    config = run.config
    if run.is_sanity or "options" not in config:
        return ""
    words = ["fcbench", "run", "--suite", str(config.get("suite", "")), "--method", str(config.get("method", ""))]
    for key, value in config["options"].items():
        if value is not None and value != "":
            words += ["--set", f"{key}={value}"]
    if variant := run.label.partition("@")[2]:
        words += ["--variant", variant]
    if stack := config.get("stack_file"):
        words += ["--stack", str(stack)]
    flags = [f"--{key.replace('_', '-')}" for key in ("random_weights", "low_memory") if config.get(key)]
    return shlex.join([*words, *flags, *_under(out)])


def report_command(suite: str, out: Path) -> str:
    """Writes the report again from the runs, and its figures in full to leaderboard.json."""
    return shlex.join(["fcbench", "report", "--suite", suite, *_under(out)])


def _under(out: Path) -> list[str]:
    return [] if out == Path("out") else ["--out", str(out)]
