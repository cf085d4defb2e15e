"""The training forward pass, step by step, against the official model; FCBENCH_GOLDENS names another recording."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import Any

import pytest
import torch
from diffusers import DDPMScheduler

from fcbench.config import Recipe
from fcbench.diffusion import noised, training_scheduler
from fcbench.fastcomposer.encoder import embed_subjects
from fcbench.fastcomposer.localize import Localizer, localization_loss
from fcbench.fastcomposer.losses import denoising_loss, loss_mask
from fcbench.fastcomposer.model import FastComposerModel, token_mask
from fcbench.fastcomposer.official import official_name
from fcbench.images import to_tensor
from fcbench.sampling import encode_images, encode_posterior
from tests.golden.golden_stack import golden_stack, read, subject_maps, subject_positions, tensors

FACTS = read("c_train.json")
VARIANTS: Mapping[str, Any] = FACTS["variants"]


def golden(name: str) -> torch.Tensor:
    return tensors("c_train.safetensors")[name]


def close(made: torch.Tensor, expected: torch.Tensor) -> None:
    torch.testing.assert_close(made, expected, rtol=1e-4, atol=1e-5)


def pictures(stacked: torch.Tensor) -> torch.Tensor:
    """Uint8 pictures (n, 3, height, width) in the form that models take."""
    return to_tensor([picture.permute(1, 2, 0).numpy() for picture in stacked])


def masks() -> torch.Tensor:
    return subject_maps(golden("idmap"), golden("image_token_idx").shape[1])


def positions() -> torch.Tensor:
    return subject_positions(tensors("c_train.safetensors"))


def scheduler(prediction: str) -> DDPMScheduler:
    facts = read("stack_config.json")["scheduler"]
    return training_scheduler(DDPMScheduler(**facts, prediction_type=prediction))


def new_model() -> FastComposerModel:
    """Our training model with the recorded weights."""
    stack, fusion = golden_stack()
    model = FastComposerModel(stack, Recipe(name="golden", steps=1, vision_layers=2))
    model.fusion.load_state_dict(fusion.state_dict())
    return model


def predict(model: FastComposerModel) -> torch.Tensor:
    inputs = (golden("inter.noisy_latents"), golden("inter.timesteps"), golden("inter.text_hidden_before_fusion"))
    made: torch.Tensor = model(*inputs, token_mask(positions(), golden("input_ids").shape[1]), references())
    return made


def references() -> torch.Tensor:
    return pictures(golden("object_u8"))


@functools.cache
def trained(name: str, *, checkpointing: bool = False) -> tuple[dict[str, float], FastComposerModel]:
    """A variant's losses, and our model with the gradients of their sum."""
    facts, model = VARIANTS[name], new_model()
    if checkpointing:
        model.unet.enable_gradient_checkpointing()
    localizer = Localizer(
        model.unet,
        FACTS["localization_layers"],
        measure=functools.partial(localization_loss, normalize=facts["normalize"]),
    )
    with localizer.watch(positions(), masks()):
        losses = variant_losses(facts, predict(model), localizer)
        losses["loss"].backward()
    return {key: value.item() for key, value in losses.items()}, model


def variant_losses(facts: Any, made: torch.Tensor, localizer: Localizer) -> dict[str, torch.Tensor]:
    _, target, _ = noised(
        scheduler(facts["prediction_type"]), golden("inter.latents"), golden("inter.noise"), golden("inter.timesteps")
    )
    weight = torch.ones(len(made))
    losses = {"denoise_loss": denoising_loss(made, target, weight, masks() if facts["mask_loss_applied"] else None)}
    losses["loss"] = losses["denoise_loss"]
    if facts["object_localization"]:
        losses["localization_loss"] = localizer.loss()
        losses["loss"] = losses["loss"] + facts["object_localization_weight"] * losses["localization_loss"]
    return losses


def gradients(model: FastComposerModel) -> dict[str, torch.Tensor]:
    return {
        name: parameter.grad
        for name, parameter in trainable(model).items()
        if parameter.grad is not None  # a golden that wants it finds it missing
    }


def trainable(model: FastComposerModel) -> dict[str, torch.nn.Parameter]:
    """What our model trains, by official names."""
    return {
        official_name(*name.split(".", 1)): parameter  # role, rest
        for name, parameter in model.named_parameters()
        if parameter.requires_grad
    }


@torch.no_grad()
def test_the_autoencoder_gives_the_official_latents() -> None:
    vae, batch = golden_stack()[0].role("vae"), pictures(golden("pixel_u8"))
    posterior = vae.encode(batch).latent_dist
    close(posterior.mean, golden("inter.vae_mean"))
    close(posterior.logvar, golden("inter.vae_logvar"))
    close(encode_images(vae, batch), golden("inter.vae_mean") * vae.config.scaling_factor)
    drawn = (golden("inter.latents") / vae.config.scaling_factor - posterior.mean) / posterior.std
    close(encode_images(vae, batch, noise=drawn), golden("inter.latents"))
    mean, deviation = encode_posterior(vae, batch)
    close(mean + deviation * drawn, golden("inter.latents"))


def test_the_latents_are_noised_as_in_the_official_code() -> None:
    noisy, target, weight = noised(
        scheduler("epsilon"), golden("inter.latents"), golden("inter.noise"), golden("inter.timesteps")
    )
    close(noisy, golden("inter.noisy_latents"))
    assert torch.equal(target, golden("inter.noise"))
    assert torch.equal(weight, torch.ones(len(noisy)))


