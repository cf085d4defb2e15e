"""What the codec loses: in decibels, in colour (hair, skin and clothes apart), and in what the judges then read."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from diffusers import AutoencoderKL

from fcbench.files import write_image
from fcbench.images import read_image, to_images, to_tensor
from fcbench.make_stack.codec import psnr
from fcbench.make_stack.face_pool import FacePool
from fcbench.make_stack.judge_scores import area_under_curve, find_faces, pair_cosines
from fcbench.metrics.prompt import PromptConsistency
from fcbench.types import Generation, Image, Mask, Stack
from fcbench.world import Figure, draw_person, draw_scene, render
from fcbench.world.vocabulary import COLOURS

NEAR = 40
"""A pixel of a person is hair, skin or clothes if its RGB is nearer than this to that colour."""
BATCH = 64


@torch.no_grad()
def reconstruct(codec: AutoencoderKL, pictures: Sequence[Image]) -> list[Image]:
    """Pictures through the codec and back."""
    return [
        image
        for begin in range(0, len(pictures), BATCH)
        for image in to_images(
            codec.decode(codec.encode(to_tensor(list(pictures[begin : begin + BATCH]))).latent_dist.mode()).sample
        )
    ]


@torch.no_grad()
def codec_scores(codec: AutoencoderKL, pictures: list[Image]) -> dict[str, float]:
    """PSNR in dB, and how colour survives.

    Chroma is the length of (red - green, (red + green) / 2 - blue). Over the most colourful quarter of the pixels:
    mean chroma after as a share of before, and the mean chroma distance as a share of before.
    """
    truth = to_tensor(pictures)
    made = codec.decode(codec.encode(truth).latent_dist.mode()).sample.clamp(-1, 1)
    before, after = _opponent(truth), _opponent(made)
    strength = before.norm(dim=1)
    vivid = strength > max(float(strength.quantile(0.75)), 0.1)
    return {
        "psnr_db": psnr(made, truth),
        "saturation_kept": float(after.norm(dim=1)[vivid].mean() / strength[vivid].mean()),
        "chroma_error": float((after - before).norm(dim=1)[vivid].mean() / strength[vivid].mean()),
    }


def part_scores(codec: AutoencoderKL, first: int, count: int) -> dict[str, float]:
    """The mean chroma distance, for hair, skin and clothes apart, in the same units as RGB from 0 to 1.

    ``count`` photos of one person each, people from ``first`` on.
    """
    scenes = [draw_scene([draw_person(first + i)], 95_000_000 + i) for i in range(count)]
    scenes = [replace(scene, style="photo", light=1.0) for scene in scenes]
    renders = [render(scene) for scene in scenes]
    images = [drawn.image for drawn in renders]
    before, after = (_opponent(to_tensor(found)) / 2 for found in (images, reconstruct(codec, images)))
    distance = (after - before).norm(dim=1).numpy()
    parts: dict[str, list[npt.NDArray[np.float32]]] = {}
    for row, (scene, drawn) in enumerate(zip(scenes, renders, strict=True)):
        for name, mask in _parts(drawn.image, drawn.figures[0].mask, scene.figures[0]):
            parts.setdefault(name, []).append(distance[row][mask])
    return {f"chroma_error_{name}": float(np.concatenate(found).mean()) for name, found in parts.items()}


def judges_through(stack: Stack, rows: Sequence[Generation], pool: FacePool, work: Path) -> dict[str, float]:
    """What the judges read off reconstructions, less what they read off the originals: negative is a loss.

    ``rows`` are real renders for the prompt judge, ``pool`` faces for the identity judge, ``work`` takes pictures.
    """
    codec, app = stack.role("vae"), stack.role("faces")
    made = []
    for row, image in zip(rows, reconstruct(codec, [read_image(row.image) for row in rows]), strict=True):
        file = work / row.image.name
        write_image(file, image)
        made.append(replace(row, image=file))
    prompt = [_right(stack, found) for found in (rows, made)]
    through = replace(pool, images=np.stack(reconstruct(codec, list(pool.images))))
    known = [_known(app, found) for found in (pool, through)]
    return {"prompt_change": prompt[1] - prompt[0], "auc_change": known[1] - known[0]}


def _parts(image: Image, person: Mask, figure: Figure) -> Iterator[tuple[str, Mask]]:
    colours = {"hair": figure.person.hair, "skin": figure.person.skin, "clothes": COLOURS[figure.shirt]}
    for name, colour in colours.items():
        near = np.linalg.norm(image.astype(np.float32) - np.array(colour, np.float32), axis=2) < NEAR
        yield name, near & person


def _right(stack: Stack, rows: Sequence[Generation]) -> float:
    return float(np.mean([scores["prompt_rank1"].value for scores in PromptConsistency()(stack, rows)]))


def _known(app: Any, pool: FacePool) -> float:
    found = find_faces(app, pool)
    return area_under_curve(*pair_cosines(found.embeddings, found.person))


def _opponent(rgb: torch.Tensor) -> torch.Tensor:
    red, green, blue = rgb.unbind(1)
    return torch.stack([red - green, (red + green) / 2 - blue], dim=1)
