"""The one denoising loop, for every method, and the few steps around it.

A method gives the conditioning of each call of the denoiser; noise, schedule, guidance and decoding are the same for
all, so that two methods differ in nothing else. Public: plug-ins build on it.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import torch
from ftfy import fix_text

from fcbench.errors import UsageError
from fcbench.images import to_images
from fcbench.memory import on_device
from fcbench.types import Image, Stack

if TYPE_CHECKING:
    from diffusers import AutoencoderKL

DECODED = 4
"""Pictures that the VAE decodes at once: with 16 at 512 px it, not the method, would be the memory's peak (6 GiB in
half precision)."""

Conditioning = Callable[[int], torch.Tensor]
"""Call index -> text conditioning (n, tokens, dim): it may change from one call to the next."""


def tokenize(stack: Stack, texts: Sequence[str]) -> torch.Tensor:
    """Texts as ids, int64 (n, tokens): cleaned (ftfy), cut and padded to the tokenizer's length, as SD does."""
    tokenizer = stack.role("tokenizer")
    cleaned = [fix_text(text) for text in texts]  # CLIP's own tokenizer cleaned so; transformers 5 no longer does
    encoded = tokenizer(
        cleaned, padding="max_length", truncation=True, max_length=tokenizer.model_max_length, return_tensors="pt"
    )
    ids: torch.Tensor = encoded.input_ids
    return ids.to(stack.device)


@torch.no_grad()
def encode_text(stack: Stack, texts: Sequence[str]) -> torch.Tensor:
    """Texts as conditioning, (n, tokens, dim): the text encoder's last hidden state."""
    return encode_ids(stack, tokenize(stack, texts))


@torch.no_grad()
def encode_ids(stack: Stack, ids: torch.Tensor) -> torch.Tensor:
    """Ids, int64 (n, tokens), as conditioning, (n, tokens, dim)."""
    with on_device(stack, stack.role("text_encoder")) as encoder:
        hidden: torch.Tensor = encoder(ids).last_hidden_state
    return hidden


def initial_noise(seeds: Sequence[int], shape: Sequence[int]) -> torch.Tensor:
    """Unit noise (n, *shape), one CPU generator per seed: the same on every device and in every batch."""
    return torch.stack([torch.randn(tuple(shape), generator=torch.Generator().manual_seed(seed)) for seed in seeds])


def encode_images(vae: AutoencoderKL, batch: torch.Tensor, *, noise: torch.Tensor | None = None) -> torch.Tensor:
    """Pictures, float (n, 3, height, width) in [-1, 1], as scaled latents; the posterior's mode if no ``noise``."""
    posterior = vae.encode(batch.to(vae.dtype)).latent_dist
    latents = posterior.mode() if noise is None else posterior.mean + posterior.std * noise.to(vae.dtype)
    mean, std = _latent_statistics(vae, latents)
    scaled: torch.Tensor = (latents - mean) / std * vae.config.scaling_factor
    return scaled


