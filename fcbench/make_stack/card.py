"""The stack's card: every role scored on people and scenes that no training saw, and what real renders would score."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from fcbench.files import read_json, write_image, write_json, write_text
from fcbench.make_stack.judge_scores import FIRST
from fcbench.make_stack.pool import UNSEEN, unseen_scene
from fcbench.metrics.identity import Identity
from fcbench.metrics.prompt import PromptConsistency
from fcbench.types import Case, Generation, Prompt, Score, Stack, Subject
from fcbench.world import PROMPTS, draw_person, draw_scene, portrait, render

SINGLE = (
    *("red-hat", "yellow-shirt", "rainbow-scarf", "black-and-white", "watercolor", "pixel-art"),
    *("snow", "beach", "jungle", "book", "wine", "cake"),
)
PAIR = ("black-and-white", "watercolor", "snow", "beach", "jungle", "city", "book", "cake")


def oracle(folder: Path, groups: int, size: int, prompts: Sequence[str]) -> list[Generation]:
    """What a perfect method would draw: the world's own renders of ``groups`` x prompts, ``size`` people in each."""
    generations = []
    for group in range(groups):
        people = [draw_person(UNSEEN + 100_000 + size * group + j) for j in range(size)]
        subjects = []
        for person in people:
            photo = folder / f"{person.id}.png"
            write_image(photo, render(portrait(person, 0)).image)
            subjects.append(Subject(person.id, person.noun, (photo,)))
        for number, name in enumerate(prompts):
            wanted = PROMPTS[name]
            case = Case(tuple(subjects), Prompt(wanted.id, wanted.text, wanted.kind), 0)
            image = folder / f"{case.id}.png"
            write_image(image, render(draw_scene(people, 80_000_000 + group * 100 + number, prompt=name)).image)
            generations.append(Generation(case, image, 0.0, 0.0, 0, 0))
    return generations


def role_scores(stack: Stack, folder: Path, work: Path, *, people: int = 40) -> dict[str, dict[str, float]]:
    """Scores by role. ``folder`` is the stack's, where parser and faces left theirs; ``work`` takes pictures."""
    from fcbench.make_stack.attributes import attribute_scores
    from fcbench.make_stack.codec_scores import codec_scores, judges_through, part_scores
    from fcbench.make_stack.face_pool import draw_faces
    from fcbench.make_stack.image_encoder import encoder_scores
    from fcbench.make_stack.labelling_scores import labelling_scores

    single, pair = oracle(work / "single", people, 1, SINGLE), oracle(work / "pair", people, 2, PAIR)
    judged = {name: PromptConsistency()(stack, rows) for name, rows in (("single", single), ("pair", pair))}
    faces = {name: Identity()(stack, rows) for name, rows in (("single", single), ("pair", pair))}
    matcher = Stack(stack.name, {"clip": lambda: stack.role("matcher")}, stack.image_size)
    labels = labelling_scores(stack)
    vae, pool = stack.role("vae"), draw_faces(range(FIRST, FIRST + 5 * people), 3, seed=1, styles=["photo"])
    codec = codec_scores(vae, [render(unseen_scene(number)).image for number in range(200)]) | part_scores(
        vae, UNSEEN + 200_000, 100
    )
    return {
        "vae": codec | judges_through(stack, single, pool, work / "through"),
        "image_encoder": encoder_scores(stack.role("image_encoder")),
        "clip": {f"right_prompt_{name}": _mean(rows, "prompt_rank1") for name, rows in judged.items()},
        "matcher": labels.pop("matcher")
        | {"right_prompt_single": _mean(PromptConsistency()(matcher, single), "prompt_rank1")},
        **labels,
        "faces": read_json(folder / "faces" / "card.json"),
        "attributes": attribute_scores(stack.role("attributes"), stack.role("faces")),
        "oracle": {f"identity_{name}": _mean(rows, "identity") for name, rows in faces.items()},
        "parser": read_json(folder / "parser" / "card.json"),
    }


def write_card(folder: Path, stack: Stack, work: Path, leaderboards: dict[str, list[dict[str, Any]]]) -> None:
    """Score the roles; write ``card.json`` and a README.md made from it: nothing in either is written by hand."""
    write_card_of(folder, role_scores(stack, folder, work), leaderboards)


def write_card_of(
    folder: Path, roles: dict[str, dict[str, float]], leaderboards: dict[str, list[dict[str, Any]]]
) -> None:
    """Write the card of scores by role and of leaderboards."""
    write_json(folder / "card.json", {"roles": roles, "leaderboards": leaderboards})
    lines = ["# The miniature stack", "", *_ABOUT]
    lines += ["", "| role | score | value |", "| --- | --- | --: |"]
    lines += [f"| {role} | {name} | {value:.3f} |" for role, scores in roles.items() for name, value in scores.items()]
    for suite, rows in leaderboards.items():
        lines += ["", f"## {suite}", "", "| method | identity | prompt | right prompt | faces found |"]
        lines += ["| --- | --: | --: | --: | --: |"]
        for row in rows:
            lines.append(f"| {row['method']} | " + " | ".join(_cell(row, key) for key in _SHOWN) + " |")
    write_text(folder / "README.md", "\n".join(lines) + "\n")


_ABOUT = (
    "Scores on people and scenes that no training saw. `fcbench make-stack` writes this card, with the methods that",
    "need no tuning and the yardsticks; further methods and variants are of `fcbench run`, see `fcbench report`.",
)
_SHOWN = ("identity", "prompt", "prompt_rank1", "faces_found")


def _cell(row: dict[str, Any], key: str) -> str:
    if row.get(key) is None:
        return "-"
    value = f"{float(row[key]):.3f}"
    low, high = row.get(f"{key}_low"), row.get(f"{key}_high")
    return value if low is None or high is None else f"{value} [{float(low):.3f}, {float(high):.3f}]"


def _mean(rows: Sequence[dict[str, Score]], column: str) -> float:
    values = [row[column].value for row in rows]
    return float(np.mean([value for value in values if value is not None]))
