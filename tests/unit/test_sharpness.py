"""The optional metric of sharpness."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageFilter

from fcbench.metrics.sharpness import Sharpness, sharpness
from fcbench.score import chosen_metrics
from fcbench.types import Case, Generation, Prompt, Stack, Subject
from tests.unit.test_metrics import blue

NOISE = np.repeat(np.random.default_rng(0).integers(64, 192, (96, 96, 1), dtype=np.uint8), 3, axis=2)


def test_white_noise_has_twenty_and_a_ramp_nothing() -> None:
    assert sharpness(NOISE) == pytest.approx(20, rel=0.05)
    ramp = np.broadcast_to(np.arange(96, dtype=np.uint8)[:, None, None], (96, 96, 3))
    assert sharpness(np.ascontiguousarray(ramp)) == pytest.approx(0, abs=1e-12)


def test_the_more_blurred_the_less_and_contrast_changes_nothing() -> None:
    values = [
        sharpness(np.asarray(Image.fromarray(NOISE).filter(ImageFilter.GaussianBlur(radius)))) for radius in (0, 1, 3)
    ]
    assert values[0] > 10 * values[1] > 100 * values[2]
    assert sharpness((NOISE // 2).astype(np.uint8)) == pytest.approx(values[0], rel=0.01)


def test_a_picture_of_one_colour_or_no_size_has_none() -> None:
    assert sharpness(np.full((9, 9, 3), 80, np.uint8)) == 0.0
    assert sharpness(NOISE[:2]) == 0.0


def test_it_is_optional_and_asks_no_role(tmp_path: Path) -> None:
    assert "sharpness" not in chosen_metrics()
    metric = chosen_metrics(["fcbench.metrics.sharpness:Sharpness"])["sharpness"]
    case = Case((Subject("a", "man", ()),), Prompt("snow", "{} in the snow", "context"), 0)
    (row,) = metric(Stack("bare", {}, 4), [Generation(case, blue(tmp_path / "9.png", 9), 0, 0, 0, 0)])
    assert isinstance(metric, Sharpness)
    assert row["sharpness"].value == 0.0
