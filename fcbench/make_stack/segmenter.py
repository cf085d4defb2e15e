"""The segmenter: a small Mask2Former (arXiv 2112.01527) that finds the people of the drawn world, one mask each.

The world's 64 pixels are doubled first: at Mask2Former's coarsest stride, 32, a picture would be two cells wide.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor
from torch.nn import functional
from transformers import (
    Mask2FormerConfig,
    Mask2FormerForUniversalSegmentation,
    Mask2FormerImageProcessorPil,
    ResNetConfig,
)

from fcbench.images import to_tensor
from fcbench.loop import Clock, Stateful, cosine, run_steps
from fcbench.make_stack.pool import training_scene
from fcbench.types import Image
from fcbench.weights import save_half
from fcbench.world import render

SIDE = 128
"""What pictures are enlarged to."""
BATCH = 12
QUERIES = 6
NOTHING_WEIGHT = 0.4
"""Of queries that find nothing; Mask2Former, with 100 queries, has 0.1."""
_FIRST = 20_000_000
_MEAN, _STD = (0.5, 0.5, 0.5), (0.5, 0.5, 0.5)


def new_segmenter() -> Mask2FormerForUniversalSegmentation:
    """The untrained model: a four-stage residual backbone, one deformable layer, three decoder layers, all 64 wide."""
    backbone = ResNetConfig(
        embedding_size=16,
        hidden_sizes=[16, 32, 64, 96],
        depths=[1, 1, 1, 1],
        layer_type="basic",
        out_features=["stage1", "stage2", "stage3", "stage4"],
    )
    config = Mask2FormerConfig(
        backbone_config=backbone,
        feature_size=64,
        mask_feature_size=64,
        hidden_dim=64,
        encoder_feedforward_dim=128,
        dim_feedforward=128,
        encoder_layers=1,
        decoder_layers=4,
        num_attention_heads=4,
        num_queries=QUERIES,
        id2label={0: "person"},
        label2id={"person": 0},
    )
    return Mask2FormerForUniversalSegmentation(config)


def new_processor() -> Mask2FormerImageProcessorPil:
    """How pictures become the model's input."""
    return Mask2FormerImageProcessorPil(
        size={"height": SIDE, "width": SIDE}, image_mean=_MEAN, image_std=_STD, do_reduce_labels=False
    )


def train_segmenter(work: Path, clock: Clock, *, steps: int, seed: int) -> Mask2FormerForUniversalSegmentation:
    """Train on scenes drawn as they are needed; the state is kept in ``work/segmenter.pt``."""
    torch.manual_seed(seed)
    model = new_segmenter().train()
    optimiser = torch.optim.AdamW(model.parameters(), lr=1.5e-3, weight_decay=0.05, fused=True)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimiser, lambda k: cosine(k, steps))

    def step(k: int) -> dict[str, float]:
        pictures, masks = draw_people(_FIRST + BATCH * (seed * 1_000_000 + k))
        pixels = functional.interpolate(to_tensor(pictures), (SIDE, SIDE), mode="bilinear", align_corners=False)
        found = model(pixel_values=pixels, output_auxiliary_logits=True)
        layers = [(found.class_queries_logits, found.masks_queries_logits)]
        layers += [(aux["class_queries_logits"], aux["masks_queries_logits"]) for aux in found.auxiliary_logits]
        losses = [segmentation_loss(classes, logits, masks) for classes, logits in layers]
        loss = torch.stack([loss for loss, _ in losses]).mean()
        optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
        schedule.step()
        return {"loss": loss.item(), "iou": losses[0][1]}

    state: dict[str, Stateful] = {"model": model, "optimiser": optimiser, "schedule": schedule}
    run_steps("segmenter", steps, step, state, work / "segmenter.pt", clock)
    return model.eval()


def save_segmenter(folder: Path, model: Mask2FormerForUniversalSegmentation) -> None:
    """The model and how its input is made, as transformers keeps them."""
    save_half(folder, model)
    new_processor().save_pretrained(folder)


def draw_people(first: int, count: int = BATCH) -> tuple[list[Image], list[Tensor]]:
    """Training scenes from number ``first`` on, and each one's visible people: float32 (people, 64, 64)."""
    pictures, masks = [], []
    for number in range(first, first + count):
        drawn = render(training_scene(number))
        pictures.append(drawn.image)
        visible = [figure.mask for figure in drawn.figures if figure.mask.any()]
        masks.append(torch.from_numpy(np.stack(visible)).float())
    return pictures, masks


def segmentation_loss(classes: Tensor, logits: Tensor, masks: Sequence[Tensor]) -> tuple[Tensor, float]:
    """Mask2Former's loss on whole masks, which are small here: class, cross-entropy and dice of the best assignment.

    ``classes``: (n, queries, 2), ``logits``: (n, queries, h, w), ``masks``: n x (people, H, W). Returns too the
    mean IoU of the assigned masks.
    """
    rows, queries, people = _assign(classes.detach(), logits.detach(), masks)
    target = torch.ones(classes.shape[:2], dtype=torch.long)
    target[rows, queries] = 0
    named = functional.cross_entropy(classes.transpose(1, 2), target, torch.tensor([1.0, NOTHING_WEIGHT]))
    truth = torch.cat([masks[row][person][None] for row, person in zip(rows, people, strict=True)])
    chosen = logits[rows, queries][:, None]
    chosen = functional.interpolate(chosen, truth.shape[-2:], mode="bilinear", align_corners=False)[:, 0]
    drawn = functional.binary_cross_entropy_with_logits(chosen, truth)
    shares = chosen.sigmoid().flatten(1)
    flat = truth.flatten(1)
    dice = 1 - (2 * (shares * flat).sum(1) + 1) / (shares.sum(1) + flat.sum(1) + 1)
    hard = shares.detach() > 0.5
    iou = (hard & (flat > 0)).sum(1) / (hard | (flat > 0)).sum(1)
    return 2 * named + 5 * drawn + 5 * dice.mean(), float(iou.mean())


def _assign(classes: Tensor, logits: Tensor, masks: Sequence[Tensor]) -> tuple[list[int], list[int], list[int]]:
    """Picture, query and person of each assigned pair, by class, cross-entropy and dice at the logits' size."""
    rows: list[int] = []
    queries: list[int] = []
    people: list[int] = []
    sure = classes.softmax(-1)[..., 0]
    for row, truth in enumerate(masks):
        small = functional.interpolate(truth[None], logits.shape[-2:], mode="area")[0].flatten(1)
        flat = logits[row].flatten(1)
        shares = flat.sigmoid()
        crossed = functional.softplus(flat).mean(1)[:, None] - flat @ small.T / flat.shape[1]
        dice = 1 - (2 * shares @ small.T + 1) / (shares.sum(1)[:, None] + small.sum(1)[None] + 1)
        cost = 5 * crossed + 5 * dice - 2 * sure[row][:, None]
        chosen, owners = linear_sum_assignment(cost.numpy())
        rows += [row] * len(chosen)
        queries += chosen.tolist()
        people += owners.tolist()
    return rows, queries, people
