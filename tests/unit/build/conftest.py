"""Stacks for building, with a matcher whose features are drawn from bytes; and a build that is ready."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

import fcbench.stacks
from fcbench.build import build_data
from fcbench.stacks import load_stack
from fcbench.stacks.text import load_parser
from fcbench.store import DataFolder, data_folder
from fcbench.types import Image, Stack
from tests.toys.build_toys import PHOTOS, stack_file

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


@pytest.fixture(scope="module")
def toys(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return stack_file(tmp_path_factory.mktemp("stack"))


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory, toys: Path) -> DataFolder:
    """Built in one go: three shards, of 50, 50 and 15 photos."""
    out = tmp_path_factory.mktemp("out")
    build_data(out, photos=PHOTOS, stack=load_stack(str(toys)), progress=None)
    return data_folder(out, "world")
