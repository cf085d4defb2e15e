"""The recipe that trains the miniature stack's roles from nothing, one file a role.

What it leaves is the text-only base with its judges. FastComposer is trained from it as anybody would, with
``build-data`` and ``train``; ``fcbench make-stack`` chains the three and writes the card.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from fcbench.errors import UsageError
from fcbench.files import atomic_folder, digest_json, read_json, remove_temporaries, write_json
from fcbench.loop import Clock
from fcbench.make_stack.card import write_card
from fcbench.make_stack.pool import Pool, training_scene
from fcbench.make_stack.roles import copy_description, save_text_encoder
from fcbench.world import describe, render

if TYPE_CHECKING:
    from transformers import CLIPModel, CLIPTokenizer


@dataclass(frozen=True)
class Sizes:
    """How much of everything: steps of training, numbers of pictures. LOG.md says how the shipped stack arose."""

    scenes: int = 40_000
    groups: int = 1_200
    codec_steps: int = 5_600
    codec_refined_steps: int = 5_400
    clip_steps: int = 5_000
    matcher_steps: int = 400
    description_steps: int = 7_000
    segmenter_steps: int = 900
    captioner_steps: int = 6_600
    references: int = 14_000
    image_encoder_steps: int = 4_300
    base_scenes: int = 160_000
    base_groups: int = 4_800
    base_steps: int = 8_400
    face_people: int = 6_000
    attribute_scenes: int = 12_000
    attribute_steps: int = 1_800
    seed: int = 0


SIZES = Sizes()
DATASETS = {"world": (160_000, 0), "others": (100_000, 1)}
"""What FastComposer is trained on: number of photos, seed of their people; nobody is in both."""
RECIPES = {
    **dict.fromkeys(("mini", "mini-more", "mini-most", "mini-people", "mini-crowd", "mini-city"), "world"),
    "mini-pairs": "others",
}
"""Its training: recipes, each going on from the one before, and the dataset of each."""
IMAGE_ENCODER = "fastcomposer/image_encoder"
"""FastComposer's training leaves it as it is: the checkpoint's serves both."""
MODELS = (
    *("tokenizer", "text_encoder", "matcher", "segmenter", "captioner", "clip", IMAGE_ENCODER),
    *("vae", "scheduler", "unet"),
)


def make_base(folder: Path, work: Path, clock: Clock, *, device: str, sizes: Sizes = SIZES) -> None:
    """Train every role but FastComposer's into ``folder``; pictures and states lie in ``work``.

    A role whose folder exists is whole, and kept. ``device`` trains the face judges and the base, the CPU the
    rest. Raises OutOfTimeError when the clock says so; the same call goes on. UsageError where ``work`` was begun with
    other sizes, or by a version that draws another world.
    """
    for place in (folder, folder / "fastcomposer", work):
        remove_temporaries(place)
    _claim(work, sizes)
    copy_description(folder)
    _make_judges(folder, work, clock, device, sizes)
    if not all((folder / role).exists() for role in MODELS):
        _make_models(folder, work, clock, device, sizes)


def _claim(work: Path, sizes: Sizes) -> None:
    """Tie ``work`` to these sizes, or refuse: what was drawn and begun with others does not fit."""
    scene, file = training_scene(0), work / "recipe.json"
    world = digest_json([describe(scene, 0).text, hashlib.sha256(render(scene).image.tobytes()).hexdigest()])
    facts = {**asdict(sizes), "world": world}
    known = read_json(file) if file.exists() else facts
    if changed := [name for name in facts if known.get(name) != facts[name]]:
        raise UsageError(f"{work} was begun with another {', '.join(changed)}: take another --out, or delete it")
    write_json(file, facts)


def _make(role: Path, make: Callable[[Path], object]) -> None:
    """Have a role's folder made, as a whole, unless it exists."""
    if not role.exists():
        with atomic_folder(role) as place:
            make(place)


def _make_judges(folder: Path, work: Path, clock: Clock, device: str, sizes: Sizes) -> None:
    """Roles that need no other."""
    from fcbench.make_stack.attributes import draw_views, train_attributes
    from fcbench.make_stack.faces import train_faces
    from fcbench.make_stack.parser import train_parser
    from fcbench.stacks.attributes import save_attributes

    def attributes(place: Path) -> None:
        views = draw_views(sizes.attribute_scenes, work)
        save_attributes(place, train_attributes(views, work, clock, steps=sizes.attribute_steps, seed=sizes.seed))

    def faces(place: Path) -> None:
        train_faces(place, work, clock, people=sizes.face_people, seed=sizes.seed, device=device)

    _make(folder / "parser", lambda place: train_parser(place, seed=sizes.seed))
    _make(folder / "faces", faces)
    _make(folder / "attributes", attributes)


