"""How well the roles that label photos do, on scenes that no training saw: each against what the world knows."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence

import numpy as np
from scipy.optimize import linear_sum_assignment

from fcbench.make_stack.matcher import captioned
from fcbench.make_stack.pool import unseen_scene
from fcbench.masks import iou, on_grey
from fcbench.types import Captioner, Matcher, Segmenter, Stack
from fcbench.world import Render, Scene, render, traits, traits_in

SCENES = 600
_PERSON = r"\ba (?:bald )?(?:man|woman)\b"


def labelling_scores(stack: Stack, scenes: int = SCENES) -> dict[str, dict[str, float]]:
    """By role: matcher, and segmenter and captioner if the stack has them; a third of the scenes show two people."""
    numbers = range(scenes)
    found = {"matcher": matcher_scores(stack.role("matcher"), numbers)}
    if "segmenter" in stack.load:
        found["segmenter"] = segmenter_scores(stack.role("segmenter"), numbers)
    if "captioner" in stack.load:
        found["captioner"] = captioner_scores(stack.role("captioner"), numbers)
    return found


def segmenter_scores(segmenter: Segmenter, numbers: Sequence[int]) -> dict[str, float]:
    """Masks: ``mean_iou`` over all visible people, and the share of scenes of two where both are told ``apart``.

    Somebody not found counts 0; two are told apart where each has a mask of their own with an IoU of at least 0.5.
    """
    ious: list[float] = []
    apart: list[bool] = []
    for _, drawn in _scenes(numbers):
        people = [figure.mask for figure in drawn.figures if figure.mask.any()]
        masks = [region.mask for region in segmenter.regions([drawn.image])[0]]
        table = np.array([[iou(person, mask) for mask in masks] for person in people]).reshape(len(people), -1)
        rows, columns = linear_sum_assignment(table, maximize=True)
        own = dict(zip(rows.tolist(), table[rows, columns].tolist(), strict=True))
        ious += [own.get(person, 0.0) for person in range(len(people))]
        if len(people) == 2:
            apart.append(len(own) == 2 and min(own.values()) >= 0.5)
    return {"mean_iou": float(np.mean(ious)), "apart": float(np.mean(apart))}


def captioner_scores(captioner: Captioner, numbers: Sequence[int]) -> dict[str, float]:
    """Captions: how many people are ``named``, and how much of what is stated of them is true (``stated_true``).

    Somebody is named where the caption has the right noun in their place, counted from left to right.
    """
    count: Counter[str] = Counter()
    for scene, drawn in _scenes(numbers):
        people = [traits(figure) for figure in sorted(scene.figures, key=lambda figure: figure.x)]
        (text,) = captioner.captions([drawn.image])
        told = [traits_in(part) for part in re.findall(rf"{_PERSON}.*?(?={_PERSON}|$)", text)]
        count["people"] += len(people)
        for person, stated in zip(people, told, strict=False):
            count["named"] += stated.get("noun") == person["noun"]
            count["stated"] += len(stated.keys() - {"noun"})
            count["true"] += sum(person.get(kind) == value for kind, value in stated.items() if kind != "noun")
    return {"named": count["named"] / count["people"], "stated_true": count["true"] / max(1, count["stated"])}


def matcher_scores(matcher: Matcher, numbers: Sequence[int]) -> dict[str, float]:
    """Cut-outs of two and of three people: how many get their own description where all are assigned together.

    Only those count whose description fits nobody else in the scene.
    """
    right: dict[int, list[bool]] = {2: [], 3: []}
    for number, (scene, drawn) in zip(numbers, _scenes(numbers), strict=True):
        people = [k for k, figure in enumerate(drawn.figures) if figure.mask.any()]
        if len(people) not in right:
            continue
        texts = [captioned(scene, number)[k] for k in people]
        crops = [on_grey(drawn.image, drawn.figures[k].mask, drawn.figures[k].box) for k in people]
        known = [traits(scene.figures[k]) for k in people]
        # The texts reversed: a matcher that sees no difference must not be right by mere order
        table = matcher.image_features(crops) @ matcher.text_features(texts[::-1]).T
        _, chosen = linear_sum_assignment(table, maximize=True)
        chosen = len(people) - 1 - chosen
        fit = [sum(traits_in(text).items() <= person.items() for person in known) for text in texts]
        right[len(people)] += [place == k for k, place in enumerate(chosen.tolist()) if fit[k] == 1]
    return {"two_right": float(np.mean(right[2])), "three_right": float(np.mean(right[3]))}


def _scenes(numbers: Sequence[int]) -> Iterator[tuple[Scene, Render]]:
    for number in numbers:
        scene = unseen_scene(number)
        yield scene, render(scene)
