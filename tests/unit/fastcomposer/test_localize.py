from __future__ import annotations

import copy

import pytest
import torch
from diffusers import UNet2DConditionModel

from fcbench.attention import Attention, attend_in_blocks
from fcbench.fastcomposer.localize import Localizer, attention_inside, localization_loss, localized_layers
from fcbench.types import Stack


def test_the_layers_are_the_middle_blocks_of_stable_diffusion_s() -> None:
    with torch.device("meta"):
        unet = UNet2DConditionModel(
            block_out_channels=(8, 8, 8, 8), layers_per_block=1, norm_num_groups=4, cross_attention_dim=8
        )
    blocks = dict.fromkeys(name.split(".attentions")[0] for name in localized_layers(unet))
    assert list(blocks) == ["down_blocks.1", "down_blocks.2", "mid_block", "up_blocks.1", "up_blocks.2"]
    assert all(name.endswith("attn2") for name in localized_layers(unet))


@pytest.fixture
def inputs() -> tuple[torch.Tensor, ...]:
    generator = torch.Generator().manual_seed(0)
    latents, text = torch.randn(2, 4, 4, 4, generator=generator), torch.randn(2, 6, 16, generator=generator)
    return latents, torch.tensor([3, 500]), text


@torch.no_grad()
def test_watching_does_not_change_what_the_denoiser_predicts(stack: Stack, inputs: tuple[torch.Tensor, ...]) -> None:
    unet = copy.deepcopy(stack.role("unet"))
    before = unet(*inputs).sample
    localizer = Localizer(unet)
    torch.testing.assert_close(unet(*inputs).sample, before)
    with localizer.watch(torch.tensor([[2], [-1]]), torch.ones(2, 1, 16, 16)):
        torch.testing.assert_close(unet(*inputs).sample, before)


@torch.no_grad()
def test_a_denoiser_whose_blocks_attend_by_ours_predicts_the_same(
    stack: Stack, inputs: tuple[torch.Tensor, ...]
) -> None:
    unet = copy.deepcopy(stack.role("unet"))
    before = unet(*inputs).sample
    attend_in_blocks(unet)
    assert {type(processor) for processor in unet.attn_processors.values()} == {Attention}
    torch.testing.assert_close(unet(*inputs).sample, before)


def test_in_bfloat16_ours_is_at_most_twice_as_far_from_float32_as_diffusers_own(
    stack: Stack, inputs: tuple[torch.Tensor, ...]
) -> None:
    def gradients(ours: bool, autocast: bool) -> torch.Tensor:
        unet = copy.deepcopy(stack.role("unet")).requires_grad_(True)
        if ours:
            attend_in_blocks(unet)
        with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
            unet(*inputs).sample.float().pow(2).mean().backward()
        return torch.cat([p.grad.flatten() for p in unet.parameters() if p.grad is not None])

    exact = gradients(ours=False, autocast=False)
    ours, theirs = ((gradients(kind, autocast=True) - exact).norm() / exact.norm() for kind in (True, False))
    assert float(ours) < 0.05
    assert float(ours) < 2 * float(theirs)


def test_what_attends_otherwise_on_purpose_is_left(stack: Stack, inputs: tuple[torch.Tensor, ...]) -> None:
    unet = copy.deepcopy(stack.role("unet"))
    localizer = Localizer(unet)
    attend_in_blocks(unet)
    with localizer.watch(torch.tensor([[2], [1]]), torch.ones(2, 1, 16, 16)):
        unet(*inputs)
    assert set(localizer.layer_losses()) == set(localizer.layers)
    with pytest.raises(ValueError, match="masks are not taken"):
        unet(*inputs, encoder_attention_mask=torch.ones(2, 6))


def test_the_loss_has_a_gradient_and_is_not_kept(stack: Stack, inputs: tuple[torch.Tensor, ...]) -> None:
    unet = copy.deepcopy(stack.role("unet"))
    localizer = Localizer(unet)
    masks = torch.zeros(2, 1, 16, 16)
    masks[..., :8] = 1
    with localizer.watch(torch.tensor([[2], [1]]), masks):
        unet(*inputs)
    assert not localizer.watching
    localizer.loss().backward()
    assert any(layer.to_k.weight.grad is not None for layer in map(unet.get_submodule, localizer.layers))
    copy.deepcopy(unet)  # a graph tensor that is still held would make this raise


def test_attention_inside_the_mask_is_minus_one_and_rows_without_subjects_count_as_nought() -> None:
    masks = torch.tensor([[[1.0, 1.0, 0.0, 0.0]]])
    attention, valid = masks[:, None], torch.tensor([[True]])
    assert float(localization_loss(attention, masks, valid)) == pytest.approx(-1, abs=1e-4)
    assert float(localization_loss(1 - attention, masks, valid)) == pytest.approx(1, abs=1e-4)
    assert float(localization_loss(attention, masks, ~valid)) == 0


def test_the_share_of_attention_inside_the_mask_counts_each_subject_once() -> None:
    attention = torch.tensor([[[[0.3, 0.1, 0.4, 0.0], [0.1, 0.1, 0.1, 0.1]]]])  # one row, one head, two subjects
    masks = torch.tensor([[[1.0, 1.0, 0.0, 0.0], [0.0, 0.0, 0.0, 1.0]]])
    both, first = torch.tensor([[True, True]]), torch.tensor([[True, False]])
    assert float(attention_inside(attention, masks, first)) == pytest.approx(0.5, abs=1e-4)
    assert float(attention_inside(attention, masks, both)) == pytest.approx((0.5 + 0.25) / 2, abs=1e-4)


def test_another_measure_can_be_taken_in_the_loss_s_place(stack: Stack, inputs: tuple[torch.Tensor, ...]) -> None:
    unet = copy.deepcopy(stack.role("unet"))
    localizer = Localizer(unet, measure=attention_inside)
    with torch.no_grad(), localizer.watch(torch.tensor([[2], [1]]), torch.ones(2, 1, 16, 16)):
        unet(*inputs)
    assert float(localizer.loss()) == pytest.approx(1, abs=1e-3)  # the mask is everything
