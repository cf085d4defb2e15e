"""The segmenter role: Segment Anything (arXiv 2304.02643), by transformers without torchvision or by its own package.

Prompted with a detector's boxes, its masks get the boxes' labels. Without one it asks at a grid of points, keeps what
is sure and stable, and labels its masks ``object``.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from fcbench.errors import DataError, MissingError, one_line
from fcbench.masks import box_of
from fcbench.stacks.boxes import Box, Detector, load_detector
from fcbench.stacks.loading import precision, read_whole, refuse_nan
from fcbench.types import UNLABELLED, Image, Mask, Region
from fcbench.weights import quiet

SURE, STABLE, SAME, MOST = 0.88, 0.95, 0.7, 60
"""For automatic masks: predicted IoU and stability as SAM's own generator asks, overlap beyond which two boxes are one,
and how many masks are kept."""


class Sam:
    """A SamModel with its processor, and the detector whose boxes prompt it."""

    def __init__(self, model: Any, processor: Any, detector: Detector | None, *, grid: int, points: int) -> None:
        self._model, self._processor, self._detector = model, processor, detector
        self._grid, self._points = grid, points

    @torch.no_grad()
    def regions(self, images: Sequence[Image]) -> list[list[Region]]:
        """For each picture its regions, the surest first; they may overlap."""
        return [self._prompted(image) if self._detector else self._automatic(image) for image in images]

    def _prompted(self, image: Image) -> list[Region]:
        assert self._detector is not None
        boxes = self._detector.boxes(image)
        if not boxes:
            return []
        inputs = self._processor(image, input_boxes=[[list(box.corners) for box in boxes]], return_tensors="pt")
        output = self._ask(self._embed(inputs), input_boxes=inputs["input_boxes"])
        masks = self._masks(output.pred_masks, inputs)[0][:, 0].cpu().numpy()
        return boxed(boxes, masks)

    def _automatic(self, image: Image) -> list[Region]:
        height, width = image.shape[:2]
        steps = (np.arange(self._grid) + 0.5) / self._grid
        places = [[[x * width, y * height]] for y in steps.tolist() for x in steps.tolist()]
        inputs = self._processor(image, input_points=[places], return_tensors="pt")
        embedded = self._embed(inputs)
        found: list[tuple[Mask, float]] = []
        for points in inputs["input_points"].split(self._points, dim=1):
            output = self._ask(embedded, input_points=points, several=True)
            scores, small = output.iou_scores[0].flatten(), output.pred_masks[0].flatten(0, 1)
            sure = scores > SURE  # few are, and to enlarge a mask is what takes time
            if bool(sure.any()):
                logits = self._masks(small[None, sure, None], inputs, binarize=False)[0][:, 0]
                found += stable(logits, scores[sure].float())
        return [Region(mask, UNLABELLED, score) for mask, score in distinct(found)]

    def _embed(self, inputs: Any) -> Tensor:
        pixels = inputs["pixel_values"].to(self._model.device, self._model.dtype)
        embedded: Tensor = self._model.get_image_embeddings(pixels)
        return embedded

    def _ask(self, embedded: Tensor, *, several: bool = False, **prompts: Tensor) -> Any:
        given = {name: value.to(self._model.device, self._model.dtype) for name, value in prompts.items()}
        output = self._model(image_embeddings=embedded, multimask_output=several, **given)
        refuse_nan(output.iou_scores, "segmenter")
        return output

    def _masks(self, masks: Tensor, inputs: Any, *, binarize: bool = True) -> list[Tensor]:
        found: list[Tensor] = self._processor.image_processor.post_process_masks(
            masks.float(), inputs["original_sizes"], inputs["reshaped_input_sizes"], binarize=binarize
        )
        return found


class SegmentAnything:
    """The same through the package ``segment_anything``: a predictor and, without a detector, its own generator."""

    def __init__(self, predictor: Any, generate: Callable[[Image], Any], detector: Detector | None) -> None:
        self._predictor, self._generate, self._detector = predictor, generate, detector

    def regions(self, images: Sequence[Image]) -> list[list[Region]]:
        """For each picture its regions, the surest first; they may overlap."""
        return [self._prompted(image) if self._detector else self._automatic(image) for image in images]

    def _prompted(self, image: Image) -> list[Region]:
        assert self._detector is not None
        boxes = self._detector.boxes(image)
        if not boxes:
            return []
        self._predictor.set_image(image)
        masks = [self._predictor.predict(box=np.array(box.corners), multimask_output=False)[0][0] for box in boxes]
        return boxed(boxes, np.stack(masks).astype(bool))

    def _automatic(self, image: Image) -> list[Region]:
        masks = sorted(self._generate(image), key=lambda found: -found["predicted_iou"])
        return [Region(m["segmentation"].astype(bool), UNLABELLED, float(min(m["predicted_iou"], 1.0))) for m in masks]


def boxed(boxes: Sequence[Box], masks: Any) -> list[Region]:
    """Masks with their boxes' labels and scores; no empty ones."""
    return [
        Region(np.asarray(mask, bool), box.label, box.score)
        for box, mask in zip(boxes, masks, strict=True)
        if mask.any()
    ]


