"""The reader of attributes from nothing: a network told, for each render, who wears and holds what, and where.

Each picture gives views of two kinds: around every face, and the whole. An attribute is asked only of the view that
shows it, and colours only where the style keeps them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch.nn import functional

from fcbench.images import to_tensor
from fcbench.loop import Clock, Stateful, cosine, run_steps
from fcbench.make_stack.arrays import read_arrays, write_arrays
from fcbench.make_stack.face_pool import degrade
from fcbench.make_stack.judge_scores import MATCH, intersection_over_union
from fcbench.metrics.attributes import likeliest
from fcbench.stacks.attributes import AttributeNet, AttributeReader, figure_view
from fcbench.types import Image
from fcbench.world import PROMPTS, TEST_PEOPLE, TRAIN_PEOPLE, Figure, Scene, draw_person, draw_scene, render
from fcbench.world.vocabulary import COLOURS, CONTEXTS, HATS, HOLDINGS, STYLES

CLASSES: dict[str, tuple[str, ...]] = {
    "noun": ("man", "woman"),
    "hat": ("none", *HATS),
    "hat_colour": tuple(COLOURS),
    "scarf": ("none", *COLOURS, "rainbow"),
    "shades": ("none", *COLOURS),
    "shirt": tuple(COLOURS),
    "holding": ("none", *HOLDINGS),
    "context": tuple(CONTEXTS),
    "style": tuple(STYLES),
}
WHOLE = ("context", "style")
"""What is read of the whole picture; all else is read around a face."""
COLOURED = ("hat_colour", "scarf", "shades", "shirt")
COLOURLESS = ("black-and-white", "sepia", "pencil")
"""Styles in which no colour can be read."""
UNASKED = -1
BATCH = 128
_FIRST = 1_950_000
"""The card's people, from here up, are in no suite and on no other judge's card."""


@dataclass(frozen=True)
class Views:
    """Views, uint8 (n, 64, 64, 3), and by row the number of each attribute's answer, int64 (n, attributes)."""

    pictures: npt.NDArray[np.uint8]
    answers: npt.NDArray[np.int64]


def figure_answers(figure: Figure, style: str) -> dict[str, str]:
    """The true answers about somebody; without those that the style makes unreadable."""
    told = {
        "noun": figure.person.noun,
        "hat": figure.hat[0] if figure.hat else "none",
        "scarf": figure.scarf or "none",
        "shades": figure.shades or "none",
        "shirt": figure.shirt,
        "holding": figure.holding or "none",
    }
    if figure.hat:
        told["hat_colour"] = figure.hat[1]
    return {name: answer for name, answer in told.items() if style not in COLOURLESS or name not in COLOURED}


def views_of(scene: Scene, random: Random | None = None) -> list[tuple[Image, dict[str, str]]]:
    """A scene's views with their true answers; ``random`` moves face boxes as a detector would."""
    drawn = render(scene)
    views = [(drawn.image, {"context": scene.context, "style": scene.style})]
    for figure, truth in zip(scene.figures, drawn.figures, strict=True):
        face = np.array(truth.face_box)
        if random is not None:
            face = face + np.array([random.gauss(0, 0.06) for _ in range(4)]) * (face[3] - face[1])
        views.append((figure_view(drawn.image, face), figure_answers(figure, scene.style)))
    return views


def draw_views(scenes: int, work: Path) -> Views:
    """The training views, drawn once into ``work``: half of the scenes free, half under a prompt."""
    file = work / f"attributes-{scenes}.npz"
    if not file.exists():
        views = []
        for number in range(scenes):
            views += views_of(_training_scene(number), Random(f"view {number}"))
        write_arrays(file, vars(_collect(views)))
    return Views(**read_arrays(file))


