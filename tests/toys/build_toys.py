"""A stack for building that needs no weights and no library: a parser by rule, a matcher by hash; and a driver."""

from __future__ import annotations

import hashlib
import os
import re
import signal
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from fcbench.build import build_data
from fcbench.build.engine import Workers
from fcbench.build.records import Item
from fcbench.build.source import World
from fcbench.stacks import load_stack
from fcbench.store import DataFolder
from fcbench.types import Image

PHOTOS = 115
"""In shards of 50, 50 and 15."""


@dataclass(frozen=True)
class Token:
    text: str
    i: int = 0
    dep_: str = ""
    children: tuple[Token, ...] = ()


@dataclass(frozen=True)
class Chunk:
    text: str
    root: Token
    start_char: int
    end_char: int
    start: int = 0
    end: int = 1


@dataclass(frozen=True)
class Doc:
    noun_chunks: tuple[Chunk, ...]


class RuleParser:
    """Takes an article and what follows it, up to "man" or "woman" or else one word, for a noun phrase."""

    def pipe(self, texts: Iterable[str], batch_size: int) -> Iterator[Doc]:
        for text in texts:
            found = re.finditer(r"\b(?:an?|the) (?:\w+ ){0,3}?(man|woman)\b|\ba (\w+)", text)
            yield Doc(tuple(Chunk(m[0], Token(m[1] or m[2]), m.start(), m.end()) for m in found))


def die_with(file: str) -> None:
    """Take the file away, and this process with it, if it is there."""
    if file and Path(file).exists():
        Path(file).unlink()
        os.kill(os.getpid(), signal.SIGKILL)


@dataclass(frozen=True)
class DyingWorld(World):
    """While the file ``dies`` is there, who ingests takes it away and itself with it."""

    dies: str = ""

    def ingest(self, folder: DataFolder, part: range) -> Iterator[Item]:
        die_with(self.dies)
        return super().ingest(folder, part)


class HashMatcher:
    """Unit features without meaning: equal inputs, equal features.

    ``dies`` names a file: while it is there, the matcher takes it away and its own process with it. ``awaits`` names a
    folder, in which three files must be before the matcher answers.
    """

    def __init__(self, seed: int = 0, dies: str = "", awaits: str = "") -> None:
        self._seed, self._dies, self._awaits = seed, dies, awaits

    def image_features(self, images: Sequence[Image]) -> npt.NDArray[np.float32]:
        die_with(self._dies)
        for _ in range(600):
            if not self._awaits or len(os.listdir(self._awaits)) >= 3:
                return np.stack([self._feature(image.tobytes()) for image in images])
            time.sleep(0.1)
        raise TimeoutError(self._awaits)

    def text_features(self, texts: Sequence[str]) -> npt.NDArray[np.float32]:
        return np.stack([self._feature(text.encode()) for text in texts])

    def _feature(self, data: bytes) -> npt.NDArray[np.float32]:
        digest = hashlib.sha256(data).digest()[:8]
        drawn = np.random.default_rng([self._seed, int.from_bytes(digest)]).standard_normal(16).astype(np.float32)
        unit: npt.NDArray[np.float32] = drawn / np.linalg.norm(drawn)
        return unit


def stack_file(folder: Path, **matcher: str | int) -> Path:
    """A stack's YAML file whose matcher has these options."""
    options = "".join(f", {key}: {value}" for key, value in matcher.items())
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "toys.yaml"
    path.write_text(
        "name: toys\nimage_size: 64\nroles:\n"
        "  parser: {class: tests.toys.build_toys.RuleParser}\n"
        f"  matcher: {{class: tests.toys.build_toys.HashMatcher{options}}}\n"
    )
    return path


def tables(folder: DataFolder) -> dict[str, bytes]:
    """A build's files that must not differ, by name."""
    found = {str(path.relative_to(folder.path)): path.read_bytes() for path in folder.path.rglob("*.parquet")}
    return found | {"ATTRIBUTION.csv": folder.attribution.read_bytes(), "build.json": folder.build.read_bytes()}


def drive(out: str, stack: str, photos: int, workers: int = 0) -> None:
    """Build the world; what a test runs in a process that it kills."""
    engine = Workers(stack, ["cpu"] * workers) if workers else None
    build_data(Path(out), photos=photos, stack=load_stack(stack), engine=engine, progress=None)


if __name__ == "__main__":
    drive(sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4]))
