"""How many people a suite's pictures show, in a word: the paper covers single people and pairs, no more."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, TypeAlias

from fcbench.report.runs import Run

Size: TypeAlias = Literal["single", "pair", "trio", "group"]

PEOPLE: dict[Size, str] = {"single": "one person", "pair": "two people", "trio": "three people", "group": "many people"}
"""Size -> who is in a picture."""

WORDS: dict[int, Size] = {1: "single", 2: "pair", 3: "trio"}


def size_of(runs: Sequence[Run]) -> Size:
    """The size of the largest group."""
    largest = max((len(case.subjects) for run in runs for case in run.cases.values()), default=1)
    return WORDS.get(largest, "group")
