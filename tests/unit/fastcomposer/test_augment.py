from __future__ import annotations

import colorsys
from collections.abc import Callable
from random import Random

import numpy as np
import pytest
import torch

from fcbench.fastcomposer import augment as changes
from fcbench.fastcomposer.augment import augment, zoom_in


@pytest.fixture
def picture() -> torch.Tensor:
    return torch.rand(3, 32, 32, generator=torch.Generator().manual_seed(0))


def disc(side: int = 64, radius: float = 12, at: tuple[float, float] = (0, 0)) -> torch.Tensor:
    places = torch.arange(side) - side / 2 + 0.5
    y, x = places[:, None], places[None, :]
    return ((x - at[0]) ** 2 + (y - at[1]) ** 2 < radius**2).float().expand(3, -1, -1)


def middle(picture: torch.Tensor) -> tuple[float, float]:
    """The centre of mass, (x, y) from the picture's middle."""
    side = picture.shape[-1]
    places = torch.arange(side) - side / 2 + 0.5
    mass = picture[0] / picture[0].sum()
    return float((mass.sum(0) * places).sum()), float((mass.sum(1) * places).sum())


def test_augmenting_follows_from_the_seed_and_seeds_differ() -> None:
    image = np.random.default_rng(0).integers(0, 256, (24, 24, 3), dtype=np.uint8)
    made = [augment(image, Random(seed)) for seed in range(8)]
    assert all((augment(image, Random(seed)) == made[seed]).all() for seed in range(8))
    assert len({picture.tobytes() for picture in made}) == 8
    assert all(picture.shape == image.shape and picture.dtype == np.uint8 for picture in made)


