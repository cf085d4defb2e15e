"""What a run may be called."""

from __future__ import annotations

from fcbench.errors import UsageError


def refuse_label(label: str) -> None:
    """Raise UsageError for what cannot name a run's folder: it would lie elsewhere, or never be found."""
    if "/" in label or label.startswith("."):
        raise UsageError(f"{label!r} cannot name a run's folder: it has a / in it or starts with a dot")