def encode_posterior(vae: AutoencoderKL, batch: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Mean (the mode) and standard deviation of the scaled latents of pictures as ``encode_images`` takes them."""
    posterior = vae.encode(batch.to(vae.dtype)).latent_dist
    mean, std = _latent_statistics(vae, posterior.mean)
    scale = vae.config.scaling_factor / std
    return (posterior.mean - mean) * scale, posterior.std * scale


@torch.no_grad()
def scaled_posterior(stack: Stack, batch: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Mean and deviation of the scaled latents of pictures (n, 3, height, width), [-1, 1], on the stack's device."""
    with on_device(stack, stack.role("vae")) as vae:
        return encode_posterior(vae, batch.to(stack.device))


@torch.no_grad()
def decode_latents(vae: AutoencoderKL, latents: torch.Tensor) -> torch.Tensor:
    """Scaled latents as pictures, float (n, 3, height, width), about [-1, 1]."""
    mean, std = _latent_statistics(vae, latents)
    made: torch.Tensor = vae.decode((latents / vae.config.scaling_factor * std + mean).to(vae.dtype)).sample
    return made


@torch.no_grad()
def denoise(
    unet: Any,
    scheduler: Any,
    noise: torch.Tensor,
    conditioning: Conditioning,
    null: torch.Tensor,
    *,
    steps: int,
    guidance: float,
    seeds: Sequence[int] = (),
) -> torch.Tensor:
    """Unit noise (n, channels, height, width) to latents, by classifier-free guidance (Ho and Salimans, 2022).

    ``null`` (1, tokens, dim) is the conditioning without prompt, of as many tokens as ``conditioning``'s. The scheduler
    is copied: its state does not leak. ``seeds``: the pictures', from which a schedule that draws noise on the way gets
    it; without them it comes from the global state.
    """
    scheduler = type(scheduler).from_config(scheduler.config)
    scheduler.set_timesteps(steps)  # on the CPU, where a schedule looks its values up: a GPU need not be waited for
    times = scheduler.timesteps.to(noise.device)
    latents: torch.Tensor = noise * scheduler.init_noise_sigma
    nulls = null.expand(len(noise), -1, -1)
    drawing = _on_the_way(scheduler, seeds, noise.shape[1:])
    for call, timestep in enumerate(scheduler.timesteps):
        doubled = scheduler.scale_model_input(torch.cat([latents, latents]), timestep).to(unet.dtype)
        text = torch.cat([nulls, conditioning(call)]).to(unet.dtype)
        without, given = unet(doubled, times[call], text).sample.float().chunk(2)
        latents = scheduler.step(without + guidance * (given - without), timestep, latents, **drawing).prev_sample
    return latents


def _on_the_way(scheduler: Any, seeds: Sequence[int], shape: Sequence[int]) -> dict[str, Any]:
    """For a schedule whose steps draw noise: a CPU generator per picture, which goes on where its first noise ended."""
    if not seeds or "generator" not in inspect.signature(scheduler.step).parameters:
        return {}
    generators = [torch.Generator().manual_seed(seed) for seed in seeds]
    for generator in generators:
        torch.randn(tuple(shape), generator=generator)
    return {"generator": generators}


def denoiser_calls(scheduler: Any, steps: int) -> int:
    """How often ``steps`` steps call the denoiser (PNDM: once more)."""
    scheduler = type(scheduler).from_config(scheduler.config)
    scheduler.set_timesteps(steps)
    return len(scheduler.timesteps)


def draw(
    stack: Stack,
    conditioning: Conditioning,
    seeds: Sequence[int],
    *,
    unet: Any = None,
    null: torch.Tensor | None = None,
    steps: int = 0,
    guidance: float = 0,
) -> list[Image]:
    """Pictures from conditioning and seeds, by the stack's sampling defaults unless told otherwise.

    ``unet``: the method's own denoiser; the stack's if None. ``null`` (1, tokens, dim): what guidance leads away from,
    the empty prompt if None; a method whose conditioning has further tokens, of a picture, gives its own. ``steps`` and
    ``guidance``: 0 means the stack's.
    Convolutions' weights are laid out with the channels last, as they are computed; their values stay as they are.
    Raises UsageError where the U-Net and VAE draw another size than the stack's ``image_size``.
    """
    unet = channels_last(stack.role("unet") if unet is None else unet)
    _refuse_other_size(stack, unet)
    shape = (unet.config.in_channels, unet.config.sample_size, unet.config.sample_size)
    latents = denoise(
        unet,
        stack.role("scheduler"),
        initial_noise(seeds, shape).to(stack.device),
        conditioning,
        encode_text(stack, [""]) if null is None else null,
        steps=steps or stack.sampling["steps"],
        guidance=guidance or stack.sampling["guidance"],
        seeds=seeds,
    )
    with on_device(stack, stack.role("vae")) as vae:
        decoder = channels_last(vae)
        return [image for few in latents.split(DECODED) for image in to_images(decode_latents(decoder, few))]


def _refuse_other_size(stack: Stack, unet: Any) -> None:
    """Training fits photos to the stack's size, and pictures come out in the U-Net's: the two must be equal."""
    widths = getattr(stack.role("vae").config, "block_out_channels", None)
    if widths is None:  # a VAE of another kind does not say how much it enlarges
        return
    side = unet.config.sample_size * 2 ** (len(widths) - 1)
    if side != stack.image_size:
        raise UsageError(
            f"stack {stack.name}: image_size is {stack.image_size}, its U-Net and VAE draw {side} pixels: "
            f"set image_size: {side}"
        )


def channels_last(model: Any) -> Any:
    """``model``, its convolutions laid out in memory with the channels last; free where they already are."""
    return laid_out(model, torch.channels_last)


def laid_out(model: Any, layout: torch.memory_format) -> Any:
    """``model``, its convolutions in that layout. Layouts give the same values but for rounding."""
    if isinstance(model, torch.nn.Module):
        options: dict[str, Any] = {"memory_format": layout}  # torch's annotations do not know it
        model.to(**options)
    return model


def _latent_statistics(vae: AutoencoderKL, like: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    config = vae.config
    if getattr(config, "latents_mean", None) is None:
        return like.new_zeros(()), like.new_ones(())
    mean, std = like.new_tensor(config.latents_mean), like.new_tensor(config.latents_std)
    return mean[:, None, None], std[:, None, None]
