"""Optional metrics: resemblance to the reference photo beyond the face, copying of it, and diversity.

They run only when named: ``fcbench score --metric copy-paste --metric diversity``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from fcbench.files import digest_place
from fcbench.images import pad_to_square, read_image, resize, to_tensor
from fcbench.metrics.faces import find_faces
from fcbench.metrics.identity import similarities
from fcbench.types import Generation, Score, Stack

BATCH = 32
DINO_SIDE = 224
IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)

Features = npt.NDArray[np.float32]


class ClipImage:
    """CLIP-I: cosine between CLIP's features of the picture and of the reference photo; the mean over the subjects."""

    name = "clip_i"
    unit = "cosine"
    range = (-1.0, 1.0)
    higher_is_better = True
    version = 1
    roles: tuple[str, ...] = ("clip",)
    optional = True

    def __call__(self, stack: Stack, generations: Sequence[Generation]) -> list[dict[str, Score]]:
        """The one column for each generation."""
        if not generations:
            return []
        features = self._features(stack, _files(generations))
        scores = []
        for generation in generations:
            photos = np.stack([features[subject.reference] for subject in generation.case.subjects])
            scores.append({self.name: Score(float(np.clip(photos @ features[generation.image], -1, 1).mean()))})
        return scores

    def _features(self, stack: Stack, files: Sequence[Path]) -> dict[Path, Features]:
        return _clip_features(stack, files)


@dataclass(frozen=True)
class Dino(ClipImage):
    """The same with DINOv2's features: its class token, of whole pictures; ``model`` is a folder or hub id."""

    version = 2
    model: str = "facebook/dinov2-base"

    name = "dino"
    roles = ()

    def judges(self) -> dict[str, str | None]:
        """The commit of the hub's model in the cache, or a folder's digest; None if neither is there."""
        from huggingface_hub import try_to_load_from_cache

        if Path(self.model).exists():
            return {"dino": digest_place(self.model)}
        try:
            cached = try_to_load_from_cache(self.model, "config.json")
        except ValueError:  # neither a hub id nor an existing folder: loading says so
            cached = None
        return {"dino": Path(cached).parent.name if isinstance(cached, str) else None}

    def _features(self, stack: Stack, files: Sequence[Path]) -> dict[Path, Features]:
        return _dino_features(self.model, stack.device, files)


class CopyPaste:
    """How much nearer a face is to the given photo than to other photos of the same person: copied, not understood.

    The cosine to the reference minus the mean cosine to the subject's other photos; the mean over the subjects, the
    largest faces matched greedily. In [-2, 2]; a person drawn anew scores 0, a pasted reference the cosine distance
    between two photos of that person. None if a reference shows no face, a subject has no other photo that does, or
    the picture shows too few (after WithAnyone's measure). A method that is given several photos has seen
    these others too: its figure does not compare with that of a method given one.
    """

    name = "copy_paste"
    unit = "cosine"
    range = (-2.0, 2.0)
    higher_is_better = False
    version = 2
    roles = ("faces",)
    optional = True

    def __call__(self, stack: Stack, generations: Sequence[Generation]) -> list[dict[str, Score]]:
        """The one column for each generation."""
        if not generations:
            return []
        app = stack.role("faces")
        find_faces(app, _files(generations))
        return [{"copy_paste": self._score(app, generation)} for generation in generations]

    def _score(self, app: Any, generation: Generation) -> Score:
        subjects = generation.case.subjects
        drawn = find_faces(app, [generation.image])[0].embeddings[: len(subjects)]
        found = [find_faces(app, subject.images) for subject in subjects]
        faceless = [str(s.reference) for s, faces in zip(subjects, found, strict=True) if not len(faces[0])]
        if faceless:
            return Score(None, f"no face in the reference photo {', '.join(faceless)}")
        photos = [[faces.embeddings[:1] for faces in own if len(faces)] for own in found]
        if len(drawn) < len(subjects):
            return Score(None, "not every subject has a face in the picture")
        if any(len(own) < 2 for own in photos):
            return Score(None, "a subject has no second photo with a face")
        from fcbench.metrics.assign import greedy

        given = similarities(np.concatenate([own[0] for own in photos]), drawn)
        excess = [
            given[row, column] - similarities(np.concatenate(photos[row][1:]), drawn[column : column + 1]).mean()
            for row, column in greedy(given).items()
        ]
        return Score(float(np.mean(excess)))


class Diversity:
    """1 minus the mean cosine of CLIP features between pictures of equal subjects and prompt that differ by seed.

    In [0, 2]; every picture of such a set carries the set's value. None where a suite has only one seed.
    """

    name = "diversity"
    unit = "cosine distance"
    range = (0.0, 2.0)
    higher_is_better = True
    version = 1
    roles = ("clip",)
    optional = True

    def __call__(self, stack: Stack, generations: Sequence[Generation]) -> list[dict[str, Score]]:
        """The one column for each generation."""
        if not generations:
            return []
        features = _clip_features(stack, [generation.image for generation in generations])
        sets: dict[str, Score] = {}
        ordered = sorted(generations, key=_set_of)
        for name, members in groupby(ordered, key=_set_of):
            sets[name] = _spread(np.stack([features[generation.image] for generation in members]))
        return [{"diversity": sets[_set_of(generation)]} for generation in generations]


def _set_of(generation: Generation) -> str:
    return generation.case.id.rpartition(".")[0]


def _spread(features: Features) -> Score:
    count = len(features)
    if count < 2:
        return Score(None, "one picture of these subjects and this prompt")
    cosines = np.clip(features @ features.T, -1, 1)
    others = cosines[~np.eye(count, dtype=bool)]
    return Score(float(1 - others.mean()))


def _files(generations: Sequence[Generation]) -> list[Path]:
    photos = [photo for generation in generations for subject in generation.case.subjects for photo in subject.images]
    return list(dict.fromkeys([*(generation.image for generation in generations), *photos]))


def _clip_features(stack: Stack, files: Sequence[Path]) -> dict[Path, Features]:
    clip = stack.role("clip")
    found: dict[Path, Features] = {}
    for start in range(0, len(files), BATCH):
        batch = files[start : start + BATCH]
        found.update(zip(batch, clip.image_features([read_image(path) for path in batch]), strict=True))
    return found


def _dino_features(model: str, device: str, files: Sequence[Path]) -> dict[Path, Features]:
    """Class tokens of unit length; pictures padded to squares of 224 px, normalised as ImageNet's."""
    import torch
    from transformers import AutoModel

    from fcbench.errors import MissingError

    try:
        network = AutoModel.from_pretrained(model, local_files_only=True).to(device).eval()
    except (OSError, ValueError) as error:
        raise MissingError(f"{model}: no DINO model there or in the cache; get it with: hf download {model}") from error
    mean, std = (torch.tensor(values, device=device)[:, None, None] for values in (IMAGENET_MEAN, IMAGENET_STD))
    found: dict[Path, Features] = {}
    for start in range(0, len(files), BATCH):
        batch = files[start : start + BATCH]
        squares = [resize(pad_to_square(read_image(path)), DINO_SIDE, bicubic=True) for path in batch]
        pixels = ((to_tensor(squares, device) + 1) / 2 - mean) / std
        with torch.no_grad():
            tokens = network(pixel_values=pixels).last_hidden_state[:, 0].float()
        found.update(zip(batch, (tokens / tokens.norm(dim=1, keepdim=True)).cpu().numpy(), strict=True))
    return found
