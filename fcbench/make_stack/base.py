"""The text-only base: to the miniature what Stable Diffusion is to the paper; all methods start from it.

The text encoder comes from the contrastive training and stays frozen, the codec's latents are made once.
"""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from diffusers import AutoencoderKL, EulerDiscreteScheduler, UNet2DConditionModel
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
from transformers import CLIPTextModel

from fcbench.attention import attend_in_blocks
from fcbench.diffusion import add_noise, training_scheduler
from fcbench.files import atomic
from fcbench.images import to_tensor
from fcbench.loop import Clock, batch_generator, cosine, fast_autocast, run_steps
from fcbench.make_stack.pool import Pool
from fcbench.sampling import encode_images

PART = 8_192
"""Pictures whose latents are kept together: what is redone after a kill."""


def new_unet(tokens_dim: int) -> UNet2DConditionModel:
    """The untrained denoiser of (16, 16, 16) latents: Stable Diffusion's blocks, attention at 8 x 8 and 4 x 4."""
    return UNet2DConditionModel(
        sample_size=16,
        in_channels=16,
        out_channels=16,
        layers_per_block=1,
        block_out_channels=(48, 96, 128),
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
        cross_attention_dim=tokens_dim,
        attention_head_dim=(1, 2, 4),
        norm_num_groups=8,
    )


def new_scheduler() -> EulerDiscreteScheduler:
    """Stable Diffusion's noise schedule, velocity prediction, Euler steps."""
    return EulerDiscreteScheduler(
        beta_schedule="scaled_linear", beta_start=0.00085, beta_end=0.012, prediction_type="v_prediction"
    )


def draw_latents(
    codec: AutoencoderKL, pools: Sequence[Pool], file: Path, clock: Clock, *, device: str = "cpu"
) -> npt.NDArray[np.float16]:
    """The scaled latents of all pools' pictures, float16 (n, 16, 16, 16), computed once and kept in ``file``.

    Until then parts are kept. Raises OutOfTimeError when the clock says so; the same call goes on.
    """
    parts = file.with_suffix("")
    if not file.exists():
        count = sum(len(pool.captions) for pool in pools)
        print(f"latents: {count} pictures", file=sys.stderr, flush=True)
        codec = codec.to(device)
        made = [_part(codec, pool, start, parts / f"{k}-{start:08d}.npy", clock) for k, pool, start in _starts(pools)]
        with atomic(file) as temporary:
            whole = np.lib.format.open_memmap(temporary, "w+", np.float16, (count, *np.load(made[0]).shape[1:]))
            begun = 0
            for path in made:
                part = np.load(path)
                whole[begun : begun + len(part)] = part
                begun += len(part)
            whole.flush()
    shutil.rmtree(parts, ignore_errors=True)  # also what a kill before this line has left
    found: npt.NDArray[np.float16] = np.load(file, mmap_mode="r")
    return found


def _starts(pools: Sequence[Pool]) -> Iterator[tuple[int, Pool, int]]:
    for k, pool in enumerate(pools):
        for start in range(0, len(pool.captions), PART):
            yield k, pool, start


@torch.no_grad()
def _part(codec: AutoencoderKL, pool: Pool, start: int, file: Path, clock: Clock) -> Path:
    """Have the latents of ``PART`` pictures lie in ``file``."""
    if not file.exists():
        clock.check(f"{file.parent.name} {file.stem}")
        pictures = pool.pictures[start : start + PART]
        chunks = [
            encode_images(codec, to_tensor(list(pictures[i : i + 128]), codec.device)).half().cpu().numpy()
            for i in range(0, len(pictures), 128)
        ]
        with atomic(file) as temporary, temporary.open("wb") as handle:
            np.save(handle, np.concatenate(chunks))
    return file


def train_base(
    latents: npt.NDArray[np.float16],
    ids: torch.Tensor,
    text_encoder: CLIPTextModel,
    work: Path,
    clock: Clock,
    *,
    steps: int,
    batch: int = 64,
    seed: int,
    device: str = "cpu",
) -> UNet2DConditionModel:
    """Train on latents (n, 16, 16, 16) and caption ids (n, tokens); returns the exponential moving average.

    One picture in ten gets the empty prompt, whose ids are the last row of ``ids``.
    """
    torch.manual_seed(seed)
    unet = new_unet(text_encoder.config.hidden_size).to(device, memory_format=torch.channels_last)
    attend_in_blocks(unet)
    average = AveragedModel(unet, multi_avg_fn=get_ema_multi_avg_fn(0.998))
    optimiser = torch.optim.AdamW(unet.parameters(), lr=1.5e-3, weight_decay=1e-2, fused=True)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimiser, lambda k: cosine(k, steps))
    scheduler = training_scheduler(new_scheduler())
    text_encoder = text_encoder.to(device).requires_grad_(False)

    def step(k: int) -> dict[str, float]:
        generator = batch_generator(seed, k)
        rows = torch.randint(len(latents), (batch,), generator=generator)
        empty = torch.rand(batch, generator=generator) < 0.1
        words = torch.where(empty[:, None], ids[-1:], ids[rows])
        with torch.no_grad():
            text = text_encoder(words.to(device)).last_hidden_state
        clean = torch.from_numpy(latents[rows.numpy()]).float().to(device, memory_format=torch.channels_last)
        noisy, target, times, weight = add_noise(scheduler, clean, generator)
        with fast_autocast(device):
            made = unet(noisy, times, text).sample.float()
        loss = (weight * (made - target).pow(2).mean(dim=(1, 2, 3))).mean()
        optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(unet.parameters(), 1.0)
        optimiser.step()
        schedule.step()
        average.update_parameters(unet)
        return {"loss": loss.item()}

    state = {"unet": unet, "average": average, "optimiser": optimiser, "schedule": schedule}
    run_steps("base", steps, step, state, work / "base.pt", clock)
    trained: UNet2DConditionModel = average.module
    return trained.eval()
