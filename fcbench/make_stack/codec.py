"""The codec: a small AutoencoderKL, factor 4, 16 latent channels, trained for what the eye and the judges read.

Latent channels differ in spread by a factor of four, so their mean and standard deviation go into the model's
configuration (``latents_mean``, ``latents_std``), as diffusers' newer codecs keep them. This training decides what
latents are; :mod:`fcbench.make_stack.codec_refined` then decodes them better and leaves them where they are.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from diffusers import AutoencoderKL
from torch.nn import functional

from fcbench.images import to_tensor
from fcbench.loop import Clock, batch_generator, cosine, fast_autocast, run_steps


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
    """Train on random 32 px crops in bfloat16 for 80 % of the steps, then on whole pictures in float32."""
    torch.manual_seed(seed)
    codec = new_codec()
    optimiser = torch.optim.AdamW(codec.parameters(), lr=2e-3, weight_decay=1e-4, fused=True)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimiser, lambda k: cosine(k, steps))

    def step(k: int) -> dict[str, float]:
        whole = k >= steps * 0.8
        batch = _batch(pictures, batch_generator(seed, k), whole=whole)
        with fast_autocast("cpu", enabled=not whole):
            posterior = codec.encode(batch).latent_dist
            noise = torch.randn(posterior.mean.shape, generator=batch_generator(seed + 1, k))
            made = codec.decode(posterior.mean + posterior.std * noise).sample.float()
        loss = reconstruction_loss(made, batch) + 1e-5 * posterior.kl().mean() / 64
        optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(codec.parameters(), 1.0)
        optimiser.step()
        schedule.step()
        return {"loss": loss.item(), "psnr": psnr(made, batch)}

    run_steps(
        "codec", steps, step, {"codec": codec, "optimiser": optimiser, "schedule": schedule}, work / "codec.pt", clock
    )
    return measure_latents(codec.eval(), pictures)


def reconstruction_loss(made: torch.Tensor, truth: torch.Tensor) -> torch.Tensor:
    """L1 + L2 + L1 of horizontal and vertical differences, both (n, 3, h, w) in [-1, 1]."""
    edges = sum(functional.l1_loss(made.diff(dim=axis), truth.diff(dim=axis)) for axis in (2, 3))
    return functional.l1_loss(made, truth) + functional.mse_loss(made, truth) + edges


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


def _batch(pictures: npt.NDArray[np.uint8], generator: torch.Generator, *, whole: bool) -> torch.Tensor:
    if whole:
        rows = torch.randint(len(pictures), (8,), generator=generator).tolist()
        return to_tensor([pictures[i] for i in rows])
    rows = torch.randint(len(pictures), (24,), generator=generator).tolist()
    corners = torch.randint(33, (24, 2), generator=generator).tolist()
    return to_tensor([pictures[i, y : y + 32, x : x + 32] for i, (y, x) in zip(rows, corners, strict=True)])
