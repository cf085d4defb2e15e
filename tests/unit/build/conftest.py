"""A stack for building: the shipped parser, and a matcher whose features are drawn from its input's bytes."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

import fcbench.stacks
from fcbench.stacks.text import load_parser
from fcbench.types import Image, Stack

PARSER = Path(fcbench.stacks.__path__[0]) / "mini" / "parser"


class HashMatcher:
    """Unit features without meaning: equal inputs, equal features."""

    def image_features(self, images: Sequence[Image]) -> npt.NDArray[np.float32]:
        return np.stack([_feature(image.tobytes()) for image in images])

    def text_features(self, texts: Sequence[str]) -> npt.NDArray[np.float32]:
        return np.stack([_feature(text.encode()) for text in texts])


def _feature(data: bytes) -> npt.NDArray[np.float32]:
    seed = int.from_bytes(hashlib.sha256(data).digest()[:8], "little")
    drawn = np.random.default_rng(seed).standard_normal(16).astype(np.float32)
    unit: npt.NDArray[np.float32] = drawn / np.linalg.norm(drawn)
    return unit


@pytest.fixture(scope="session")
def stack() -> Stack:
    loaders = {"parser": lambda: load_parser(PARSER), "matcher": HashMatcher}
    return Stack("mini", loaders, image_size=64, digests={"parser": "p1", "matcher": "m1"})
