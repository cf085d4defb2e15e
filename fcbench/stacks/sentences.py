"""The role ``sentences``: how alike two texts are, by a sentence transformer (arXiv 1908.10084) through transformers.

Its vectors are the mean of its tokens' last states, which the model was trained for.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from fcbench.errors import DataError, MissingError, one_line
from fcbench.stacks.loading import read_whole
from fcbench.weights import quiet

BATCH = 64


class Sentences:
    """An encoder of transformers with its tokenizer."""

    def __init__(self, model: Any, tokenizer: Any) -> None:
        self._model, self._tokenizer = model, tokenizer

    @torch.no_grad()
    def text_features(self, texts: Sequence[str]) -> npt.NDArray[np.float32]:
        """Texts as unit vectors: float32 (n, dim)."""
        chunks = [np.zeros((0, self._model.config.hidden_size), np.float32)]
        for start in range(0, len(texts), BATCH):
            words = self._tokenizer(
                list(texts[start : start + BATCH]), padding=True, truncation=True, return_tensors="pt"
            ).to(self._model.device)
            states = self._model(**words).last_hidden_state.float()
            real = words["attention_mask"][..., None]
            means = (states * real).sum(1) / real.sum(1)
            chunks.append(torch.nn.functional.normalize(means, dim=1).cpu().numpy())
        return np.concatenate(chunks)


def load_sentences(place: Path | str, *, device: str = "cpu") -> Sentences:
    """A sentence transformer from a folder, in float32. MissingError where there is none, DataError if broken."""
    from transformers import AutoModel, AutoTokenizer

    quiet()
    folder = Path(place)
    if not (folder / "config.json").is_file():
        raise MissingError(f"{folder}: no config.json of a sentence encoder there; get one with: hf download {place}")
    try:
        model = read_whole(
            AutoModel,
            folder,
            without=(r"^pooler\.",),  # nothing here asks for it
            local_files_only=True,
            use_safetensors=True,
            dtype=torch.float32,
        )
        tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
    except DataError:
        raise
    except Exception as error:  # safetensors, JSON and transformers have errors of their own
        raise DataError(f"{folder}: cannot be loaded as a sentence encoder ({one_line(error)})") from error
    return Sentences(model.to(device).eval(), tokenizer)
