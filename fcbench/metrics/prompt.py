"""Prompt consistency: how well a picture fits the words it was asked for."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from fcbench.images import read_image
from fcbench.types import Generation, Score, Stack

BATCH = 64

Features = npt.NDArray[np.float32]
"""CLIP features of unit length, shape (n, dimensions)."""


class PromptConsistency:
    """Cosine between CLIP features of the picture and of the prompt in class words (no method's token).

    Columns, one value a picture:

    - ``prompt``: the cosine, in [-1, 1]. Comparable only under one and the same CLIP.
    - ``prompt_rank1``: 1 if, of all prompts among the given generations with this picture's subject phrase filled
      in, its own is the most similar one, else 0. None if there is only one prompt.
    """

    name = "prompt"
    unit = "cosine"
    range = (-1.0, 1.0)
    higher_is_better = True
    version = 1

    def __call__(self, stack: Stack, generations: Sequence[Generation]) -> list[dict[str, Score]]:
        """Both columns for each generation."""
        if not generations:
            return []
        clip = stack.role("clip")
        prompts = {g.case.prompt.text: g.case.prompt for g in generations}
        phrases = dict.fromkeys(g.case.phrase for g in generations)
        texts = {text: i for i, text in enumerate(dict.fromkeys(p.fill(f) for f in phrases for p in prompts.values()))}
        similarity = _pictures(clip, generations) @ _in_batches(clip.text_features, list(texts)).T
        candidates = {phrase: [texts[p.fill(phrase)] for p in prompts.values()] for phrase in phrases}
        return [
            _scores(row, texts[g.case.text], candidates[g.case.phrase])
            for row, g in zip(similarity, generations, strict=True)
        ]


def _pictures(clip: Any, generations: Sequence[Generation]) -> Features:
    """Image features of the generations, reading one batch of pictures at a time."""
    return _in_batches(lambda batch: clip.image_features([read_image(g.image) for g in batch]), generations)


def _in_batches(features: Callable[[list[Any]], Any], items: Sequence[Any]) -> Features:
    batches = [np.asarray(features(list(items[i : i + BATCH])), np.float32) for i in range(0, len(items), BATCH)]
    return np.concatenate(batches)


def _scores(similarity: Features, own: int, candidates: Sequence[int]) -> dict[str, Score]:
    """The columns of one picture; ``similarity`` is to every text, ``own`` and ``candidates`` are indices in it."""
    others = [similarity[i] for i in candidates if i != own]
    first = Score(float(similarity[own] > max(others))) if others else Score(None, "the suite has one prompt only")
    return {"prompt": Score(float(similarity[own])), "prompt_rank1": first}
