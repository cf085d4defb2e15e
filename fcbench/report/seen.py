"""What a method used besides prompt and photos: it may have aimed at a judge, or known more than others."""

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
"""What a method may see, by its own or its role's name -> the score that it judges."""


def seen(run: Run) -> list[str]:
    """A line for each thing that the run says its method saw; for a judge that scored the run, with that score."""
    return [f"sees {name}{_judging(JUDGES.get(name), run)}" for name in run.config.get("sees", ())]


def _judging(column: str | None, run: Run) -> str:
    return f", which judges {column}" if column in run.scores else ""
