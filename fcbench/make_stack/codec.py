"""The codec: a small AutoencoderKL, factor 4, 16 latent channels, trained for what the eye and the judges read.

Latent channels differ in spread by a factor of four, so their mean and standard deviation go into the model's
configuration (``latents_mean``, ``latents_std``), as diffusers' newer codecs keep them.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from diffusers import AutoencoderKL
from torch.nn import functional

from fcbench.images import to_tensor
from fcbench.loop import Clock, batch_generator, level_then_down, run_steps
from fcbench.muon import Muon, muon_groups

BATCH = 6


def new_codec() -> AutoencoderKL:
    """The untrained codec: 64 px pictures to (16, 16, 16) latents."""
    return AutoencoderKL(
        down_block_types=("DownEncoderBlock2D",) * 3,
        up_block_types=("UpDecoderBlock2D",) * 3,
        block_out_channels=(16, 32, 64),
        layers_per_block=1,
        latent_channels=16,
        norm_num_groups=8,
        sample_size=64,
        scaling_factor=1.0,
        mid_block_add_attention=False,
    )


def train_codec(pictures: npt.NDArray[np.uint8], work: Path, clock: Clock, *, steps: int, seed: int) -> AutoencoderKL:
    """Train on whole pictures: normalisation over a crop is not what it is over a picture."""
    torch.manual_seed(seed)
    codec = new_codec()
    groups = muon_groups(codec, lr=0.02, adam_lr=2e-3, weight_decay=0.01)
    optimiser = Muon(groups)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimiser, lambda k: level_then_down(k, steps))

    def step(k: int) -> dict[str, float]:
        generator = batch_generator(seed, k)
        rows = torch.randint(len(pictures), (BATCH,), generator=generator).tolist()
        batch = to_tensor([pictures[i] for i in rows])
        posterior = codec.encode(batch).latent_dist
        noise = torch.randn(posterior.mean.shape, generator=generator)
        made = codec.decode(posterior.mean + posterior.std * noise).sample
        loss = reconstruction_loss(made, batch) + 3e-6 * posterior.kl().mean() / 64
        codec.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(codec.parameters(), 1.0)
        optimiser.step()
        schedule.step()
        return {"loss": loss.item(), "psnr": psnr(made, batch)}

    state = {"codec": codec, "optimiser": optimiser, "schedule": schedule}
    run_steps("codec", steps, step, state, work / "codec.pt", clock)
    return measure_latents(codec.eval(), pictures)


def reconstruction_loss(made: torch.Tensor, truth: torch.Tensor) -> torch.Tensor:
    """10 L2 + 0.3 (L1 + L1 of horizontal and vertical differences), both (n, 3, h, w) in [-1, 1]."""
    edges = sum(functional.l1_loss(made.diff(dim=axis), truth.diff(dim=axis)) for axis in (2, 3))
    return 10 * functional.mse_loss(made, truth) + 0.3 * (functional.l1_loss(made, truth) + edges)


def psnr(made: torch.Tensor, truth: torch.Tensor) -> float:
    """Peak signal-to-noise ratio in dB of pictures in [-1, 1]."""
    return float(-10 * torch.log10(functional.mse_loss(made.detach().clamp(-1, 1), truth) / 4))


@torch.no_grad()
def measure_latents(codec: AutoencoderKL, pictures: npt.NDArray[np.uint8]) -> AutoencoderKL:
    """Write the mean and standard deviation of each latent channel into the codec's configuration."""
    latents = codec.encode(to_tensor(list(pictures[:512]))).latent_dist.mean
    codec.register_to_config(
        latents_mean=[round(x, 5) for x in latents.mean(dim=(0, 2, 3)).tolist()],
        latents_std=[round(x, 5) for x in latents.std(dim=(0, 2, 3)).tolist()],
    )
    return codec
