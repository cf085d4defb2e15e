"""Prompt consistency: how well a picture fits the words it was asked for."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from fcbench.images import read_image
from fcbench.types import Case, Generation, Score, Stack, subject_phrase

BATCH = 64

Features = npt.NDArray[np.float32]
"""CLIP features of unit length, shape (n, dimensions)."""


class PromptConsistency:
    """Cosine between CLIP features of the picture and of the prompt in class words (no method's token).

    The words are those that the official evaluation scores, see :func:`scored_text`.

    Columns, one value per picture:

    - ``prompt``: the cosine, in [-1, 1]. Comparable only under one and the same CLIP.
    - ``prompt_rank1``: 1 if, of all prompts among the given generations with this picture's subject phrase filled
      in, its own is the most similar one, else 0. None if there is only one prompt.
    """

    name = "prompt"
    unit = "cosine"
    range = (-1.0, 1.0)
    higher_is_better = True
    version = 1
    roles = ("clip",)

    def __call__(self, stack: Stack, generations: Sequence[Generation]) -> list[dict[str, Score]]:
        """Both columns for each generation."""
        if not generations:
            return []
        clip = stack.role("clip")
        prompts = {g.case.prompt.text: g.case.prompt for g in generations}
        phrases = dict.fromkeys(_phrase(g.case) for g in generations)
        texts = {text: i for i, text in enumerate(dict.fromkeys(p.fill(f) for f in phrases for p in prompts.values()))}
        similarity = _pictures(clip, generations) @ _in_batches(clip.text_features, list(texts)).T
        candidates = {phrase: [texts[p.fill(phrase)] for p in prompts.values()] for phrase in phrases}
        return [
            _scores(row, texts[scored_text(g.case)], candidates[_phrase(g.case)])
            for row, g in zip(similarity, generations, strict=True)
        ]


def scored_text(case: Case) -> str:
    """What a picture of ``case`` is compared with: the official string, in which the removed token leaves its space.

    >>> from fcbench.types import Prompt, Subject
    >>> scored_text(Case((Subject("bo", "man", ()),), Prompt("red-hat", "{} wearing a red hat", "accessory"), 0))
    'a man  wearing a red hat'
    """
    return case.prompt.fill(_phrase(case))


def _phrase(case: Case) -> str:
    return subject_phrase([f"{subject.noun} " for subject in case.subjects])


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