def train_attributes(views: Views, work: Path, clock: Clock, *, steps: int, seed: int) -> AttributeNet:
    """Train on views that are mirrored, moved, softened and made noisy; the state is ``work/attributes.pt``."""
    torch.manual_seed(seed)
    net = AttributeNet(CLASSES)
    net.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # faster on a CPU
    optimiser = torch.optim.AdamW(net.parameters(), lr=2e-3, weight_decay=0.05, fused=True)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimiser, lambda k: cosine(k, steps))

    def step(k: int) -> dict[str, float]:
        random = np.random.default_rng((seed, k))
        rows = random.integers(len(views.pictures), size=BATCH)
        batch = to_tensor([_worn(views.pictures[row], random) for row in rows])
        batch = batch.contiguous(memory_format=torch.channels_last)
        logits, truth = net(batch), torch.from_numpy(views.answers[rows])
        losses = [
            functional.cross_entropy(logits[name], truth[:, place], ignore_index=UNASKED, reduction="sum")
            for place, name in enumerate(CLASSES)
        ]
        loss = torch.stack(losses).sum() / (truth != UNASKED).sum()
        optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(net.parameters(), 5.0)
        optimiser.step()
        schedule.step()
        return {"loss": loss.item()}

    state: dict[str, Stateful] = {"net": net, "optimiser": optimiser, "schedule": schedule}
    net.train()
    run_steps("attributes", steps, step, state, work / "attributes.pt", clock)
    return net.eval()


def attribute_scores(reader: AttributeReader, faces: Any, *, scenes: int = 400) -> dict[str, float]:
    """The share of right answers by attribute, on free scenes of people that no training saw.

    ``faces``: as insightface's ``get(bgr)``. People are read as the metric reads them, around the faces that are found:
    for those not found no answer is right.
    """
    hits: dict[str, list[bool]] = {name: [] for name in CLASSES}
    for number in range(scenes):
        scene = _unseen_scene(number)
        drawn = render(scene)
        boxes = [face.bbox for face in faces.get(np.ascontiguousarray(drawn.image[:, :, ::-1]))]
        (figures,) = reader.figures([drawn.image], [boxes])
        read = [(reader.wholes([drawn.image])[0], {"context": scene.context, "style": scene.style})]
        for figure, truth in zip(scene.figures, drawn.figures, strict=True):
            own = (k for k, box in enumerate(boxes) if intersection_over_union(box, np.array(truth.face_box)) >= MATCH)
            place = next(own, None)
            read.append(({} if place is None else figures[place], figure_answers(figure, scene.style)))
        for chances, told in read:
            for name, answer in told.items():
                hits[name].append(name in chances and likeliest(chances[name]) == answer)
    return {name: float(np.mean(values)) for name, values in hits.items() if values}


def _training_scene(number: int) -> Scene:
    random = Random(f"attributes {number}")
    people = [draw_person(random.choice(TRAIN_PEOPLE)) for _ in range(random.choices((1, 2, 3), (0.5, 0.4, 0.1))[0])]
    prompt = random.choice(tuple(PROMPTS)) if number % 2 else None
    return draw_scene(people, random.randrange(1 << 30), prompt=prompt)


def _unseen_scene(number: int) -> Scene:
    people = [draw_person(TEST_PEOPLE[_FIRST - TEST_PEOPLE[0] + 3 * number + k]) for k in range(1 + number % 3)]
    return draw_scene(people, 70_000_000 + number)


def _collect(views: Sequence[tuple[Image, Mapping[str, str]]]) -> Views:
    answers = np.full((len(views), len(CLASSES)), UNASKED, np.int64)
    for row, (_, told) in enumerate(views):
        for place, (name, known) in enumerate(CLASSES.items()):
            if name in told:
                answers[row, place] = known.index(told[name])
    return Views(np.stack([image for image, _ in views]), answers)


def _worn(image: Image, random: np.random.Generator) -> Image:
    """A view as it may come: mirrored, moved a little, lighter or darker, soft or noisy as if generated."""
    if random.random() < 0.5:
        image = image[:, ::-1]
    shift = (int(random.integers(-3, 4)), int(random.integers(-3, 4)))
    lighter = np.roll(image, shift, axis=(0, 1)) * random.uniform(0.9, 1.1)
    image = np.clip(lighter, 0, 255).astype(np.uint8)
    return degrade(np.ascontiguousarray(image), random)
