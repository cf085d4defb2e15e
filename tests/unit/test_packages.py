"""Which commit runs."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from fcbench import packages


def test_a_checkout_tells_its_commit_and_whether_files_differ(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("GIT_")]:
        monkeypatch.delenv(name)

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
    monkeypatch.setenv("GIT_DIR", str(Path(__file__).parents[2] / ".git"))  # as a hook of another repository has it
    assert packages.commit() == head
    monkeypatch.delenv("GIT_DIR")
    file.write_text("# two\n")
    assert packages.commit() == f"{head}+"
    monkeypatch.setenv("PATH", "")
    assert packages.commit() is None  # there is no git
