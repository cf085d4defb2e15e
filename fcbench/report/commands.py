"""The commands that make a report's figures again, to be printed beside them."""

from __future__ import annotations

import shlex
from pathlib import Path

from fcbench.report.runs import Run


def run_command(run: Run, out: Path) -> str:
    """Draws the run's pictures again; of a folder of foreign pictures, takes them over again."""
    config = run.config
    suite = str(config.get("suite_file") or config.get("suite", ""))
    if run.is_sanity:
        return shlex.join(["fcbench", "run", "--suite", suite, "--sanity", *_under(out)])
    if not run.costs_measured:
        photos = str(config.get("images_per_subject", 1))
        words = ["fcbench", "score", str(config.get("pictures", "PICTURES")), "--suite", suite, "--name", run.label]
        return shlex.join([*words, "--images-per-subject", photos, *_under(out)])
    if "options" not in config:
        return ""
    words = ["fcbench", "run", "--suite", suite, "--method", str(config.get("method", ""))]
    for key, value in config["options"].items():
        if value is not None and value != "":
            words += ["--set", f"{key}={value}"]
    if variant := run.label.partition("@")[2]:
        words += ["--variant", variant]
    for key, option in {"stack_file": "--stack", "checkpoint_file": "--checkpoint"}.items():
        if config.get(key):
            words += [option, str(config[key])]
    flags = [f"--{key.replace('_', '-')}" for key in ("random_weights", "low_memory") if config.get(key)]
    return shlex.join([*words, *flags, *_under(out)])


def report_command(suite: str, out: Path) -> str:
    """Writes the report again from the runs, and its figures in full to leaderboard.json."""
    return shlex.join(["fcbench", "report", "--suite", suite, *_under(out)])


def _under(out: Path) -> list[str]:
    return [] if out == Path("out") else ["--out", str(out)]
