"""The matcher: the contrastive model, taught what a person alone looks like and which words are about one person.

Build-data compares cut-out people with what captions say of each: pairs that contrastive training never showed it.
First the vision side alone learns the nouns, so that texts stay what they were; then both sides learn whom a
description is of, among all the people in a batch and among those in one picture, which is what build-data asks.
"""

from __future__ import annotations

import copy
import re
from dataclasses import dataclass, replace
from pathlib import Path
from random import Random

import torch
from torch.nn import functional
from transformers import CLIPModel, CLIPTokenizer

from fcbench.images import resize, to_clip, to_tensor
from fcbench.loop import Clock, Stateful, cosine, run_steps
from fcbench.make_stack.clip import tokenize
from fcbench.make_stack.pool import training_scene
from fcbench.masks import on_grey
from fcbench.types import Image
from fcbench.world import Figure, Scene, describe, portray, render, traits, traits_in

NOUNS = ("man", "woman")
SCENES = 32
"""Scenes a step; every person in them is cut out."""
COLOURLESS = ("black-and-white", "sepia", "pencil")
"""Styles in which half of what captions say cannot be seen; every third scene is drawn in one of them, against one in
eight in the world: they are what the matcher errs on."""
_KINDS = ("hair", "hat", "scarf", "shades", "shirt", "holding")
_DETAIL = 0.4
"""How often captions tell how people look: as often as those of build-data."""


@dataclass(frozen=True)
class CutOuts:
    """People alone on grey, what is true of each, and what a caption might say: the traits it tells, and the text.

    ``scenes`` are the numbers of the pictures that they were cut out of.
    """

    pictures: list[Image]
    nouns: torch.Tensor
    truths: list[dict[str, str]]
    told: list[dict[str, str]]
    texts: list[str]
    scenes: torch.Tensor


def train_matcher(
    clip: CLIPModel, tokenizer: CLIPTokenizer, work: Path, clock: Clock, *, steps: int, described: int, seed: int
) -> CLIPModel:
    """A copy of ``clip`` that tells cut-out people apart: ``steps`` by noun, then ``described`` by description."""
    matcher = copy.deepcopy(clip).train()
    _learn_nouns(matcher, tokenizer, work, clock, steps=steps, seed=seed)
    learn_descriptions(matcher, tokenizer, work, clock, steps=described, seed=seed)
    return matcher.eval()


def _learn_nouns(
    matcher: CLIPModel, tokenizer: CLIPTokenizer, work: Path, clock: Clock, *, steps: int, seed: int
) -> None:
    matcher.requires_grad_(False)
    trained = [*matcher.vision_model.parameters(), *matcher.visual_projection.parameters()]
    for parameter in trained:
        parameter.requires_grad_(True)
    optimiser = torch.optim.AdamW(trained, lr=3e-4, weight_decay=0.05, fused=True)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimiser, lambda k: cosine(k, steps))
    words = tokenize(tokenizer, [f"a {noun}" for noun in NOUNS])

    def step(k: int) -> dict[str, float]:
        people = cut_out_people(10_000_000 * (seed + 1) + SCENES * k)
        logits = matcher(input_ids=words, pixel_values=to_clip(to_tensor(people.pictures), 64)).logits_per_image
        loss = functional.cross_entropy(logits, people.nouns)
        optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(trained, 1.0)
        optimiser.step()
        schedule.step()
        return {"loss": loss.item(), "right": float((logits.detach().argmax(1) == people.nouns).float().mean())}

    state: dict[str, Stateful] = {"matcher": matcher, "optimiser": optimiser, "schedule": schedule}
    run_steps("matcher", steps, step, state, work / "cut-outs.pt", clock)


