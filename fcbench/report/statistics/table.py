"""One score of many pictures, laid out as groups of subjects x prompts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]
Group = tuple[str, ...]
"""The ids of the subjects in one picture."""


@dataclass(frozen=True)
class Table:
    """Sums and counts per cell, over all seeds; a cell without a picture has count 0.

    ``sums`` and ``counts`` have shape (groups, prompts); ``member``, shape (groups, subjects), is 1 where a subject is
    in a group. Groups of one subject are *singles*; larger ones can share subjects.
    """

    sums: Array
    counts: Array
    member: Array

    @property
    def subjects(self) -> int:
        """How many people there are: the size of the sample."""
        return int(self.member.shape[1])

    @property
    def prompts(self) -> int:
        """How many prompts there are."""
        return int(self.sums.shape[1])

    @property
    def sizes(self) -> Array:
        """How many subjects each group has."""
        return np.asarray(self.member.sum(1))

    @property
    def largest(self) -> int:
        """How many subjects the largest group has."""
        return int(self.sizes.max())

    @property
    def overlap(self) -> bool:
        """Whether a picture may hold several subjects, so that groups can share one."""
        return self.largest > 1

    def together(self, size: int) -> npt.NDArray[np.int64]:
        """Every ``size`` subjects that share a group, shape (sets, size)."""
        sets = {found for row in self.member for found in combinations(np.flatnonzero(row).tolist(), size)}
        return np.array(sorted(sets), dtype=np.int64).reshape(-1, size)

    @property
    def mean(self) -> float:
        """The mean over all pictures."""
        return float(self.sums.sum() / self.counts.sum())


def tabulate(values: Sequence[float], groups: Sequence[Group], prompts: Sequence[str]) -> Table:
    """The table of ``values``; ``groups[i]`` and ``prompts[i]`` say who and what picture ``i`` shows.

    The order of the pictures changes nothing.
    """
    rows = {group: i for i, group in enumerate(sorted(set(groups)))}
    columns = {prompt: i for i, prompt in enumerate(sorted(set(prompts)))}
    where = np.array([rows[g] * len(columns) + columns[p] for g, p in zip(groups, prompts, strict=True)])
    cells, shape = len(rows) * len(columns), (len(rows), len(columns))
    weights = np.asarray(values, dtype=np.float64)
    sums = np.asarray(np.bincount(where, weights=weights, minlength=cells), dtype=np.float64)
    counts = np.asarray(np.bincount(where, minlength=cells), dtype=np.float64)
    subjects = sorted({subject for group in rows for subject in group})
    member = np.array([[float(subject in group) for subject in subjects] for group in rows])
    return Table(sums.reshape(shape), counts.reshape(shape), member)
