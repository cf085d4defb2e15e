"""The recipe that trains the miniature stack's roles from nothing, one file a role.

What it leaves is the text-only base with its judges. FastComposer is trained from it as anybody would, with
``build-data`` and ``train``; ``fcbench make-stack`` chains the three and writes the card.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from fcbench.loop import Clock
from fcbench.make_stack.card import write_card


@dataclass(frozen=True)
class Sizes:
    """How much of everything: steps of training, numbers of pictures. LOG.md says how what ships came about."""

    scenes: int = 40_000
    groups: int = 1_200
    codec_steps: int = 5_600
    codec_refined_steps: int = 5_400
    clip_steps: int = 5_000
    matcher_steps: int = 400
    description_steps: int = 7_000
    segmenter_steps: int = 900
    captioner_steps: int = 2_400
    references: int = 14_000
    image_encoder_steps: int = 4_300
    base_steps: int = 5_600
    attribute_scenes: int = 12_000
    attribute_steps: int = 1_800
    seed: int = 0


SIZES = Sizes()
PHOTOS = 24_000
"""How many photos FastComposer is trained on."""


def make_base(folder: Path, work: Path, clock: Clock, *, device: str, sizes: Sizes = SIZES) -> None:
    """Train every role but FastComposer's into ``folder``; states lie in ``work``.

    A role whose folder is there is kept. Raises OutOfTimeError when the clock says so; the same call goes on.
    """
    from fcbench.make_stack.faces import train_faces
    from fcbench.make_stack.parser import train_parser
    from fcbench.make_stack.roles import copy_description

    copy_description(folder)
    if not (folder / "parser").exists():
        train_parser(folder / "parser", seed=sizes.seed)
    if not (folder / "faces" / "card.json").exists():
        train_faces(folder / "faces", clock, seed=sizes.seed)
    if not (folder / "attributes").exists():
        make_attributes(folder / "attributes", work, clock, sizes=sizes)
    _make_models(folder, work, clock, device, sizes)


def make_attributes(folder: Path, work: Path, clock: Clock, *, sizes: Sizes = SIZES) -> None:
    """Train the reader of attributes into ``folder``; its views and state lie in ``work``."""
    from fcbench.make_stack.attributes import draw_views, train_attributes
    from fcbench.stacks.attributes import save_attributes

    views = draw_views(sizes.attribute_scenes, work)
    save_attributes(folder, train_attributes(views, work, clock, steps=sizes.attribute_steps, seed=sizes.seed))


def _make_models(folder: Path, work: Path, clock: Clock, device: str, sizes: Sizes) -> None:
    import torch
    from diffusers import AutoencoderKL
    from transformers import CLIPTextModel, CLIPTokenizer

    from fcbench.make_stack.base import draw_latents, new_scheduler, train_base
    from fcbench.make_stack.clip import WIDTH, tokenize, train_clip, train_tokenizer
    from fcbench.make_stack.codec import train_codec
    from fcbench.make_stack.codec_refined import refine_codec
    from fcbench.make_stack.image_encoder import draw_references, train_image_encoder
    from fcbench.make_stack.matcher import train_matcher
    from fcbench.make_stack.pool import draw_pool, draw_prompted
    from fcbench.make_stack.roles import save_contrastive
    from fcbench.weights import save_half

    if (folder / "unet").exists():
        return
    scenes, prompted = draw_pool(work, sizes.scenes), draw_prompted(work, sizes.groups)
    captions = [*scenes.captions, *prompted.captions]
    tokenizer = train_tokenizer(captions)
    if not (folder / "matcher").exists():
        clip = train_clip(
            "contrastive", scenes, prompted, tokenizer, work, clock, steps=sizes.clip_steps, seed=sizes.seed + 11
        )
        save_contrastive(folder, clip, tokenizer)
        matcher = train_matcher(
            clip,
            tokenizer,
            work,
            clock,
            steps=sizes.matcher_steps,
            described=sizes.description_steps,
            seed=sizes.seed,
        )
        save_half(folder / "matcher", matcher)
    _make_labellers(folder, work, clock, sizes)
    if not (folder / "clip").exists():
        judge = train_clip(
            "clip", scenes, prompted, tokenizer, work, clock, steps=sizes.clip_steps, seed=sizes.seed + 23
        )
        save_half(folder / "clip", judge)
    frozen = folder / "fastcomposer" / "image_encoder"  # FastComposer's training leaves it as it is
    if not frozen.exists():
        references = draw_references(sizes.references, seed=sizes.seed)
        image_encoder = train_image_encoder(
            references, work, clock, dim=WIDTH, steps=sizes.image_encoder_steps, seed=sizes.seed
        )
        save_half(frozen, image_encoder)
    if not (folder / "vae").exists():
        codec = train_codec(scenes.pictures, work, clock, steps=sizes.codec_steps, seed=sizes.seed)
        codec = refine_codec(codec, scenes.pictures, work, clock, steps=sizes.codec_refined_steps, seed=sizes.seed + 5)
        save_half(folder / "vae", codec)
    new_scheduler().save_pretrained(folder / "scheduler")
    latents = draw_latents(
        AutoencoderKL.from_pretrained(folder / "vae").eval(), (scenes, prompted), work / "latents.npy"
    )
    unet = train_base(
        latents,
        tokenize(CLIPTokenizer.from_pretrained(folder / "tokenizer"), [*captions, ""]),
        CLIPTextModel.from_pretrained(folder / "text_encoder", dtype=torch.float32).eval(),
        work,
        clock,
        steps=sizes.base_steps,
        seed=sizes.seed,
        device=device,
    )
    save_half(folder / "unet", unet)


def _make_labellers(folder: Path, work: Path, clock: Clock, sizes: Sizes) -> None:
    """What build-data labels photos with, beside parser and matcher."""
    import torch
    from transformers import CLIPModel

    from fcbench.make_stack.captioner import save_captioner, train_captioner
    from fcbench.make_stack.segmenter import save_segmenter, train_segmenter

    if not (folder / "segmenter").exists():
        segmenter = train_segmenter(work, clock, steps=sizes.segmenter_steps, seed=sizes.seed)
        save_segmenter(folder / "segmenter", segmenter)
    if not (folder / "captioner").exists():
        matcher = CLIPModel.from_pretrained(folder / "matcher", dtype=torch.float32)
        save_captioner(
            folder / "captioner",
            *train_captioner(matcher, work, clock, steps=sizes.captioner_steps, seed=sizes.seed),
        )


__all__ = ["PHOTOS", "SIZES", "Sizes", "make_attributes", "make_base", "write_card"]