def learn_descriptions(
    matcher: CLIPModel, tokenizer: CLIPTokenizer, work: Path, clock: Clock, *, steps: int, seed: int
) -> None:
    """Teach ``matcher``, in place, which cut-out person a description is of; the bare noun is one too.

    CLIP's symmetric loss, over the batch and again over each picture; a description that fits somebody else too is not
    held against that person.
    """
    matcher.requires_grad_(True)
    trained = list(matcher.parameters())
    optimiser = torch.optim.AdamW(trained, lr=6e-4, weight_decay=0.05, betas=(0.9, 0.98), fused=True)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimiser, lambda k: cosine(k, steps))
    bare = tokenize(tokenizer, [f"a {noun}" for noun in NOUNS])

    def step(k: int) -> dict[str, float]:
        people = cut_out_people(10_000_000 * (seed + 1) + 5_000_000 + SCENES * k)
        words = torch.cat([tokenize(tokenizer, people.texts), bare])
        words = words[:, : int((words != tokenizer.eos_token_id).sum(1).max()) + 1]
        logits = matcher(input_ids=words, pixel_values=to_clip(to_tensor(people.pictures), 64)).logits_per_image
        pairs, nouns = logits[:, : len(people.texts)], logits[:, len(people.texts) :]
        right = torch.arange(len(pairs))
        pairs = pairs.masked_fill(fits(people) & ~torch.eye(len(pairs), dtype=torch.bool), float("-inf"))
        beside = pairs.masked_fill(people.scenes[:, None] != people.scenes, float("-inf"))
        loss = (_both_ways(pairs) + _both_ways(beside)) / 2 + functional.cross_entropy(nouns, people.nouns)
        optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(trained, 1.0)
        optimiser.step()
        schedule.step()
        return {
            "loss": loss.item(),
            "right": float((pairs.detach().argmax(1) == right).float().mean()),
            "beside": float((beside.detach().argmax(1) == right).float().mean()),
            "nouns": float((nouns.detach().argmax(1) == people.nouns).float().mean()),
        }

    state: dict[str, Stateful] = {"matcher": matcher, "optimiser": optimiser, "schedule": schedule}
    run_steps("descriptions", steps, step, state, work / "descriptions.pt", clock)


def fits(people: CutOuts) -> torch.Tensor:
    """Which description is true of whom: bool (people, descriptions)."""
    return torch.tensor([[told.items() <= truth.items() for told in people.told] for truth in people.truths])


def cut_out_people(first: int) -> CutOuts:
    """The people of SCENES training scenes from number ``first`` on, half of the scenes described as captions do."""
    found = CutOuts([], torch.empty(0), [], [], [], torch.empty(0))
    nouns, scenes = [], []
    for number in range(first, first + SCENES):
        scene, random = _scene(number), Random(f"told {number}")
        drawn = render(scene)
        texts = captioned(scene, number) if number % 2 else [_portrayed(figure, random) for figure in scene.figures]
        for figure, truth, text in zip(scene.figures, drawn.figures, texts, strict=True):
            if not truth.mask.any():
                continue
            found.pictures.append(resize(on_grey(drawn.image, truth.mask, truth.box), 64))
            nouns.append(NOUNS.index(truth.noun))
            scenes.append(number)
            found.truths.append(traits(figure))
            found.told.append(traits_in(text))
            found.texts.append(text)
    return CutOuts(found.pictures, torch.tensor(nouns), found.truths, found.told, found.texts, torch.tensor(scenes))


def _scene(number: int) -> Scene:
    scene = training_scene(number)
    return replace(scene, style=COLOURLESS[number // 3 % len(COLOURLESS)]) if number % 3 == 0 else scene


def captioned(scene: Scene, seed: int) -> list[str]:
    """What one of a scene's captions says of each person: from their phrase to the next one's, or to the end."""
    caption = describe(scene, seed, detail=_DETAIL)
    starts = sorted(start for start, _ in caption.spans)
    ends = dict(zip(starts, [*starts[1:], len(caption.text)], strict=True))
    return [re.sub(r"(,| and)? *$", "", caption.text[start : ends[start]]) for start, _ in caption.spans]


def _portrayed(figure: Figure, random: Random) -> str:
    return "".join(portray(figure, {kind for kind in _KINDS if random.random() < 0.6}))


def _both_ways(logits: torch.Tensor) -> torch.Tensor:
    """CLIP's loss of logits whose diagonal is right."""
    right = torch.arange(len(logits))
    return (functional.cross_entropy(logits, right) + functional.cross_entropy(logits.T, right)) / 2
