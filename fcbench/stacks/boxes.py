"""Boxes that segmenters are prompted with, from an object detector of transformers (DETR and its kin)."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from fcbench.errors import DataError, MissingError, one_line
from fcbench.stacks.loading import precision, read_whole, refuse_nan
from fcbench.types import Image
from fcbench.weights import quiet


@dataclass(frozen=True)
class Box:
    """(x1, y1, x2, y2) in pixels, what is in it, and how sure that is (0-1)."""

    corners: tuple[float, float, float, float]
    label: str
    score: float


class Detector:
    """An object detector that gives boxes of some labels, or of all, where it is surer than ``threshold``."""

    def __init__(self, model: Any, processor: Any, *, threshold: float, labels: Collection[str]) -> None:
        self._model, self._processor = model, processor
        self._threshold, self._labels = threshold, frozenset(labels)

    @torch.no_grad()
    def boxes(self, image: Image) -> list[Box]:
        """The surest first."""
        pixels = self._processor([image], return_tensors="pt")
        output = self._model(
            pixel_values=pixels["pixel_values"].to(self._model.device, self._model.dtype),
            **({"pixel_mask": pixels["pixel_mask"].to(self._model.device)} if "pixel_mask" in pixels else {}),
        )
        refuse_nan(output.logits, "segmenter's detector")
        found = self._processor.post_process_object_detection(
            output, threshold=self._threshold, target_sizes=[image.shape[:2]]
        )[0]
        names = self._model.config.id2label
        boxes = [
            Box(clip(corners, image), str(names[label]), float(score))
            for corners, label, score in zip(
                found["boxes"].tolist(), found["labels"].tolist(), found["scores"].tolist(), strict=True
            )
        ]
        kept = [box for box in boxes if not self._labels or box.label in self._labels]
        return sorted(kept, key=lambda box: -box.score)


def load_detector(
    place: Path | str, *, threshold: float = 0.7, labels: Sequence[str] = (), device: str = "cpu"
) -> Detector:
    """A detector from a folder; MissingError where there is none, DataError where it is broken."""
    from transformers import AutoImageProcessor, AutoModelForObjectDetection

    quiet()
    folder = Path(place)
    if not (folder / "config.json").is_file():
        raise MissingError(
            f"{folder}: no config.json of a detector there; a detector is a folder, such as: hf download "
            "hustvl/yolos-small --local-dir detector"
        )
    try:
        model = read_whole(
            AutoModelForObjectDetection, folder, local_files_only=True, use_safetensors=True, dtype=precision(device)
        )
        processor = AutoImageProcessor.from_pretrained(folder, local_files_only=True, backend="pil")
    except DataError:
        raise
    except Exception as error:  # safetensors, JSON and transformers have errors of their own
        raise DataError(f"{folder}: cannot be loaded as a detector ({one_line(error)})") from error
    return Detector(model.to(device).eval(), processor, threshold=threshold, labels=labels)


def clip(corners: Sequence[float], image: Image) -> tuple[float, float, float, float]:
    """A box as far as it lies in the picture."""
    height, width = image.shape[:2]
    x1, y1, x2, y2 = corners
    return max(0.0, x1), max(0.0, y1), min(float(width), x2), min(float(height), y2)
