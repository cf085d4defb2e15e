"""Training examples from photos: the caption's subject tokens, the subjects' masks and their references."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any

import numpy as np

from fcbench.config import Recipe
from fcbench.errors import UsageError
from fcbench.fastcomposer.augment import augment, zoom_in
from fcbench.fastcomposer.encoder import subject_tokens
from fcbench.fastcomposer.official_data import FolderPhotos, is_official
from fcbench.fastcomposer.photos import ParquetPhotos, Photos
from fcbench.fastcomposer.transforms import cut_out, fit_mask, fit_reference
from fcbench.store import DataFolder
from fcbench.types import Image, Mask


@dataclass(frozen=True)
class Example:
    """One training picture.

    ``positions[i]`` is subject i's token, ``masks[i]`` its mask, fitted as the photo is, ``references[i]`` its picture;
    all empty for a text-only or unconditional example. ``mirrored``: photo and masks are; references are cut
    out of the unmirrored photo.
    """

    row: int
    ids: list[int]
    positions: list[int] = field(default_factory=list)
    masks: list[Mask] = field(default_factory=list)
    references: list[Image] = field(default_factory=list)
    mirrored: bool = False


def open_photos(data: Path, min_margin: float = 0.0) -> Photos:
    """The training photos of a folder that ``build-data`` made, or of one laid out as the official dataset.

    ``min_margin``: see Recipe. UsageError when it is neither, or when margins are asked of the official layout, which
    keeps none; DataError when its build is not finished, or naming a file that is wrong.
    """
    if is_official(data):
        if min_margin > 0:
            raise UsageError(f"{data}: the official layout keeps no margins: --set min_margin=0 takes all segments")
        return FolderPhotos(data)
    folder = DataFolder(data)
    if not (data / "data").is_dir():
        raise UsageError(
            f"{data}: no dataset: neither data/train-*.parquet (make it with: fcbench build-data) nor the official "
            "image_ids_train.txt there"
        )
    folder.require_whole()
    return ParquetPhotos(folder.shards("train"), min_margin)


def open_unseen(data: Path, min_margin: float = 0.0) -> Photos:
    """The validation photos, which nothing is trained on; UsageError where none of them shows a subject."""
    shards = [] if is_official(data) else sorted((data / "data").glob("validation-*.parquet"))
    photos = ParquetPhotos(shards, min_margin)
    if not any(photos.segments):
        raise UsageError(f"{data}: no photo of a validation split shows a subject; --set validate_every=0 does without")
    return photos


def without_chance(recipe: Recipe) -> Recipe:
    """The recipe with all subjects, cut out of their own photo unaugmented: for what is looked at again and again."""
    chances = ("unconditional", "text_only", "subject_drop", "other_photo", "whole_photo", "mirror")
    return recipe.model_copy(update={**dict.fromkeys(chances, 0.0), "augment": False})


def make_example(
    photos: Photos, row: int, tokenizer: Any, recipe: Recipe, random: Random, *, side: int, reference_side: int
) -> Example:
    """Photo ``row`` as a training example.

    One draw decides: empty prompt, text only or subjects; each subject stays with probability 1 - ``subject_drop``, at
    most ``max_subjects`` of them. Masks are placed as ``fit_photo`` places the photo, mirrored or not, at ``side``.
    """
    mirrored = recipe.mirror > 0 and random.random() < recipe.mirror
    fate = random.random()
    if fate < recipe.unconditional:
        return Example(row, subject_tokens(tokenizer, "", [])[0], mirrored=mirrored)
    caption, segments = photos.captions[row], photos.segments[row]
    chosen = [i for i in range(len(segments)) if random.random() >= recipe.subject_drop]
    if fate < recipe.unconditional + recipe.text_only:
        chosen = []
    if len(chosen) > recipe.max_subjects:  # of two that share a token, chance decides who comes first
        chosen = sorted(random.sample(chosen, recipe.max_subjects), key=lambda i: segments[i].end)
    ids, positions = subject_tokens(tokenizer, caption, [segments[i].end for i in chosen])
    chosen = [i for i, position in zip(chosen, positions, strict=True) if position >= 0]
    return Example(
        row,
        ids,
        [position for position in positions if position >= 0],
        [fit_mask(photos.mask(row, i), side, flip=mirrored) for i in chosen],
        [reference(photos, row, i, recipe, reference_side, random) for i in chosen],
        mirrored,
    )


def reference(photos: Photos, row: int, index: int, recipe: Recipe, side: int, random: Random) -> Image:
    """A subject's picture, uint8 (side, side, 3): cut out of this photo or of another one of the same person.

    The paper cuts it out of the same photo, pixels outside the mask replaced by noise. A picture with nobody else in
    it may also be taken whole, as references are when drawing (``whole_photo``). Half of them are mirrored;
    ``augment`` changes them further, as the official training does.
    """
    place = photos.other(row, index, random) if random.random() < recipe.other_photo else None
    row, index = place or (row, index)
    image = photos.image(row)
    if len(photos.segments[row]) > 1 or random.random() >= recipe.whole_photo:
        image = on_noise(image, photos.mask(row, index), photos.segments[row][index].box, random)
    if recipe.augment:
        return augment(fit_reference(zoom_in(image, random), side), random)
    if random.random() < 0.5:
        image = image[:, ::-1]
    return fit_reference(image, side)


def on_noise(image: Image, mask: Mask, box: tuple[int, int, int, int], random: Random) -> Image:
    """The box [x1, y1, x2, y2] of a picture, uniform noise where the mask is False."""
    x1, y1, x2, y2 = box
    shape = (y2 - y1, x2 - x1, 3)
    noise = np.frombuffer(random.randbytes(shape[0] * shape[1] * 3), np.uint8).reshape(shape)
    return cut_out(image, mask, box, noise)