def test_each_change_happens_as_often_as_it_should(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[str] = []

    def watch(name: str) -> Callable[[torch.Tensor, Random], torch.Tensor]:
        def change(picture: torch.Tensor, random: Random) -> torch.Tensor:
            seen.append(name)
            return picture

        return change

    monkeypatch.setattr(changes, "CHANGES", [(chance, watch(change.__name__)) for chance, change in changes.CHANGES])
    random = Random(0)
    for _ in range(2000):
        augment(np.zeros((4, 4, 3), np.uint8), random)
    shares = {name: seen.count(name) / 2000 for name in set(seen)}
    expected = {"rotate": 0.75, "jitter": 0.5, "blur": 0.5, "grey": 0.1, "mirror": 0.5, "bend": 0.5}
    assert shares == pytest.approx(expected, abs=0.04)


def test_rotating_keeps_the_distance_from_the_middle_and_turns_by_at_most_thirty_degrees() -> None:
    angles = []
    for seed in range(20):
        x, y = middle(changes.rotate(disc(radius=5, at=(20, 0)), Random(seed)))
        assert np.hypot(x, y) == pytest.approx(20, abs=0.3)
        angles.append(np.degrees(np.arctan2(y, x)))
    assert -30.5 < min(angles) < -15
    assert 15 < max(angles) < 30.5


@pytest.mark.parametrize("turn", [-0.5, -0.2, 0.0, 0.13, 0.5])
def test_hue_is_turned_as_in_hsv(picture: torch.Tensor, turn: float) -> None:
    made = changes.hue(picture, turn)
    for pixel, found in zip(picture.flatten(1).T[:50], made.flatten(1).T[:50], strict=True):
        h, s, v = colorsys.rgb_to_hsv(*pixel.tolist())
        assert found.tolist() == pytest.approx(colorsys.hsv_to_rgb((h + turn) % 1, s, v), abs=1e-5)


def test_greys_have_no_hue_to_turn() -> None:
    flat = torch.full((3, 2, 2), 0.4)
    torch.testing.assert_close(changes.hue(flat, 0.3), flat)


def test_factors_of_one_change_nothing_and_of_zero_leave_black_or_grey(picture: torch.Tensor) -> None:
    for change in (changes.brightness, changes.contrast, changes.saturation):
        torch.testing.assert_close(change(picture, 1.0), picture)
    luma = changes.to_grey(picture)
    assert not changes.brightness(picture, 0).any()
    torch.testing.assert_close(changes.contrast(picture, 0), luma.mean().expand_as(picture))
    torch.testing.assert_close(changes.saturation(picture, 0), luma.expand_as(picture))


def test_jitter_takes_every_factor_of_its_range_and_every_order(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[tuple[str, float]] = []

    def watch(name: str) -> Callable[[torch.Tensor, float], torch.Tensor]:
        def change(picture: torch.Tensor, factor: float) -> torch.Tensor:
            seen.append((name, factor))
            return picture

        return change

    ranges = {"brightness": (0.5, 1.5), "contrast": (0.5, 1.5), "saturation": (0.5, 1.5), "hue": (-0.5, 0.5)}
    for name in ranges:
        monkeypatch.setattr(changes, name, watch(name))
    for seed in range(300):
        changes.jitter(torch.zeros(3, 2, 2), Random(seed))
    for name, (least, most) in ranges.items():
        factors = [factor for known, factor in seen if known == name]
        assert len(factors) == 300
        assert least <= min(factors) < least + 0.02
        assert most - 0.02 < max(factors) <= most
    orders = {tuple(name for name, _ in seen[k : k + 4]) for k in range(0, len(seen), 4)}
    assert len(orders) == 24


def test_what_is_not_changed_keeps_every_value() -> None:
    image = np.arange(256, dtype=np.uint8).repeat(3).reshape(16, 16, 3)

    class Never(Random):
        def random(self) -> float:
            return 1.0

    assert (augment(image, Never()) == image).all()


def test_values_are_rounded_and_stay_in_range(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(changes, "CHANGES", [(1.0, lambda picture, random: picture + 0.6 / 255)])
    image = np.array([[[0, 100, 255]]], np.uint8)
    assert augment(image, Random(0)).tolist() == [[[1, 101, 255]]]


def test_blurring_reaches_two_pixels_far_and_bends_are_of_a_pixel_or_so() -> None:
    point = torch.zeros(3, 9, 9)
    point[:, 4, 4] = 1
    wide = max((changes.blur(point, Random(seed)) for seed in range(20)), key=lambda made: float(made[0, 4, 2]))
    assert float(wide[0, 4, 2]) > 0.01
    assert not wide[0, 4, 1].any()
    ramp = torch.arange(64.0).expand(3, 64, -1)
    moves = [float((changes.bend(ramp, Random(seed)) - ramp)[0, 16:-16, 16:-16].std()) for seed in range(20)]
    # Smoothed noise of variance 1/3 has that over 4 pi 5^2; 50 of 2 / side, of half a side a unit: in pixels 25 of it
    assert np.mean(moves) == pytest.approx(25 * (1 / 3 / (4 * np.pi * 25)) ** 0.5, rel=0.25)


def test_smoothing_keeps_flat_pictures_and_spreads_a_point_by_sigma() -> None:
    flat = torch.full((3, 9, 9), 0.3)
    torch.testing.assert_close(changes.smooth(flat, 1.3, 5), flat)
    point = torch.zeros(1, 41, 41)
    point[0, 20, 20] = 1
    places = torch.arange(41) - 20.0
    spread = (changes.smooth(point, 2.0, 25)[0].sum(0) * places**2).sum().sqrt()
    assert float(spread) == pytest.approx(2.0, rel=1e-3)


def test_bending_moves_a_few_pixels_and_keeps_what_is_flat() -> None:
    flat = torch.full((3, 48, 48), 0.5)
    torch.testing.assert_close(changes.bend(flat, Random(0))[:, 8:-8, 8:-8], flat[:, 8:-8, 8:-8])
    moved = changes.bend(disc(), Random(0))
    assert 0.003 < float((moved - disc()).abs().mean()) < 0.03  # of 0.11 that it covers: by a pixel or two
    assert middle(moved) == pytest.approx((0, 0), abs=3)
    assert changes.bend(disc(side=8, radius=2), Random(0)).shape == (3, 8, 8)


def test_zooming_in_keeps_the_top_of_half_of_the_portraits_and_the_whole_of_landscapes() -> None:
    portrait, landscape = np.zeros((30, 10, 3), np.uint8), np.zeros((10, 30, 3), np.uint8)
    portrait[:10] = 200
    made = [zoom_in(portrait, Random(seed)) for seed in range(200)]
    zoomed = [picture for picture in made if picture.shape[0] == picture.shape[1]]
    assert 70 < len(zoomed) < 130
    assert all(np.median(picture) == 200 and 10 <= len(picture) <= 20 for picture in zoomed)
    assert all(zoom_in(landscape, Random(seed)).shape[1] > 28 for seed in range(20))
