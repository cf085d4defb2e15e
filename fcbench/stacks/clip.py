"""CLIP as matcher and judge: unit vectors of pictures and texts."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from transformers import CLIPModel, CLIPTokenizer

from fcbench.errors import DataError, MissingError, one_line
from fcbench.images import pad_to_square, resize, to_clip, to_tensor
from fcbench.stacks.loading import read_whole
from fcbench.stacks.whole import lacking_vocabulary
from fcbench.types import Image

_BATCH = 64


class Clip:
    """A CLIPModel with its tokenizer, from a folder or a hub id (``openai/clip-vit-large-patch14``).

    ``bicubic``: pictures are resized so, as in OpenAI's own preprocessing; else bilinearly.
    """

    def __init__(self, model: CLIPModel, tokenizer: CLIPTokenizer, *, bicubic: bool = False) -> None:
        self._model, self._tokenizer, self._bicubic = model, tokenizer, bicubic
        self._size: int = model.config.vision_config.image_size

    @torch.no_grad()
    def image_features(self, images: Sequence[Image]) -> npt.NDArray[np.float32]:
        """Pictures, padded to squares, as unit vectors: float32 (n, dim)."""
        chunks = []
        for start in range(0, len(images), _BATCH):
            batch = images[start : start + _BATCH]
            squares = [resize(pad_to_square(image), self._size, bicubic=self._bicubic) for image in batch]
            pixels = to_clip(to_tensor(squares, self._model.device), self._size).to(self._model.dtype)
            chunks.append(self._model.get_image_features(pixel_values=pixels).pooler_output)
        return self._unit(chunks)

    @torch.no_grad()
    def text_features(self, texts: Sequence[str]) -> npt.NDArray[np.float32]:
        """Texts as unit vectors: float32 (n, dim)."""
        chunks = []
        for start in range(0, len(texts), _BATCH):
            words = self._tokenizer(
                list(texts[start : start + _BATCH]),
                padding="max_length",
                truncation=True,
                max_length=self._tokenizer.model_max_length,
                return_tensors="pt",
            ).input_ids.to(self._model.device)
            chunks.append(self._model.get_text_features(input_ids=words).pooler_output)
        return self._unit(chunks)

    def _unit(self, chunks: list[torch.Tensor]) -> npt.NDArray[np.float32]:
        if not chunks:
            return np.zeros((0, self._model.config.projection_dim), np.float32)
        vectors = torch.cat(chunks).float()
        unit: npt.NDArray[np.float32] = (vectors / vectors.norm(dim=1, keepdim=True)).cpu().numpy()
        return unit


def load_clip(place: Path | str, *, tokenizer: str | None = None, bicubic: bool = False, device: str = "cpu") -> Clip:
    """CLIP from a folder or hub id; ``tokenizer`` names a folder beside it where the tokenizer lies apart.

    MissingError where there is none, DataError where it is broken or not whole.
    """
    words = Path(place).parent / tokenizer if tokenizer else place
    if Path(words).is_dir() and (absent := lacking_vocabulary(Path(words), CLIPTokenizer)):
        raise DataError(f"{words}: CLIP's tokenizer needs {absent}")
    try:
        model = read_whole(CLIPModel, place, dtype=torch.float32).to(device)
        return Clip(model, CLIPTokenizer.from_pretrained(words), bicubic=bicubic)
    except DataError:
        raise
    except OSError as error:
        raise MissingError(
            f"{place}: no CLIP model there or in the Hugging Face cache; where there is a network: hf download {place}"
        ) from error
    except Exception as error:  # safetensors, JSON and transformers have errors of their own
        raise DataError(f"{place}: cannot be loaded as CLIP ({one_line(error)})") from error
