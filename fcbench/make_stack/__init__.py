"""The recipe that trains the miniature stack's roles from nothing, one file a role.

What it leaves is the text-only base with its judges. FastComposer is trained from it as anybody would, with
``build-data`` and ``train``; ``fcbench make-stack`` chains the three and writes the card.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from fcbench.loop import Clock


@dataclass(frozen=True)
class Sizes:
    """How much of everything; the defaults made the weights that ship. Steps of training, numbers of pictures."""

    scenes: int = 40_000
    groups: int = 600
    codec_steps: int = 5_600
    clip_steps: int = 2_000
    base_steps: int = 7_000
    face_minutes: float = 60
    seed: int = 0


def make_base(folder: Path, work: Path, *, minutes: float, device: str, sizes: Sizes = Sizes()) -> None:
    """Train every role but FastComposer's into ``folder``; states lie in ``work`` until all is done.

    A role whose folder is there is kept. Raises loop.OutOfTime after ``minutes``; the same call goes on.
    """
    from fcbench.make_stack.faces import train_faces
    from fcbench.make_stack.parser import train_parser
    from fcbench.make_stack.roles import copy_description

    clock = Clock(minutes)
    copy_description(folder)
    if not (folder / "parser").exists():
        train_parser(folder / "parser", seed=sizes.seed)
    if not (folder / "faces" / "card.json").exists():
        train_faces(folder / "faces", minutes=min(minutes, sizes.face_minutes), seed=sizes.seed)
    _make_models(folder, work, clock, device, sizes)


def _make_models(folder: Path, work: Path, clock: Clock, device: str, sizes: Sizes) -> None:
    from diffusers import AutoencoderKL
    from transformers import CLIPTextModel, CLIPTokenizer

    from fcbench.make_stack.base import draw_latents, new_scheduler, train_base
    from fcbench.make_stack.clip import tokenize, train_clip, train_tokenizer
    from fcbench.make_stack.codec import train_codec
    from fcbench.make_stack.pool import draw_pool, draw_prompted
    from fcbench.make_stack.roles import save_contrastive, save_role

    if (folder / "unet").exists():
        return
    scenes, prompted = draw_pool(work, sizes.scenes), draw_prompted(work, sizes.groups)
    captions = [*scenes.captions, *prompted.captions]
    tokenizer = train_tokenizer(captions)
    if not (folder / "matcher").exists():
        clip = train_clip("matcher", scenes, prompted, tokenizer, work, clock, steps=sizes.clip_steps, seed=sizes.seed + 11)
        save_contrastive(folder, clip, tokenizer)
    if not (folder / "clip").exists():
        judge = train_clip("clip", scenes, prompted, tokenizer, work, clock, steps=sizes.clip_steps, seed=sizes.seed + 23)
        save_role(folder, "clip", judge)
    if not (folder / "vae").exists():
        codec = train_codec(scenes.pictures, work, clock, steps=sizes.codec_steps, seed=sizes.seed)
        save_role(folder, "vae", codec)
    new_scheduler().save_pretrained(folder / "scheduler")
    latents = draw_latents(AutoencoderKL.from_pretrained(folder / "vae").eval(), (scenes, prompted), work / "latents.npy")
    unet = train_base(
        latents,
        tokenize(CLIPTokenizer.from_pretrained(folder / "tokenizer"), [*captions, ""]),
        CLIPTextModel.from_pretrained(folder / "text_encoder").eval(),
        work,
        clock,
        steps=sizes.base_steps,
        seed=sizes.seed,
        device=device,
    )
    save_role(folder, "unet", unet)
