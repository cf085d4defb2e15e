"""The denoising objective, shared by every training: noise in, prediction's target and weight out."""

from __future__ import annotations

from typing import Any

import torch

from fcbench.errors import UsageError


def add_noise(scheduler: Any, latents: torch.Tensor, generator: torch.Generator) -> tuple[torch.Tensor, ...]:
    """Noise latents (n, c, h, w) at random times: (noisy latents, target, timesteps, weight (n,))."""
    noise = torch.randn(latents.shape, generator=generator).to(latents)
    times = torch.randint(scheduler.config.num_train_timesteps, (len(latents),), generator=generator)
    times = times.to(latents.device)
    noisy, target, weight = noised(scheduler, latents, noise, times)
    return noisy, target, times, weight


def noised(scheduler: Any, latents: torch.Tensor, noise: torch.Tensor, times: torch.Tensor) -> tuple[torch.Tensor, ...]:
    """Latents and unit noise (n, c, h, w) at given times (n,): (noisy latents, target, weight (n,)).

    The target is the noise or the velocity, as the scheduler's ``prediction_type`` says. Noise prediction is weighted
    by 1, as Stable Diffusion was; velocity by 2 x clamp(SNR, 1, 5) / (SNR + 1), that is, the clean picture by its SNR,
    kept between 1 (truncated as in Salimans and Ho, 2022) and 5 (min-SNR of Hang et al., 2023). Without the lower
    bound the noisiest half of the times, where prompt and subject decide most, would hardly count.
    """
    noisy = scheduler.add_noise(latents, noise, times)
    if scheduler.config.prediction_type == "epsilon":
        return noisy, noise, latents.new_ones(len(latents))
    signal = scheduler.alphas_cumprod.to(latents)[times]
    snr = signal / (1 - signal)
    return noisy, scheduler.get_velocity(latents, noise, times), 2 * snr.clamp(1, 5) / (snr + 1)


def training_scheduler(scheduler: Any) -> Any:
    """The DDPM schedule that a sampling scheduler's configuration describes.

    UsageError where its network predicts neither noise nor velocity: nothing here trains such a one.
    """
    from diffusers import DDPMScheduler

    if (kind := scheduler.config.prediction_type) not in ("epsilon", "v_prediction"):
        raise UsageError(f"the stack's scheduler says prediction_type: {kind}; trained are epsilon and v_prediction")
    return DDPMScheduler.from_config(scheduler.config)
