"""Attribute accuracy: whether the things that a prompt names are in the picture, read without any text model.

Only the miniature world's prompts are known thing by thing (``fcbench.world.PROMPTS``), and only its stack has a
reader; elsewhere the metric does not apply.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from fcbench.images import read_image
from fcbench.metrics.faces import find_faces
from fcbench.types import Generation, Prompt, Score, Stack
from fcbench.world.vocabulary import PROMPTS

BATCH = 64

Answers = Mapping[str, str]


class Attributes:
    """The share of what the prompt asks for that the reader finds, in [0, 1].

    Place and style are asked of the whole picture, what people wear and hold of each subject: the largest faces, as
    many as there are subjects. A missing face has nothing; a hat of the wrong colour is the wrong hat.
    """

    name = "attributes"
    unit = "share"
    range = (0.0, 1.0)
    higher_is_better = True
    version = 1
    roles = ("attributes", "faces")

    def __call__(self, stack: Stack, generations: Sequence[Generation]) -> list[dict[str, Score]]:
        """The one column for each generation."""
        if not generations:
            return []
        if "attributes" not in stack.load:
            none = Score(None, f"the stack {stack.name} has no reader of attributes")
            return [{"attributes": none} for _ in generations]
        rows: list[dict[str, Score]] = []
        for start in range(0, len(generations), BATCH):
            rows += [{"attributes": score} for score in _batch(stack, generations[start : start + BATCH])]
        return rows


def wanted(prompt: Prompt) -> dict[str, str] | None:
    """What a prompt of the world asks for, in the reader's words; None for a prompt that the world does not know."""
    known = PROMPTS.get(prompt.id)
    if known is None or known.text != prompt.text:
        return None
    asked = {"context": known.context, "style": known.style, "scarf": known.scarf, "shirt": known.shirt}
    asked |= {"shades": known.shades, "holding": known.holding}
    if known.hat:
        asked |= {"hat": known.hat[0], "hat_colour": known.hat[1]}
    return {name: answer for name, answer in asked.items() if answer is not None}


def _batch(stack: Stack, generations: Sequence[Generation]) -> list[Score]:
    reader = stack.role("attributes")
    images = [read_image(generation.image) for generation in generations]
    found = find_faces(stack.role("faces"), [generation.image for generation in generations])
    boxes = [faces.boxes[: len(g.case.subjects)] for g, faces in zip(generations, found, strict=True)]
    wholes, figures = reader.wholes(images), reader.figures(images, boxes)
    return [
        _score(generation, whole, people)
        for generation, whole, people in zip(generations, wholes, figures, strict=True)
    ]


def _score(generation: Generation, whole: Answers, people: Sequence[Answers]) -> Score:
    asked = wanted(generation.case.prompt)
    if asked is None:
        return Score(None, f"the world does not know the prompt {generation.case.prompt.id}")
    hits, wrong = [], []
    for thing in _things(asked):
        views = [whole] if set(thing) & {"context", "style"} else [*people]
        missing = 0 if views == [whole] else len(generation.case.subjects) - len(people)
        right = [all(view[name] == answer for name, answer in thing.items()) for view in views] + [False] * missing
        hits += right
        if not all(right):
            wrong.append(" ".join(thing.values()))
    return Score(sum(hits) / len(hits), f"not there: {', '.join(wrong)}" if wrong else "")


def _things(asked: Mapping[str, str]) -> list[dict[str, str]]:
    """What is asked for thing by thing: a hat is kind and colour together."""
    hat = {name: answer for name, answer in asked.items() if name.startswith("hat")}
    rest = [{name: answer} for name, answer in asked.items() if name not in hat]
    return ([hat] if hat else []) + rest
