"""What is told of a run while it is drawn."""

from __future__ import annotations

from pathlib import Path

import pytest

from fcbench.run.progress import LONGEST, Progress
from fcbench.store import run_folder


def test_a_failure_that_fills_a_page_is_told_by_its_beginning(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    progress = Progress("toy Painter", run_folder(tmp_path, "toy", "Painter"))
    progress.tell({"event": "start", "cases": 2, "missing": 2})
    progress.tell({"event": "failed", "message": "ann: OSError: short", "cases": 1})
    progress.tell({"event": "failed", "message": "bo: " + 9000 * "x", "cases": 1})
    short, long = capsys.readouterr().err.splitlines()
    assert short == "toy Painter: failed: ann: OSError: short"
    assert long == f"toy Painter: failed: bo: {(LONGEST - 4) * 'x'}..."
