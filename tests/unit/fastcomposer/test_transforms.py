from __future__ import annotations

import numpy as np
import pytest

from fcbench.fastcomposer.transforms import fit_mask, fit_photo, fit_reference


@pytest.mark.parametrize("flip", [False, True])
@pytest.mark.parametrize(("height", "width"), [(60, 40), (40, 60), (50, 50), (61, 40), (40, 61), (40, 300)])
def test_a_mask_lies_on_its_subject_after_fitting(height: int, width: int, flip: bool) -> None:
    mask = np.zeros((height, width), bool)
    mask[5:30, width // 2 - 12 : width // 2 + 6] = True
    photo = np.where(mask, np.uint8(255), np.uint8(0))[..., None].repeat(3, axis=2)
    seen, made = fit_photo(photo, 32, flip=flip)[..., 0] / 255, fit_mask(mask, 32, flip=flip)
    assert made.shape == seen.shape == (32, 32)
    assert made.sum() > 50
    assert made[seen > 0.99].all()  # only pixels on the border may differ
    assert not made[seen < 0.01].any()


def test_a_photo_of_the_right_size_is_left_as_it_is() -> None:
    photo = np.random.default_rng(0).integers(0, 256, (16, 16, 3), dtype=np.uint8)
    assert (fit_photo(photo, 16) == photo).all()
    assert (fit_reference(photo, 16) == photo).all()
