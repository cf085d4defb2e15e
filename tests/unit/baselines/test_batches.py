"""What a tuned method's steps see: other orders, other noise, subjects before their class."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
import torch
from PIL import Image as Pillow

from baselines.tuning import batches
from baselines.tuning.batches import Batches, View, open_photo
from baselines.tuning.losses import snr_weight
from fcbench.types import Stack

WORDS = {"ann": 1, "a woman": 2}


class FourPhotos:
    """Photo n is a picture of n; beside it one of the class, of 10 + n."""

    length = 4

    def look(self, item: int, generator: torch.Generator) -> tuple[Sequence[View], Sequence[View]]:
        def view(caption: str, shade: int) -> View:
            return View(caption, lambda: torch.full((3, 2, 2), float(shade)), key=shade)

        return [view("ann", item)], [view("a woman", 10 + item)]


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> Batches:
    """Batches of two photos whose posteriors have the picture's shade as their mean and a deviation of 0.01."""
    monkeypatch.setattr(batches, "tokenize", lambda stack, texts: torch.tensor([[WORDS[text]] for text in texts]))
    monkeypatch.setattr(
        batches, "scaled_posterior", lambda stack, pixels: (pixels[:, :1], torch.full_like(pixels[:, :1], 0.01))
    )
    scheduler = SimpleNamespace(config=SimpleNamespace(num_train_timesteps=1000))
    stack = Stack("toy", {"scheduler": lambda: scheduler}, 2)
    return Batches(stack, FourPhotos(), batch_size=2, seed=0, keep=True)


def shades(batch: Any) -> list[int]:
    return [round(value) for value in batch.latents.mean((1, 2, 3)).tolist()]


def test_a_pass_shows_every_photo_once_and_each_pass_in_its_own_order(made: Batches) -> None:
    orders = [shades(made(micro))[:2] + shades(made(micro + 1))[:2] for micro in range(0, 12, 2)]
    assert all(sorted(order) == [0, 1, 2, 3] for order in orders)
    assert len(set(map(tuple, orders))) > 1


def test_the_subject_s_half_comes_first_then_its_class_in_the_same_order(made: Batches) -> None:
    batch = made(0)
    assert batch.ids[:, 0].tolist() == [1, 1, 2, 2]
    assert [shade + 10 for shade in shades(batch)[:2]] == shades(batch)[2:]


def test_the_posterior_s_draw_is_not_the_noise_that_is_added(made: Batches) -> None:
    batch = made(0)
    means = torch.tensor(shades(batch), dtype=torch.float32)[:, None, None, None]
    assert not torch.allclose((batch.latents - means) / 0.01, batch.noise, atol=1e-2)
    assert not torch.equal(batch.noise, made(1).noise)
    assert torch.equal(batch.noise, made(0).noise)


def test_photos_are_turned_as_their_exif_says(tmp_path: Path) -> None:
    pixels = np.arange(24, dtype=np.uint8).reshape(2, 4, 3)
    tags = Pillow.Exif()
    tags[0x0112] = 6  # to be shown a quarter turn to the right
    Pillow.fromarray(pixels).save(tmp_path / "a.png", exif=tags)
    assert (np.asarray(open_photo(tmp_path / "a.png")) == np.rot90(pixels, -1)).all()


@pytest.mark.parametrize(
    ("kind", "weights"), [("epsilon", [1.0, 1.0, 0.5]), ("v_prediction", [0.5 / 1.5, 4 / 5, 5 / 11])]
)
def test_a_time_s_weight_is_its_signal_cut_at_five(kind: str, weights: list[float]) -> None:
    snr = torch.tensor([0.5, 4.0, 10.0])
    schedule = SimpleNamespace(config=SimpleNamespace(prediction_type=kind), alphas_cumprod=snr / (1 + snr))
    assert snr_weight(cast(Any, schedule), torch.arange(3), 5.0).tolist() == pytest.approx(weights, rel=1e-5)
