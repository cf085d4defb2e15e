"""The low-memory option: who waits on the CPU, and that pictures differ by no more than tiles make them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from fcbench.memory import on_device, spare
from fcbench.types import Stack


class Traveller(torch.nn.Linear):
    """Notes where it was sent."""

    def __init__(self) -> None:
        super().__init__(1, 1)
        self.places: list[str] = []

    def to(self, *args: Any, **options: Any) -> Any:
        self.places.append(str(args[0]))
        return self


def test_a_model_visits_the_device_and_leaves_it_even_after_an_error() -> None:
    model = Traveller()
    with pytest.raises(ZeroDivisionError), on_device(Stack("s", {}, 8, device="cuda", low_memory=True), model):
        1 / 0  # noqa: B018
    assert model.places == ["cuda", "cpu"]


def test_without_the_option_nothing_moves() -> None:
    model = Traveller()
    with on_device(Stack("s", {}, 8, device="cuda"), model) as same:
        assert same is model
    assert model.places == []


def test_the_denoiser_is_no_visitor() -> None:
    model = Traveller()
    assert spare("unet", model) is model
    assert model.places == []
    assert spare("text_encoder", model).places == ["cpu"]


@pytest.mark.weights
def test_pictures_stay_near_those_drawn_at_once() -> None:
    from baselines.stable_diffusion import TextOnlySampler
    from fcbench.stacks import load_stack
    from fcbench.testing import PROMPTS

    usual, spared = load_stack("mini"), load_stack("mini", low_memory=True)
    vae = spared.role("vae")
    assert vae.use_slicing
    assert vae.use_tiling
    assert vae.tile_latent_min_size * 2 == spared.role("unet").config.sample_size
    a, b = (TextOnlySampler(stack, "a man", 2, 0.0)(PROMPTS[:1], [0])[0].astype(float) for stack in (usual, spared))
    other = TextOnlySampler(usual, "a man", 2, 0.0)(PROMPTS[:1], [1])[0].astype(float)
    assert 0 < np.abs(a - b).mean() < np.abs(a - other).mean() / 3, "tiles change a picture, but not into another"
    assert np.corrcoef(a.ravel(), b.ravel())[0, 1] > 0.98