def _make_models(folder: Path, work: Path, clock: Clock, device: str, sizes: Sizes) -> None:
    """The transformers and diffusers models, from one set of pictures."""
    from fcbench.make_stack.clip import train_tokenizer
    from fcbench.make_stack.pool import draw_pool, draw_prompted

    pools = draw_pool(work, sizes.scenes), draw_prompted(work, sizes.groups)
    tokenizer = train_tokenizer([caption for pool in pools for caption in pool.captions])
    _make(folder / "tokenizer", tokenizer.save_pretrained)
    _make_encoders(folder, work, clock, pools, tokenizer, sizes)
    _make_denoiser(folder, work, clock, pools[0], tokenizer, sizes, device=device)


def _make_encoders(
    folder: Path, work: Path, clock: Clock, pools: tuple[Pool, Pool], tokenizer: CLIPTokenizer, sizes: Sizes
) -> None:
    """Text encoder, matcher, segmenter, captioner, the prompts' judge and the image encoder."""
    from fcbench.make_stack.captioner import save_captioner, train_captioner
    from fcbench.make_stack.clip import WIDTH, train_clip
    from fcbench.make_stack.image_encoder import kept_references, train_image_encoder
    from fcbench.make_stack.matcher import train_matcher
    from fcbench.make_stack.segmenter import save_segmenter, train_segmenter
    from fcbench.weights import save_half

    seed = sizes.seed

    def contrastive(name: str, seed: int) -> CLIPModel:
        return train_clip(name, *pools, tokenizer, work, clock, steps=sizes.clip_steps, seed=seed)

    def text_encoder(place: Path) -> None:
        save_text_encoder(place, contrastive("contrastive", seed + 11))

    def matcher(place: Path) -> None:
        steps, described = sizes.matcher_steps, sizes.description_steps
        clip = contrastive("contrastive", seed + 11)
        save_half(place, train_matcher(clip, tokenizer, work, clock, steps=steps, described=described, seed=seed))

    def segmenter(place: Path) -> None:
        save_segmenter(place, train_segmenter(work, clock, steps=sizes.segmenter_steps, seed=seed))

    def captioner(place: Path) -> None:
        save_captioner(place, *train_captioner(work, clock, steps=sizes.captioner_steps, seed=seed))

    def image_encoder(place: Path) -> None:
        references, steps = kept_references(sizes.references, work, seed=seed), sizes.image_encoder_steps
        save_half(place, train_image_encoder(references, work, clock, dim=WIDTH, steps=steps, seed=seed))

    _make(folder / "text_encoder", text_encoder)
    _make(folder / "matcher", matcher)
    _make(folder / "segmenter", segmenter)
    _make(folder / "captioner", captioner)
    _make(folder / "clip", lambda place: save_half(place, contrastive("clip", seed + 23)))
    _make(folder / IMAGE_ENCODER, image_encoder)


def _make_denoiser(
    folder: Path,
    work: Path,
    clock: Clock,
    scenes: Pool,
    tokenizer: CLIPTokenizer,
    sizes: Sizes,
    *,
    device: str,
) -> None:
    """Codec, schedule, and the text-only base, which has pictures of its own: most methods draw with it."""
    import torch
    from diffusers import AutoencoderKL
    from transformers import CLIPTextModel

    from fcbench.make_stack.base import draw_latents, new_scheduler, train_base
    from fcbench.make_stack.clip import tokenize
    from fcbench.make_stack.codec import train_codec
    from fcbench.make_stack.codec_refined import refine_codec
    from fcbench.make_stack.pool import draw_pool, draw_prompted
    from fcbench.weights import save_half

    seed, pictures = sizes.seed, scenes.pictures

    def codec(place: Path) -> None:
        first = train_codec(pictures, work, clock, steps=sizes.codec_steps, seed=seed)
        steps = sizes.codec_refined_steps
        save_half(place, refine_codec(first, pictures, work, clock, steps=steps, seed=seed + 5))

    def unet(place: Path) -> None:
        vae = AutoencoderKL.from_pretrained(folder / "vae").eval()
        words = CLIPTextModel.from_pretrained(folder / "text_encoder", dtype=torch.float32).eval()
        pools = draw_pool(work, sizes.base_scenes), draw_prompted(work, sizes.base_groups)
        latents, steps = draw_latents(vae, pools, work / "latents.npy", clock, device=device), sizes.base_steps
        ids = tokenize(tokenizer, [*(caption for pool in pools for caption in pool.captions), ""])
        save_half(place, train_base(latents, ids, words, work, clock, steps=steps, seed=seed, device=device))

    _make(folder / "vae", codec)
    _make(folder / "scheduler", new_scheduler().save_pretrained)
    _make(folder / "unet", unet)


__all__ = ["DATASETS", "RECIPES", "SIZES", "Sizes", "make_base", "write_card"]
