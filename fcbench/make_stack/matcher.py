"""The matcher: the contrastive model, taught what a person alone looks like.

Build-data compares cut-out people with phrases, and those the contrastive training never showed it. Only the vision
side learns, so that texts stay what they were.
"""

from __future__ import annotations

import copy
from pathlib import Path

import torch
from torch.nn import functional
from transformers import CLIPModel, CLIPTokenizer

from fcbench.images import resize, to_clip, to_tensor
from fcbench.loop import Clock, cosine, run_steps
from fcbench.make_stack.clip import tokenize
from fcbench.make_stack.pool import training_scene
from fcbench.masks import on_grey
from fcbench.types import Image
from fcbench.world import render

NOUNS = ("man", "woman")
SCENES = 32
"""Scenes a step, each person of which is cut out."""


def train_matcher(
    clip: CLIPModel, tokenizer: CLIPTokenizer, work: Path, clock: Clock, *, steps: int, seed: int
) -> CLIPModel:
    """A copy of ``clip`` that tells a cut-out man from a cut-out woman."""
    matcher = copy.deepcopy(clip).train()
    matcher.requires_grad_(False)
    trained = [*matcher.vision_model.parameters(), *matcher.visual_projection.parameters()]
    for parameter in trained:
        parameter.requires_grad_(True)
    optimiser = torch.optim.AdamW(trained, lr=3e-4, weight_decay=0.05, fused=True)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimiser, lambda k: cosine(k, steps))
    words = tokenize(tokenizer, [f"a {noun}" for noun in NOUNS])

    def step(k: int) -> dict[str, float]:
        pictures, nouns = cut_out_people(10_000_000 * (seed + 1) + SCENES * k)
        logits = matcher(input_ids=words, pixel_values=to_clip(to_tensor(pictures), 64)).logits_per_image
        loss = functional.cross_entropy(logits, nouns)
        optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(trained, 1.0)
        optimiser.step()
        schedule.step()
        return {"loss": loss.item(), "right": float((logits.detach().argmax(1) == nouns).float().mean())}

    state = {"matcher": matcher, "optimiser": optimiser, "schedule": schedule}
    run_steps("matcher", steps, step, state, work / "cut-outs.pt", clock)
    return matcher.eval()


def cut_out_people(first: int) -> tuple[list[Image], torch.Tensor]:
    """The people of SCENES training scenes from number ``first`` on, alone on grey, and their nouns' indices."""
    pictures, nouns = [], []
    for number in range(first, first + SCENES):
        drawn = render(training_scene(number))
        for figure in drawn.figures:
            if figure.mask.any():
                pictures.append(resize(on_grey(drawn.image, figure.mask, figure.box), 64))
                nouns.append(NOUNS.index(figure.noun))
    return pictures, torch.tensor(nouns)
