"""Which face is which subject: the two ways to pair the rows and columns of a similarity matrix."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Similarity = npt.NDArray[np.floating]
"""Cosine similarities, shape (subjects, faces); finite."""


def greedy(similarity: Similarity) -> dict[int, int]:
    """Row -> column, by taking the largest entry left and dropping its row and column (FastComposer's protocol).

    Of equal entries the first in row-major order is taken. With fewer columns than rows, some rows stay unmatched.

    >>> greedy(np.array([[0.9, 0.8], [0.85, 0.1]]))
    {0: 0, 1: 1}
    """
    left = np.array(similarity, dtype=np.float64)
    pairs: dict[int, int] = {}
    for _ in range(min(left.shape)):
        row, column = (int(i) for i in np.unravel_index(int(np.argmax(left)), left.shape))
        pairs[row] = column
        left[row, :] = -np.inf
        left[:, column] = -np.inf
    return pairs


def hungarian(similarity: Similarity) -> dict[int, int]:
    """Row -> column with the largest sum; with fewer columns than rows, some rows stay unmatched.

    >>> hungarian(np.array([[0.9, 0.8], [0.85, 0.1]]))
    {0: 1, 1: 0}
    """
    # Loaded here: a report on scored runs imports this, yet matches nothing.
    from scipy.optimize import linear_sum_assignment

    rows, columns = linear_sum_assignment(similarity, maximize=True)
    return {int(row): int(column) for row, column in zip(rows, columns, strict=True)}


def matched(similarity: Similarity, pairs: dict[int, int], *, missing: float = 0.0) -> npt.NDArray[np.float64]:
    """The similarity that each row was given, shape (subjects,); ``missing`` for a row without a column."""
    values = np.full(similarity.shape[0], missing)
    for row, column in pairs.items():
        values[row] = similarity[row, column]
    return values
