from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from fcbench.errors import DataError
from fcbench.masks import Rle, box_of, decode_mask, encode_mask
from fcbench.types import Mask

masks = arrays.arrays(np.bool_, st.tuples(st.integers(1, 12), st.integers(1, 12)))


@settings(max_examples=50, deadline=None)
@given(masks)
def test_a_mask_survives_its_code(mask: Mask) -> None:
    decoded = decode_mask(encode_mask(mask))
    assert decoded.dtype == np.bool_
    np.testing.assert_array_equal(decoded, mask)


@settings(max_examples=50, deadline=None)
@given(masks)
def test_the_box_is_the_smallest_that_holds_the_mask(mask: Mask) -> None:
    x1, y1, x2, y2 = box_of(mask)
    assert mask[y1:y2, x1:x2].sum() == mask.sum()
    if mask.any():
        edges = mask[y1, x1:x2], mask[y2 - 1, x1:x2], mask[y1:y2, x1], mask[y1:y2, x2 - 1]
        assert all(edge.any() for edge in edges)


@pytest.mark.parametrize("counts", ["", "0", "zzzzzzzz", "é", "0000000000"])
def test_runs_that_do_not_fill_the_picture_are_refused(counts: str) -> None:
    with pytest.raises(DataError, match="run-length"):
        decode_mask(Rle(size=[4, 4], counts=counts))
