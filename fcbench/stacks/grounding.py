"""The matcher role as GroundingDINO (arXiv 2303.05499) fills it: where in a picture each phrase of its caption is.

Boxes are read off the tokens of a phrase's own characters. Decoding the tokens that a box fires on, as the library's
own step does, gives fragments and phrases run together.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeAlias

import torch
from torch import Tensor

from fcbench.errors import DataError, MissingError, one_line
from fcbench.stacks.loading import precision, read_whole, refuse_nan
from fcbench.types import Image
from fcbench.weights import quiet

Corners: TypeAlias = tuple[float, float, float, float]
Span: TypeAlias = tuple[int, int]


class GroundingDino:
    """A GroundingDinoForObjectDetection and what feeds it; boxes under ``threshold`` are left out."""

    def __init__(self, model: Any, processor: Any, tokenizer: Any, *, threshold: float, most: int) -> None:
        self._model, self._processor, self._tokenizer = model, processor, tokenizer
        self._threshold, self._most = threshold, most

    @torch.no_grad()
    def ground(
        self, images: Sequence[Image], captions: Sequence[str], spans: Sequence[Sequence[Span]]
    ) -> list[list[list[tuple[Corners, float]]]]:
        """For each picture, for each span of its caption: boxes in pixels with scores in 0-1, the surest first.

        A box's score for a phrase is its best one over the phrase's tokens.
        """
        return [self._one(*given) for given in zip(images, captions, spans, strict=True)]

    def _one(self, image: Image, caption: str, spans: Sequence[Span]) -> list[list[tuple[Corners, float]]]:
        text = caption.lower()
        text = text if text.endswith(".") else f"{text}."  # the model takes a full stop for the end of a phrase
        most = self._model.config.max_text_len
        words = self._tokenizer(
            text, return_tensors="pt", return_offsets_mapping=True, truncation=True, max_length=most
        )
        offsets = words.pop("offset_mapping")[0].tolist()
        pixels = self._processor([image], return_tensors="pt")
        device = self._model.device
        output = self._model(
            pixel_values=pixels["pixel_values"].to(device, self._model.dtype),
            pixel_mask=pixels["pixel_mask"].to(device),
            **{name: value.to(device) for name, value in words.items()},
        )
        refuse_nan(output.logits, "matcher")
        shares = output.logits[0].float().sigmoid().cpu()
        corners = to_corners(output.pred_boxes[0].float().cpu(), image.shape[:2])
        return [self._of_phrase(shares, corners, tokens_of(span, offsets)) for span in spans]

    def _of_phrase(self, shares: Tensor, corners: Tensor, tokens: Sequence[int]) -> list[tuple[Corners, float]]:
        if not tokens:
            return []
        scores = shares[:, list(tokens)].amax(1)
        best = scores.argsort(descending=True, stable=True)[: self._most].tolist()
        found = []
        for row in best:
            x1, y1, x2, y2 = corners[row].tolist()
            found.append(((x1, y1, x2, y2), float(scores[row])))
        return [(box, score) for box, score in found if score >= self._threshold]


def tokens_of(span: Span, offsets: Sequence[Sequence[int]]) -> list[int]:
    """The tokens whose characters lie in [start, end); special tokens have none.

    >>> tokens_of((0, 5), [[0, 0], [0, 1], [2, 5], [6, 13]])
    [1, 2]
    """
    return [
        number for number, (start, end) in enumerate(offsets) if start < end and span[0] <= start and end <= span[1]
    ]


def to_corners(boxes: Tensor, size: Sequence[int]) -> Tensor:
    """(middle x, middle y, width, height) in shares of the picture as (x1, y1, x2, y2) in pixels, clamped to it."""
    height, width = size
    x, y, w, h = boxes.unbind(-1)
    corners = torch.stack([x - w / 2, y - h / 2, x + w / 2, y + h / 2], dim=-1).clamp(0, 1)
    return corners * torch.tensor([width, height, width, height], dtype=corners.dtype)


def load_grounding_dino(
    place: Path | str, *, threshold: float = 0.25, most: int = 10, device: str = "cpu"
) -> GroundingDino:
    """GroundingDINO from a folder: ``most`` boxes a phrase. MissingError where there is none, DataError if broken."""
    from transformers import AutoTokenizer, GroundingDinoForObjectDetection, GroundingDinoImageProcessorPil

    quiet()
    folder = Path(place)
    if not (folder / "config.json").is_file():
        raise MissingError(f"{folder}: no config.json of GroundingDINO there; get one with: hf download {place}")
    try:
        model = read_whole(
            GroundingDinoForObjectDetection,
            folder,
            local_files_only=True,
            use_safetensors=True,
            dtype=precision(device),
        )
        processor = GroundingDinoImageProcessorPil.from_pretrained(folder, local_files_only=True)
        tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
    except DataError:
        raise
    except Exception as error:  # safetensors, JSON and transformers have errors of their own
        raise DataError(f"{folder}: cannot be loaded as GroundingDINO ({one_line(error)})") from error
    return GroundingDino(model.to(device).eval(), processor, tokenizer, threshold=threshold, most=most)
