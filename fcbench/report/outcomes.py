"""What became of pictures of several people: all right, or what went wrong."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from fcbench.report.numbers import quality, share
from fcbench.report.runs import Run
from fcbench.report.size import Size
from fcbench.report.table import Row

OUTCOMES = {
    "both_right": "both right",
    "blended": "blended",
    "swapped": "swapped",
    "cloned": "cloned",
    "missing": "missing",
    "extra": "extra face",
}
"""Score -> heading. Each is 1 or 0 per picture, or None where it does not apply."""

COSINES = {"margin": "margin", "identity_mean": "mean identity", "identity_strict": "strict identity"}
"""Scores beside them that are not shares: how much nearer the worst-placed subject's face is to it than to another; the
subjects' mean identity; that of the worst, faces matched for the largest sum, a missing face 0."""

FAILED = tuple(name for name in OUTCOMES if name != "both_right")


def outcomes(rows: Sequence[Row], size: Size) -> dict[str, str]:
    """The outcomes that were judged in any of the rows, with their headings; none where nobody shares a picture."""
    if not any("both_right" in row.scores and row.scores["both_right"].count for row in rows):
        return {}
    headings = OUTCOMES if size == "pair" else {**OUTCOMES, "both_right": "all right"}
    return {name: heading for name, heading in headings.items() if any(name in row.scores for row in rows)}


def thresholds(runs: Sequence[Run]) -> dict[str, Mapping[str, Any]]:
    """Run -> what its outcomes were judged by, where that is on record."""
    return {run.label: run.facts["blending"] for run in runs if run.facts.get("blending")}


def calibrations(rows: Sequence[Row], told: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """The rows' thresholds in words, each once; with the runs' names where they differ, as between different people.

    ``told`` are the thresholds by run.
    """
    by_words: dict[str, list[str]] = {}
    for label in [row.method for row in rows if row.method in told]:
        by_words.setdefault(_words(told[label]), []).append(label)
    if len(by_words) < 2:
        return list(by_words)
    return [f"{', '.join(labels)}: {words}" for words, labels in by_words.items()]


def _words(facts: Mapping[str, Any]) -> str:
    floor = f"A face is a subject's from a cosine of {quality(facts['floor'])} on"
    others = f"95 % of {facts['different_photos']} likenesses between different people of the suite stay below"
    if facts["margin"] is None:
        return f"{floor}, which {others}. No subject has a second photo: every face of two is a blend."
    blend = f"it is a blend where it is one of two and nearer to one by less than {quality(facts['margin'])}"
    real = f"as 5 % of {facts['same_photos']} further real photos are"
    return f"{floor}, which {others}; {blend}, {real}. Of real photos {share(facts['real_right'])} come out right."
