"""Which commit runs."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from fcbench import packages


def test_a_checkout_tells_its_commit_and_whether_files_differ(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def git(*words: str) -> str:
        who = ["-c", "user.name=a", "-c", "user.email=a@b"]
        return subprocess.run(
            ["git", "-C", str(tmp_path), *who, *words], check=True, capture_output=True, text=True
        ).stdout

    file = tmp_path / "fcbench" / "packages.py"
    file.parent.mkdir()
    file.write_text("# one\n")
    monkeypatch.setattr(packages, "__file__", str(file))
    assert packages.commit() is None  # as pip installs it
    git("init", "-q")
    assert packages.commit() is None  # nothing is committed
    git("add", "-A")
    git("commit", "-qm", "first")
    head = git("rev-parse", "HEAD")[:12]
    assert packages.commit() == head
    file.write_text("# two\n")
    assert packages.commit() == f"{head}+"
    monkeypatch.setenv("PATH", "")
    assert packages.commit() is None  # there is no git
