"""The denoising objective, shared by every training: noise in, prediction's target and weight out."""

from __future__ import annotations

from typing import Any

import torch


def add_noise(scheduler: Any, latents: torch.Tensor, generator: torch.Generator) -> tuple[torch.Tensor, ...]:
    """Noise latents (n, c, h, w) at random times: (noisy latents, target, timesteps, weight (n,)).

    The target is the noise or the velocity, as the scheduler's ``prediction_type`` says. Velocity is weighted by
    min-SNR with gamma 5 (Hang et al., 2023), times 2; noise prediction by 1, as Stable Diffusion was.
    """
    count = scheduler.config.num_train_timesteps
    noise = torch.randn(latents.shape, generator=generator).to(latents)
    times = torch.randint(count, (len(latents),), generator=generator).to(latents.device)
    noisy = scheduler.add_noise(latents, noise, times)
    if scheduler.config.prediction_type == "epsilon":
        return noisy, noise, times, latents.new_ones(len(latents))
    signal = scheduler.alphas_cumprod.to(latents)[times]
    snr = signal / (1 - signal)
    return noisy, scheduler.get_velocity(latents, noise, times), times, 2 * snr.clamp(max=5) / (snr + 1)


def training_scheduler(scheduler: Any) -> Any:
    """The DDPM schedule that a sampling scheduler's configuration describes."""
    from diffusers import DDPMScheduler

    return DDPMScheduler.from_config(scheduler.config)
