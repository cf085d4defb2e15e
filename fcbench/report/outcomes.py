"""What became of pictures of two people: both right, or in what way not."""

from __future__ import annotations

from collections.abc import Sequence

from fcbench.report.table import Row

OUTCOMES = {
    "both_right": "both right",
    "blended": "blended",
    "swapped": "swapped",
    "cloned": "cloned",
    "missing": "missing",
    "extra": "extra face",
}
"""Score -> heading. Each is 1 or 0 a picture, or None where it does not apply."""

MARGIN = "margin"
"""The score beside them that is no share: how far the subject that fares worst is from the others, a cosine."""

FAILED = tuple(name for name in OUTCOMES if name != "both_right")


def outcomes(rows: Sequence[Row]) -> dict[str, str]:
    """The outcomes that were judged in any of the rows, with their headings; none where no picture is of two people."""
    if not any("both_right" in row.scores and row.scores["both_right"].count for row in rows):
        return {}
    return {name: heading for name, heading in OUTCOMES.items() if any(name in row.scores for row in rows)}
