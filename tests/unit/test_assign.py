from __future__ import annotations

from itertools import permutations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from fcbench.metrics.assign import greedy, hungarian, matched

SIMILARITY = st.integers(1, 4).flatmap(
    lambda rows: st.integers(1, 4).flatmap(lambda columns: arrays(float, (rows, columns), elements=st.floats(-1, 1)))
)


@settings(max_examples=30, deadline=None)
@given(SIMILARITY)
def test_every_matching_is_one_to_one_and_as_large_as_it_can_be(similarity: np.ndarray) -> None:
    for match in (greedy, hungarian):
        pairs = match(similarity)
        assert len(set(pairs.values())) == len(pairs) == min(similarity.shape)


@settings(max_examples=30, deadline=None)
@given(SIMILARITY)
def test_hungarian_has_the_largest_sum(similarity: np.ndarray) -> None:
    wide = similarity if similarity.shape[0] <= similarity.shape[1] else similarity.T
    rows = range(wide.shape[0])
    orders = permutations(range(wide.shape[1]), len(rows))
    best = max(sum(wide[row, column] for row, column in zip(rows, order, strict=True)) for order in orders)
    assert sum(similarity[r, c] for r, c in hungarian(similarity).items()) == pytest.approx(best)


def test_a_row_without_a_column_is_missing() -> None:
    similarity = np.array([[0.2], [0.7]])
    assert matched(similarity, greedy(similarity)).tolist() == [0.0, 0.7]
