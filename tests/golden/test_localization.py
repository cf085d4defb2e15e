"""Localised attention inside a real denoiser against the official loss; FCBENCH_GOLDENS names another recording."""

from __future__ import annotations

import copy
from functools import partial

import pytest
import torch
from diffusers import UNet2DConditionModel

from fcbench.fastcomposer.localize import Localizer, localization_loss, localized_layers
from tests.golden.golden_stack import golden_stack, read, subject_maps, subject_positions, tensors

FACTS = read("b_loc_unet.json")


@pytest.mark.parametrize("normalize", [False, True])
def test_the_loss_of_a_watched_forward_pass_is_the_official_one(normalize: bool) -> None:
    golden = tensors("b_loc_unet.safetensors")
    expected = FACTS["expected"][f"normalize_{str(normalize).lower()}"]
    unet = copy.deepcopy(golden_stack()[0].role("unet"))
    localizer = Localizer(unet, measure=partial(localization_loss, normalize=normalize))
    masks = subject_maps(golden["idmap"], golden["image_token_idx"].shape[1])
    for _ in range(2):  # the sum over layers is asked for the first time, the layers the second
        with torch.no_grad(), localizer.watch(subject_positions(golden), masks):
            made = unet(golden["sample"], golden["timesteps"], golden["encoder_hidden_states"]).sample
        torch.testing.assert_close(made, golden["output"], rtol=1e-4, atol=1e-5)
        if not _:
            assert float(localizer.loss()) == pytest.approx(expected["mean"], rel=1e-4, abs=1e-6)
    losses = {name: float(loss) for name, loss in localizer.layer_losses().items()}
    assert list(losses) == FACTS["stored_layers_in_forward_order"]
    for name, value in expected["per_layer"].items():
        assert losses[name] == pytest.approx(value, rel=1e-4, abs=1e-6), name


@pytest.mark.parametrize("blocks", FACTS["layers_by_count"])
def test_the_layers_of_the_recorded_denoiser_are_the_official_ones(blocks: str) -> None:
    unet = golden_stack()[0].role("unet")
    assert set(localized_layers(unet, int(blocks))) == set(FACTS["layers_by_count"][blocks])


@pytest.mark.parametrize("blocks", FACTS["sd15_layers_by_count"])
def test_the_layers_of_stable_diffusion_are_the_official_ones(blocks: str) -> None:
    with torch.device("meta"):
        unet = UNet2DConditionModel(sample_size=64, cross_attention_dim=768, attention_head_dim=8)
    assert set(localized_layers(unet, int(blocks))) == set(FACTS["sd15_layers_by_count"][blocks])
