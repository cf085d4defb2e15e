"""What a method used beside prompt and photos: it may have drawn for a judge's eye, or known more than others."""

from __future__ import annotations

from fcbench.report.runs import Run

JUDGES = {
    "insightface": "identity",
    "faces": "identity",
    "facenet": "identity_facenet",
    "clip": "prompt",
    "attributes": "attributes",
    "dino": "dino",
}
"""By what a method may see, as it or its role is called, the score that is read by it."""


def seen(run: Run) -> list[str]:
    """A line for each thing that the run says its method saw; of a judge that scored it, what that judges."""
    return [f"sees {name}{_judging(JUDGES.get(name), run)}" for name in run.config.get("sees", ())]


def _judging(column: str | None, run: Run) -> str:
    return f", which judges {column}" if column in run.scores else ""
