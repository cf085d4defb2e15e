"""The captioner role: BLIP and BLIP-2 through transformers, the miniature's own or a downloaded one."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from fcbench.errors import DataError, MissingError, one_line
from fcbench.stacks.loading import precision, read_whole
from fcbench.types import Image
from fcbench.weights import quiet

BATCH = 16


class Blip:
    """A BlipForConditionalGeneration or Blip2ForConditionalGeneration with its tokenizer and image processor.

    Captions come from beam search (greedy with one beam), never from sampling. Which pictures share a batch changes the
    last digits behind them (transformers issue 25221), so ``batch`` is part of what a build is known by.
    """

    def __init__(self, model: Any, processor: Any, tokenizer: Any, *, beams: int, tokens: int, batch: int) -> None:
        self._model, self._processor, self._tokenizer = model, processor, tokenizer
        self._beams, self._tokens, self._batch = beams, tokens, batch

    @torch.no_grad()
    def captions(self, images: Sequence[Image]) -> list[str]:
        """A caption for each picture, spaced as in print."""
        found: list[str] = []
        for start in range(0, len(images), self._batch):
            pixels = self._processor(list(images[start : start + self._batch]), return_tensors="pt").pixel_values
            ids = self._model.generate(
                pixel_values=pixels.to(self._model.device, self._model.dtype),
                max_new_tokens=self._tokens,
                num_beams=self._beams,
                do_sample=False,
            )
            # BLIP-2's answer begins with placeholders of its picture, which not every tokenizer knows as special
            picture = getattr(self._model.config, "image_token_id", None)
            words = [[word for word in row if word != picture] for row in ids.tolist()]
            found += [tidy(text) for text in self._tokenizer.batch_decode(words, skip_special_tokens=True)]
        return found


def load_blip(place: Path | str, *, beams: int = 3, tokens: int = 50, batch: int = BATCH, device: str = "cpu") -> Blip:
    """BLIP or BLIP-2 from a folder, whichever its ``config.json`` says.

    ``beams``: of the search; ``tokens``: the most that a caption may have. DataError for a folder that holds neither.
    """
    from transformers import (
        AutoConfig,
        AutoTokenizer,
        Blip2ForConditionalGeneration,
        BlipForConditionalGeneration,
        BlipImageProcessorPil,
    )

    quiet()
    folder = Path(place)
    if not (folder / "config.json").is_file():
        raise MissingError(f"{folder}: no config.json of a captioner there; get one with: hf download {place}")
    try:
        kind = AutoConfig.from_pretrained(folder, local_files_only=True).model_type
        classes = {"blip": BlipForConditionalGeneration, "blip-2": Blip2ForConditionalGeneration}
        if kind not in classes:
            raise DataError(f"{folder}: a captioner must be blip or blip-2, this is {kind}")
        model = read_whole(classes[kind], folder, local_files_only=True, use_safetensors=True, dtype=precision(device))
        if kind == "blip-2" and model.config.image_token_id is None:
            raise DataError(
                f"{folder}: a BLIP-2 of before November 2024, without image_token_index: take a later revision"
            )
        processor = BlipImageProcessorPil.from_pretrained(folder, local_files_only=True)
        tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
    except DataError:
        raise
    except Exception as error:  # safetensors, JSON and transformers have errors of their own
        raise DataError(f"{folder}: cannot be loaded as a captioner ({one_line(error)})") from error
    return Blip(model.to(device).eval(), processor, tokenizer, beams=beams, tokens=tokens, batch=batch)


def tidy(text: str) -> str:
    """A caption without spaces before commas and stops, and without doubled ones.

    >>> tidy("a man , a  woman and a dog .")
    'a man, a woman and a dog.'
    """
    return re.sub(r" (?=[,.;:!?])", "", " ".join(text.split()))
