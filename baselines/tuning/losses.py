"""Noise in, prediction's error out: the losses of the reference scripts, always in float32."""

from __future__ import annotations

from typing import Any

import torch

from baselines.tuning.loop import Batch
from fcbench.errors import UsageError
from fcbench.types import Stack


def schedule_of(stack: Stack) -> Any:
    """The DDPM schedule that the stack's denoiser was trained with."""
    from diffusers import DDPMScheduler

    return DDPMScheduler.from_config(stack.role("scheduler").config)


def errors_of(unet: Any, schedule: Any, batch: Batch, text: torch.Tensor) -> torch.Tensor:
    """Squared errors (n, channels, height, width) of the predicted noise or velocity; ``text`` (n, tokens, dim)."""
    noisy = schedule.add_noise(batch.latents, batch.noise, batch.timesteps)
    made = unet(noisy, batch.timesteps, text.to(noisy.dtype)).sample
    kind = schedule.config.prediction_type
    if kind == "epsilon":
        target = batch.noise
    elif kind == "v_prediction":
        target = schedule.get_velocity(batch.latents, batch.noise, batch.timesteps)
    else:
        raise UsageError(f"the scheduler predicts {kind!r}: tuning knows epsilon and v_prediction")
    errors: torch.Tensor = (made.float() - target.float()) ** 2
    return errors


def with_prior(errors: torch.Tensor, weight: float) -> tuple[torch.Tensor, torch.Tensor]:
    """The subject's half of the errors, and the weighted mean of the class images' half (DreamBooth, section 3.2)."""
    subject, prior = errors.chunk(2)
    return subject, weight * prior.mean()


def snr_weight(schedule: Any, timesteps: torch.Tensor, gamma: float) -> torch.Tensor:
    """The min-SNR weight (n,) of each time (Hang et al., 2023): min(SNR, gamma) / SNR, or / (SNR + 1) for velocity."""
    signal = schedule.alphas_cumprod.to(timesteps.device)[timesteps].float()
    snr = signal / (1 - signal)
    weight: torch.Tensor = snr.clamp(max=gamma) / (snr if schedule.config.prediction_type == "epsilon" else snr + 1)
    return weight
