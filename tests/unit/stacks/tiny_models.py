"""What the labelling models' tests share: pictures, words, and sizes of a few channels."""

from __future__ import annotations

from typing import Any

import numpy as np

WORDS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "[DEC]", "a", "man", "woman", "and", ".", ",", "hat")
PICTURES = [np.random.default_rng(k).integers(0, 256, (40, 56, 3), np.uint8) for k in range(3)]


def bert() -> Any:
    from transformers import BertTokenizer

    return BertTokenizer(vocab={word: k for k, word in enumerate(WORDS)}, bos_token="[DEC]")


def tiny_vision(cls: Any, **more: Any) -> dict[str, Any]:
    sizes = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
    made: dict[str, Any] = cls(**sizes, image_size=32, patch_size=16, **more).to_dict()
    return made