@torch.no_grad()
def test_the_text_and_the_subjects_are_fused_as_in_the_official_code() -> None:
    stack, fusion = golden_stack()
    encoded = stack.role("text_encoder")(golden("input_ids"))
    close(encoded.last_hidden_state, golden("inter.text_hidden_before_fusion"))
    close(encoded.pooler_output, golden("inter.text_pooled"))
    embeds = embed_subjects(stack.role("image_encoder"), references())
    at = token_mask(positions(), encoded.last_hidden_state.shape[1])
    assert torch.equal(at, golden("image_token_mask"))
    used = golden("image_token_idx_mask")
    close(embeds, golden("inter.object_embeds")[used][:, 0])
    close(fusion(encoded.last_hidden_state, embeds, at), golden("inter.hidden_after_fusion"))
    black = embed_subjects(stack.role("image_encoder"), torch.full_like(references()[:1], -1))
    close(black.expand(int((~used).sum()), -1), golden("inter.object_embeds")[~used][:, 0])


@torch.no_grad()
def test_references_of_another_size_are_resized_as_in_the_official_code() -> None:
    expected = golden("encoder_resize.object_embeds").flatten(0, 2)
    made = embed_subjects(
        golden_stack()[0].role("image_encoder"), pictures(golden("encoder_resize.object_u8").flatten(0, 1))
    )
    close(made, expected)


@torch.no_grad()
def test_the_prediction_and_the_loss_mask_are_the_official_ones() -> None:
    close(predict(new_model()), golden("inter.unet_pred"))
    close(loss_mask(masks(), golden("inter.latents").shape[-2:]), golden("inter.loss_mask"))


@pytest.mark.parametrize("name", VARIANTS)
def test_each_variant_s_losses_are_the_official_ones(name: str) -> None:
    losses, _ = trained(name)
    assert losses == pytest.approx(VARIANTS[name]["losses"], rel=1e-4, abs=1e-6)


def is_rounding(parameter: str) -> bool:
    """Whether a gradient is nought but for rounding: a key's bias moves all of a query's attention alike."""
    return parameter.endswith("k_proj.bias")


@pytest.mark.parametrize("name", VARIANTS)
def test_each_variant_s_gradients_have_the_official_size(name: str) -> None:
    found = gradients(trained(name)[1])
    for key, norm in VARIANTS[name]["grad_norms"].items():
        assert float(found[key].norm()) == pytest.approx(norm, rel=1e-3, abs=1e-8 if is_rounding(key) else 0), key
    assert set(found) == set(FACTS["trainable_parameters"]) - set(VARIANTS[name]["trainable_without_grad"])
    total = torch.stack([gradient.norm() for gradient in found.values()]).norm()
    assert float(total) == pytest.approx(VARIANTS[name]["total_grad_norm"], rel=1e-3)


def test_a_denoiser_that_checkpoints_its_gradients_has_the_same() -> None:
    heaviest = max(VARIANTS, key=lambda name: VARIANTS[name]["object_localization_weight"])
    (losses, model), (others, other) = trained(heaviest), trained(heaviest, checkpointing=True)
    assert losses == pytest.approx(others, rel=1e-6)
    expected = gradients(model)
    for name, gradient in gradients(other).items():
        torch.testing.assert_close(gradient, expected[name], rtol=1e-5, atol=1e-7, msg=name)


RECORDED = [key.removeprefix("grad.") for key in tensors("c_train.safetensors") if key.startswith("grad.")]


@pytest.mark.parametrize("key", RECORDED)
def test_recorded_gradients_are_met_value_by_value(key: str) -> None:
    name, _, parameter = key.partition(".")
    close(gradients(trained(name)[1])[parameter], golden(f"grad.{key}"))


@pytest.mark.parametrize("step", [key for key in FACTS if key.startswith("adamw_step_")])
def test_one_step_moves_every_parameter_as_far_as_the_official_one(step: str) -> None:
    facts, variant = FACTS[step], step.removeprefix("adamw_step_")
    parameters = trainable(trained(variant)[1])
    before = {name: value.detach().clone() for name, value in parameters.items()}
    norms = {name: value.norm().item() for name, value in gradients(trained(variant)[1]).items()}
    optimiser = torch.optim.AdamW(
        parameters.values(),
        lr=facts["lr"],
        betas=tuple(facts["betas"]),
        weight_decay=facts["weight_decay"],
        eps=facts["eps"],
    )
    torch.nn.utils.clip_grad_norm_(parameters.values(), facts["max_grad_norm"])
    optimiser.step()
    trained.cache_clear()  # its gradients are clipped and its weights moved
    assert parameters.keys() == set(facts["delta_l2"])
    for name, value in parameters.items():
        # A gradient far below Adam's epsilon moves a weight by lr x gradient / epsilon: here ours and theirs are noise.
        noise = facts["lr"] / facts["eps"] * (norms[name] + VARIANTS[variant]["grad_norms"][name])
        moved = (value - before[name]).norm().item()
        assert moved == pytest.approx(facts["delta_l2"][name], rel=1e-2, abs=noise if is_rounding(name) else 0), name
