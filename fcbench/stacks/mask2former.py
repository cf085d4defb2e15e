"""The segmenter role: Mask2Former through transformers, panoptic, the miniature's own or a downloaded one.

The library's own panoptic step gives a second person the first one's id when stuff is fused (transformers issue
23461), and enlarges all queries' masks to the picture's size at once. Here only the sure queries are enlarged, and
every segment keeps its own id.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from fcbench.errors import DataError, MissingError, UsageError, one_line
from fcbench.stacks.loading import precision, read_whole, refuse_nan
from fcbench.types import Image, Region
from fcbench.weights import quiet

BATCH = 16
COCO_THINGS, COCO_LABELS = 80, 133
"""COCO's panoptic labels begin with its 80 things; the 53 kinds of stuff come after."""


class Mask2Former:
    """A Mask2FormerForUniversalSegmentation with its image processor.

    ``threshold``: how sure a query must be; ``overlap``: how much of its mask must be left where surer ones overlap
    it; ``stuff``: the uncountable labels; regions of such a label become one.
    """

    def __init__(
        self, model: Any, processor: Any, *, threshold: float, overlap: float, stuff: Collection[int], batch: int
    ) -> None:
        self._model, self._processor = model, processor
        self._threshold, self._overlap, self._stuff, self._batch = threshold, overlap, frozenset(stuff), batch

    @torch.no_grad()
    def regions(self, images: Sequence[Image]) -> list[list[Region]]:
        """For each picture its regions, the surest first; no two share a pixel."""
        found: list[list[Region]] = []
        for start in range(0, len(images), self._batch):
            batch = list(images[start : start + self._batch])
            given = self._processor(batch, return_tensors="pt")
            output = self._model(pixel_values=given.pixel_values.to(self._model.device, self._model.dtype))
            logits = output.masks_queries_logits.float()
            refuse_nan(output.class_queries_logits, "segmenter")
            for image, classes, masks, there in zip(
                batch, output.class_queries_logits.float(), logits, given.pixel_mask, strict=True
            ):
                found.append(self._regions(classes, unpadded(masks, there), image.shape[:2]))
        return found

    def _regions(self, classes: Tensor, masks: Tensor, size: tuple[int, ...]) -> list[Region]:
        names = self._model.config.id2label
        parts = panoptic(classes, masks, size, threshold=self._threshold, overlap=self._overlap, stuff=self._stuff)
        return [
            Region(mask.cpu().numpy(), plain_name(str(names[label])), score, label not in self._stuff)
            for mask, label, score in parts
        ]


def plain_name(label: str) -> str:
    """A label without what COCO's panoptic labels append to say how they were merged.

    >>> [plain_name(label) for label in ("person", "sky-other-merged", "door-stuff", "floor-wood")]
    ['person', 'sky', 'door', 'floor-wood']
    """
    return re.sub(r"(-other|-merged|-stuff)+$", "", label)


def unpadded(masks: Tensor, there: Tensor) -> Tensor:
    """Mask logits (queries, h, w) of the picture alone: processors that keep its shape pad a batch to its largest one.

    ``there`` (height, width): 1 where the padded picture is the picture.
    """
    height, width = int(there.any(1).sum()), int(there.any(0).sum())
    if (height, width) == tuple(there.shape):
        return masks
    whole = functional.interpolate(masks[None], tuple(there.shape), mode="bilinear", align_corners=False)[0]
    return whole[:, :height, :width]


def panoptic(
    classes: Tensor,
    masks: Tensor,
    size: Sequence[int],
    *,
    threshold: float,
    overlap: float,
    stuff: Collection[int] = (),
) -> list[tuple[Tensor, int, float]]:
    """A picture's regions from what its queries say, the surest first: (mask, label, score).

    ``classes``: (queries, labels + 1) logits, the last for nothing; ``masks``: (queries, h, w) logits; ``size``: the
    masks' height and width. Each pixel goes to the query that is surest of it, where that one claims it at all. No
    regions where no query is sure.
    """
    scores, labels = classes.softmax(-1)[:, :-1].max(-1)
    kept = (scores > threshold) & (scores > classes.softmax(-1)[:, -1])
    if not bool(kept.any()):
        return []
    scores, labels = scores[kept], labels[kept]
    shares = functional.interpolate(masks[kept][None], tuple(size), mode="bilinear", align_corners=False)[0].sigmoid()
    claimed = shares >= 0.5
    owner = (shares * scores[:, None, None]).max(0).indices  # what argmax finds, in a seventh of its time on a CPU
    fused: dict[int, list[tuple[Tensor, float]]] = {}
    found: list[tuple[Tensor, int, float]] = []
    for query, (label, score) in enumerate(zip(labels.tolist(), scores.tolist(), strict=True)):
        mask = (owner == query) & claimed[query]
        whole, left = int(claimed[query].sum()), int(mask.sum())
        if not left or left / whole < overlap:
            continue
        if label in stuff:
            fused.setdefault(label, []).append((mask, score))
        else:
            found.append((mask, label, score))
    for label, parts in fused.items():
        found.append((torch.stack([mask for mask, _ in parts]).any(0), label, max(score for _, score in parts)))
    return sorted(found, key=lambda part: -part[2])


def load_mask2former(
    place: Path | str,
    *,
    threshold: float = 0.5,
    overlap: float = 0.8,
    stuff: Sequence[int] | str = "coco",
    batch: int = BATCH,
    device: str = "cpu",
) -> Mask2Former:
    """Mask2Former from a folder. ``stuff``: ids of labels that are not countable; "coco": those from 80 on.

    MissingError where there is none, DataError where it is broken, UsageError for "coco" with more labels than things
    that are not COCO's.
    """
    from transformers import Mask2FormerForUniversalSegmentation, Mask2FormerImageProcessorPil

    quiet()
    folder = Path(place)
    if not (folder / "config.json").is_file():
        raise MissingError(f"{folder}: no config.json of a segmenter there; get one with: hf download {place}")
    try:
        with _any_backbone():
            model = read_whole(
                Mask2FormerForUniversalSegmentation,
                folder,
                without=(r"^criterion\.",),  # of training
                local_files_only=True,
                use_safetensors=True,
                dtype=precision(device),
            )
        processor = Mask2FormerImageProcessorPil.from_pretrained(folder, local_files_only=True)
    except DataError:
        raise
    except Exception as error:  # safetensors, JSON and transformers have errors of their own
        raise DataError(f"{folder}: cannot be loaded as Mask2Former ({one_line(error)})") from error
    ids = stuff_of(model, folder, stuff)
    return Mask2Former(model.to(device).eval(), processor, threshold=threshold, overlap=overlap, stuff=ids, batch=batch)


def stuff_of(model: Any, folder: Path, stuff: Sequence[int] | str) -> Sequence[int]:
    """The ids of a model's labels that are not countable; UsageError for "coco" where its labels are not COCO's."""
    if stuff != "coco":
        return [int(label) for label in stuff]
    count = len(model.config.id2label)
    if COCO_THINGS < count != COCO_LABELS:
        raise UsageError(f"{folder}: its {count} labels are not COCO's {COCO_LABELS}: name the ids of its stuff, or []")
    return range(COCO_THINGS, count)


@contextmanager
def _any_backbone() -> Iterator[None]:
    """Mask2Former's configuration warns of every backbone but Swin; others work."""
    logger = logging.getLogger("transformers.models.mask2former.configuration_mask2former")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)
