"""Attribute accuracy: whether the things that a prompt names are in the picture, read without any text model.

Only the miniature world's prompts are known thing by thing (``fcbench.world.PROMPTS``), and only its stack has a
reader; elsewhere the metric does not apply.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import prod
from typing import ClassVar

from fcbench.images import read_image
from fcbench.metrics.faces import find_faces
from fcbench.types import Generation, Prompt, Score, Stack
from fcbench.world.vocabulary import PROMPTS

BATCH = 64
COLUMNS = ("attributes", "attributes_probability")

Chances = Mapping[str, Mapping[str, float]]
"""What a reader says of a view: attribute -> answer -> probability."""


class Attributes:
    """Whether the reader finds what the prompt asks for.

    Place and style are read from the whole picture, what people wear and hold from each subject: the largest faces,
    as many as there are subjects. A missing face has nothing; a hat of the wrong colour is the wrong hat.

    Columns, one value per picture, both in [0, 1]:

    - ``attributes``: the share of what is asked that is the reader's likeliest answer.
    - ``attributes_probability``: the mean probability that the reader gives to what is asked; for a hat, its kind's
      times its colour's. It tells apart two pictures that both show the thing, or both lack it.
    """

    name = "attributes"
    unit = "share"
    range = (0.0, 1.0)
    ranges: ClassVar = {"attributes_probability": (0.0, 1.0)}
    higher_is_better = True
    version = 3
    roles = ("attributes", "faces")

    def __call__(self, stack: Stack, generations: Sequence[Generation]) -> list[dict[str, Score]]:
        """Both columns for each generation."""
        if not generations:
            return []
        if "attributes" not in stack.load:
            none = Score(None, f"the stack {stack.name} has no reader of attributes")
            return [dict.fromkeys(COLUMNS, none) for _ in generations]
        rows: list[dict[str, Score]] = []
        for start in range(0, len(generations), BATCH):
            rows += _batch(stack, generations[start : start + BATCH])
        return rows


def likeliest(chances: Mapping[str, float]) -> str:
    """The answer that a reader gives."""
    return max(chances, key=chances.__getitem__)


_BY_TEXT = {prompt.text: prompt for prompt in PROMPTS.values()}
"""By text: a prompt's words say what it asks for, whatever its id."""


def wanted(prompt: Prompt) -> dict[str, str] | None:
    """What a prompt of the world asks for, in the reader's words; None for a prompt that the world does not know."""
    known = _BY_TEXT.get(prompt.text)
    if known is None:
        return None
    asked = {"context": known.context, "style": known.style, "scarf": known.scarf, "shirt": known.shirt}
    asked |= {"shades": known.shades, "holding": known.holding}
    if known.hat:
        asked |= {"hat": known.hat[0], "hat_colour": known.hat[1]}
    return {name: answer for name, answer in asked.items() if answer is not None}


def _batch(stack: Stack, generations: Sequence[Generation]) -> list[dict[str, Score]]:
    reader = stack.role("attributes")
    images = [read_image(generation.image) for generation in generations]
    found = find_faces(stack.role("faces"), [generation.image for generation in generations])
    boxes = [faces.boxes[: len(g.case.subjects)] for g, faces in zip(generations, found, strict=True)]
    wholes, figures = reader.wholes(images), reader.figures(images, boxes)
    return [
        _scores(generation, whole, people)
        for generation, whole, people in zip(generations, wholes, figures, strict=True)
    ]


def _scores(generation: Generation, whole: Chances, people: Sequence[Chances]) -> dict[str, Score]:
    asked = wanted(generation.case.prompt)
    if asked is None:
        return dict.fromkeys(COLUMNS, Score(None, f"the world does not know the prompt {generation.case.prompt.id}"))
    hits: list[bool] = []
    sure: list[float] = []
    wrong = []
    for thing in _things(asked):
        of_the_whole = bool(set(thing) & {"context", "style"})
        views = [whole] if of_the_whole else people
        missing = 0 if of_the_whole else len(generation.case.subjects) - len(people)
        right = [all(likeliest(view[name]) == answer for name, answer in thing.items()) for view in views]
        hits += right + [False] * missing
        sure += [prod(view[name].get(answer, 0.0) for name, answer in thing.items()) for view in views] + [
            0.0
        ] * missing
        if missing or not all(right):
            wrong.append(" ".join(thing.values()))
    note = f"not there: {', '.join(wrong)}" if wrong else ""
    return {"attributes": Score(sum(hits) / len(hits), note), "attributes_probability": Score(sum(sure) / len(sure))}


def _things(asked: Mapping[str, str]) -> list[dict[str, str]]:
    """What is asked for, thing by thing: a hat is kind and colour together."""
    hat = {name: answer for name, answer in asked.items() if name.startswith("hat")}
    rest = [{name: answer} for name, answer in asked.items() if name not in hat]
    return ([hat] if hat else []) + rest
