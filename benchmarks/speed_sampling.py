"""The ways to sample that ``speed.py`` compares: text only and FastComposer through our loop, and diffusers plainly."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.utils.flop_counter import FlopCounterMode

from baselines.stable_diffusion import StableDiffusion
from fcbench import sampling
from fcbench.fastcomposer.method import FastComposer
from fcbench.files import write_image
from fcbench.graphs import Replayed
from fcbench.types import Prompt, Stack, Subject

PROMPT = Prompt("snow", "{} in the snow", "context")


@dataclass(frozen=True)
class Way:
    """Something to time: ``work``, inside of ``around``, which is not timed.

    ``holds``: bytes that it keeps on the device from one turn to the next, which do not count in the others' peaks.
    """

    work: Callable[[], object]
    around: Callable[[], AbstractContextManager[object]] = nullcontext
    holds: Callable[[], int] = int


def sampling_ways(stack: Stack, scratch: Path, batch: int, steps: int) -> tuple[dict[str, Way], int]:
    """Ways to draw ``batch`` pictures, text only first; and how often each calls the U-Net."""
    subjects = [_subject(scratch)]
    prompts, seeds = [PROMPT] * batch, list(range(batch))

    def draw(method: Any) -> object:
        return method.fit(stack, subjects, seed=0, workdir=scratch)(prompts, seeds)

    ways = {
        "text only": Way(partial(draw, StableDiffusion(steps=steps))),
        "FastComposer": Way(partial(draw, FastComposer(steps=steps))),
        "diffusers' pipeline": Way(partial(_pipeline, stack, batch, steps), partial(plainly, stack)),
    }
    if stack.device.startswith("cuda"):
        ways["text only, CUDA graph"] = Way(partial(draw_text, stack, batch, steps, Replayed(stack.role("unet"))))
    return ways, sampling.denoiser_calls(stack.role("scheduler"), steps)


def low_memory_way(spared: Stack, batch: int, steps: int) -> dict[str, Way]:
    """Text only through our loop, on a stack with the low-memory option."""
    return {"text only, low memory": Way(partial(draw_text, spared, batch, steps))}


def draw_text(stack: Stack, batch: int, steps: int, unet: Any = None) -> object:
    """Draw ``batch`` pictures from one prompt."""
    text = sampling.encode_text(stack, [PROMPT.fill("a man")] * batch)
    return sampling.draw(stack, lambda call: text, range(batch), unet=unet, steps=steps)


@contextmanager
def plainly(stack: Stack) -> Iterator[None]:
    """The U-Net and VAE in torch's default memory layout."""
    models = [stack.role("unet"), stack.role("vae")]
    was = [_layout(model) for model in models]
    for model in models:
        model.to(memory_format=torch.contiguous_format)
    try:
        yield
    finally:
        for model, layout in zip(models, was, strict=True):
            model.to(memory_format=layout)


def check_calls(stack: Stack) -> Iterator[str]:
    """How far our U-Net calls are from plain ones: the relative L2 distance of one prediction, each way."""
    unet = stack.role("unet")
    generator = torch.Generator().manual_seed(0)
    shape = (2, unet.config.in_channels, unet.config.sample_size, unet.config.sample_size)
    latents = torch.randn(shape, generator=generator).to(stack.device, unet.dtype)
    text = sampling.encode_text(stack, ["", PROMPT.fill("a man")]).to(unet.dtype)
    time = torch.tensor(500, device=stack.device)
    with torch.no_grad():
        with plainly(stack):
            plain = unet(latents, time, text).sample.float()
        ours = sampling.channels_last(unet)(latents, time, text).sample.float()
        yield f"a U-Net call, ours against plain: relative L2 {_distance(ours, plain):.1e}"
        if stack.device.startswith("cuda"):
            replayed = Replayed(unet)(latents, time, text).sample.float()
            yield f"a U-Net call, from a CUDA graph against plain: relative L2 {_distance(replayed, plain):.1e}"


def unet_flops(stack: Stack) -> float:
    """Floating-point operations of one guided U-Net call for one picture; 0 where no peak is known to compare with."""
    if not stack.device.startswith("cuda"):
        return 0.0
    unet = stack.role("unet")
    size = unet.config.sample_size
    latents = torch.zeros(2, unet.config.in_channels, size, size, device=stack.device, dtype=unet.dtype)
    text = sampling.encode_text(stack, ["", ""]).to(unet.dtype)
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        unet(latents, torch.tensor(500, device=stack.device), text)
    return float(counter.get_total_flops())


def _pipeline(stack: Stack, batch: int, steps: int) -> object:
    from diffusers import StableDiffusionPipeline

    names = ("vae", "text_encoder", "tokenizer", "unet", "scheduler")
    pipeline = StableDiffusionPipeline(
        **{name: stack.role(name) for name in names},
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )
    pipeline.set_progress_bar_config(disable=True)
    return pipeline(
        [PROMPT.fill("a man")] * batch,
        num_inference_steps=steps,
        guidance_scale=stack.sampling["guidance"],
        output_type="np",
    )


def _subject(scratch: Path) -> Subject:
    photo = scratch / "photo.png"
    write_image(photo, np.random.default_rng(0).integers(0, 256, (256, 256, 3), np.uint8))
    return Subject("somebody", "man", (photo,))


def _layout(model: Any) -> torch.memory_format:
    kernel = next(parameter for parameter in model.parameters() if parameter.ndim == 4 and parameter.shape[-1] > 1)
    is_last = kernel.is_contiguous(memory_format=torch.channels_last)
    return torch.channels_last if is_last else torch.contiguous_format


def _distance(a: torch.Tensor, b: torch.Tensor) -> float:
    return float((a - b).norm() / b.norm())