def stable(logits: Tensor, scores: Tensor) -> list[tuple[Mask, float]]:
    """The masks that change little with a threshold one logit higher or lower, with their scores."""
    wide, narrow = (logits > -1).flatten(1).sum(1), (logits > 1).flatten(1).sum(1)
    rows = torch.nonzero((narrow >= STABLE * wide) & (narrow > 0)).flatten().tolist()
    return [((logits[row] > 0).cpu().numpy(), min(1.0, float(scores[row]))) for row in rows]


def distinct(found: Sequence[tuple[Mask, float]]) -> list[tuple[Mask, float]]:
    """The surest masks, none whose box is nearly that of a surer one."""
    kept: list[tuple[Mask, float]] = []
    boxes: list[tuple[int, int, int, int]] = []
    for mask, score in sorted(found, key=lambda part: -part[1]):
        box = box_of(mask)
        if len(kept) < MOST and all(_overlap(box, other) <= SAME for other in boxes):
            kept.append((mask, score))
            boxes.append(box)
    return kept


def load_sam(
    place: Path | str,
    *,
    detector: str = "",
    labels: Sequence[str] = ("person",),
    grid: int = 32,
    points: int = 64,
    device: str = "cpu",
) -> Sam:
    """SAM from a folder, through transformers.

    ``detector``: the folder of a detector beside it, or elsewhere, whose boxes of ``labels`` prompt it; without one,
    ``grid`` x ``grid`` points do, ``points`` at a time.
    """
    from transformers import SamImageProcessorPil, SamModel, SamProcessor

    quiet()
    folder = Path(place)
    if not (folder / "config.json").is_file():
        raise MissingError(f"{folder}: no config.json of SAM there; get one with: hf download {place}")
    try:
        model = read_whole(SamModel, folder, local_files_only=True, use_safetensors=True, dtype=precision(device))
        processor = SamProcessor(SamImageProcessorPil.from_pretrained(folder, local_files_only=True))
    except DataError:
        raise
    except Exception as error:  # safetensors, JSON and transformers have errors of their own
        raise DataError(f"{folder}: cannot be loaded as SAM ({one_line(error)})") from error
    prompts = _detector(folder, detector, labels, device)
    return Sam(model.to(device).eval(), processor, prompts, grid=grid, points=points)


def load_segment_anything(
    place: Path | str,
    *,
    kind: str = "vit_h",
    detector: str = "",
    labels: Sequence[str] = ("person",),
    device: str = "cpu",
) -> SegmentAnything:
    """SAM from its own package's weights, a file ``sam_vit_h_4b8939.pth``, read as tensors alone.

    MissingError says how to get the package: it needs a torchvision that fits torch.
    """
    try:
        from segment_anything import SamAutomaticMaskGenerator, SamPredictor, sam_model_registry
    except (ImportError, RuntimeError) as error:  # a torchvision for another torch fails with either
        raise MissingError(
            f"the segmenter needs segment_anything and a torchvision that fits torch ({error}): "
            "pip install 'fcbench[sam]', or name fcbench.stacks.sam.load_sam, which needs neither"
        ) from error
    file = Path(place)
    if not file.is_file():
        raise MissingError(f"{file}: no weights of SAM there: a file sam_vit_*.pth from the model's own page")
    if kind not in sam_model_registry:
        raise DataError(f"{file}: kind {kind!r}: known: {', '.join(sorted(sam_model_registry))}")
    model = sam_model_registry[kind](checkpoint=None)
    try:
        model.load_state_dict(torch.load(file, map_location="cpu", weights_only=True))
    except Exception as error:  # a torn or foreign file: torch raises a dozen kinds
        raise DataError(f"{file}: not the weights of SAM {kind} ({one_line(error)})") from error
    model = model.to(device).eval()
    prompts = _detector(file, detector, labels, device)
    return SegmentAnything(SamPredictor(model), SamAutomaticMaskGenerator(model).generate, prompts)


def _detector(place: Path, name: str, labels: Sequence[str], device: str) -> Detector | None:
    if not name:
        return None
    beside = place.parent / name
    return load_detector(beside if beside.exists() else name, labels=labels, device=device)


def _overlap(first: Sequence[int], second: Sequence[int]) -> float:
    """Intersection over union of two boxes."""
    width = min(first[2], second[2]) - max(first[0], second[0])
    height = min(first[3], second[3]) - max(first[1], second[1])
    shared = max(width, 0) * max(height, 0)
    areas = [(box[2] - box[0]) * (box[3] - box[1]) for box in (first, second)]
    return shared / (sum(areas) - shared) if shared else 0.0
