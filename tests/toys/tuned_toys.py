"""A miniature of the miniature: untrained models of the real classes, small enough to tune in a test."""

from __future__ import annotations

import os
import signal
import sys
import time
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import torch
from PIL import Image as Pillow

from fcbench.types import Stack, Subject

SIZE = 32


def tiny_stack() -> Stack:
    """The stack ``mini``'s tokenizer, and the rest untrained: latents of 8 x 8 with 4 channels, 16-wide text."""
    from diffusers import AutoencoderKL, DDIMScheduler, UNet2DConditionModel
    from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

    import fcbench

    tokenizer = CLIPTokenizer.from_pretrained(Path(fcbench.__file__).parent / "stacks" / "mini" / "tokenizer")
    torch.manual_seed(0)
    text = CLIPTextConfig(
        vocab_size=len(tokenizer),
        hidden_size=16,
        intermediate_size=32,
        num_hidden_layers=1,
        num_attention_heads=2,
        max_position_embeddings=tokenizer.model_max_length,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    unet = UNet2DConditionModel(
        sample_size=8,
        block_out_channels=(8, 16),
        layers_per_block=1,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
        cross_attention_dim=16,
        attention_head_dim=2,
        norm_num_groups=4,
    )
    vae = AutoencoderKL(
        block_out_channels=(8, 8, 8),
        down_block_types=("DownEncoderBlock2D",) * 3,
        up_block_types=("UpDecoderBlock2D",) * 3,
        norm_num_groups=4,
        sample_size=SIZE,
    )
    models = {
        "tokenizer": tokenizer,
        "text_encoder": CLIPTextModel(text).eval(),
        "vae": vae.eval(),
        "unet": unet.eval(),
        "scheduler": DDIMScheduler(beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear"),
    }
    load = {role: (lambda model=model: model) for role, model in models.items()}
    digests = dict.fromkeys(models, "tiny")
    return Stack("tiny", load, image_size=SIZE, digests=digests, sampling={"steps": 2, "guidance": 2.0})


def tiny_subjects(folder: Path, count: int = 2) -> list[Subject]:
    """Subjects with five photos of coloured noise each, larger than the stack's pictures."""
    subjects = []
    for number in range(count):
        files = tuple(folder / f"s{number}-{view}.png" for view in range(5))
        for view, file in enumerate(files):
            noise = np.random.default_rng([number, view]).integers(0, 256, (40, 36, 3), dtype=np.uint8)
            Pillow.fromarray(noise).save(file)
        subjects.append(Subject(f"s{number}", ("man", "woman")[number % 2], files))
    return subjects


def install() -> None:
    """In a worker: let ``load_stack`` give the tiny stack, keep a fit's state at every step, and die in one.

    TUNED_KILL is "SUBJECT MICRO-STEP"; TUNED_NOTES is a file for the micro-steps that were taken.
    """
    from baselines.tuning import loop
    from baselines.tuning import method as tuned
    from fcbench.run import calls

    sys.modules["fcbench.stacks"] = stacks = ModuleType("fcbench.stacks")
    stacks.load_stack = lambda name, *, device, random_weights, low_memory: tiny_stack()  # type: ignore[attr-defined]
    loop.SAVE_SECONDS, loop.SAVE_SHARE, loop.LOOK_EVERY, calls.NOTE_SECONDS = -1, 0, 1, 0.05
    tune = loop.tune

    def watched(tuner: Any, draw: Any, file: Path, title: str) -> None:
        def drawn(micro: int) -> Any:
            if f"{title.split()[-1]} {micro}" == os.environ.get("TUNED_KILL"):
                time.sleep(1)  # the runner notes that there is a fit to go on with
                os.kill(os.getpid(), signal.SIGKILL)
            if "TUNED_NOTES" in os.environ:
                with Path(os.environ["TUNED_NOTES"]).open("a") as notes:
                    notes.write(f"{micro}\n")
            return draw(micro)

        tune(tuner, drawn, file, title)

    vars(tuned)["tune"] = watched
