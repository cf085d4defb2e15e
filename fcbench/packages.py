"""Which packages are installed, in which versions, and which commit of ours runs."""

from __future__ import annotations

import os
import subprocess
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path


def installed(package: str) -> str | None:
    """A package's version; None where it is not installed.

    >>> installed("no-such-package") is None
    True
    """
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def commit() -> str | None:
    """The commit of the checkout that this package runs from, with "+" if tracked files differ; None without one."""
    root = Path(__file__).parent.parent
    if not (root / ".git").exists():
        return None
    try:
        told = [_git(root, "rev-parse", "--short=12", "HEAD"), _git(root, "status", "--porcelain", "-uno")]
    except (OSError, subprocess.CalledProcessError):  # no git here, or a checkout of somebody else's
        return None
    return told[0] + ("+" if told[1] else "")


def _git(root: Path, *words: str) -> str:
    asked = ["git", "--no-optional-locks", "-C", str(root), *words]
    ours = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}  # a hook's are not ours
    return subprocess.run(
        asked, env=ours, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=True
    ).stdout.strip()
