"""Where photos come from: a countable list of inputs, of which any slice can be ingested alone."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

from fcbench.build.ingest import ingest_folder, ingest_world, list_pictures
from fcbench.build.records import Item
from fcbench.errors import UsageError, did_you_mean
from fcbench.files import digest_json
from fcbench.store import DataFolder


class Source(Protocol):
    """Inputs in a fixed order. Pickled to workers, so it holds no open file."""

    def __len__(self) -> int:
        """How many inputs there are."""
        ...

    @property
    def recipe(self) -> dict[str, Any]:
        """What the inputs are; goes into the build's recipe."""
        ...

    def key(self, part: range) -> str:
        """A digest of what the working copies of a slice depend on."""
        ...

    def ingest(self, folder: DataFolder, part: range) -> Iterator[Item]:
        """For each input of a slice, in order, its working copy or why there is none."""
        ...


@dataclass(frozen=True)
class World:
    """Pictures drawn by the miniature world."""

    photos: int
    seed: int
    size: int

    def __len__(self) -> int:
        return self.photos

    @property
    def recipe(self) -> dict[str, Any]:
        """The number and the seed."""
        return {"source": "world", "photos": self.photos, "seed": self.seed}

    def key(self, part: range) -> str:
        """Photo n is a function of n, the seed and the size."""
        return digest_json(["world", self.seed, self.size, part.start, part.stop])

    def ingest(self, folder: DataFolder, part: range) -> Iterator[Item]:
        """Draw them."""
        return ingest_world(folder, part, seed=self.seed, size=self.size)


@dataclass(frozen=True)
class Pictures:
    """The pictures in a folder, with their sidecars; known by their names and sizes."""

    root: Path
    files: Sequence[Path]
    size: int
    aside: str = ""
    """What else lies there and is not taken, in a line."""

    @classmethod
    def of(cls, root: Path, size: int) -> Pictures:
        """All pictures under ``root``, by path."""
        files, aside = list_pictures(root)
        return cls(root, files, size, aside)

    def __len__(self) -> int:
        return len(self.files)

    @property
    def recipe(self) -> dict[str, Any]:
        """The folder and the state of its files."""
        return {"source": str(self.root), "files": digest_json(self._states), "short_side": self.size}

    def key(self, part: range) -> str:
        """A digest of the slice's files and sidecars."""
        return digest_json(["pictures", self.size, self._states[part.start : part.stop]])

    def ingest(self, folder: DataFolder, part: range) -> Iterator[Item]:
        """Take them over."""
        return ingest_folder(folder, self.root, self.files[part.start : part.stop], size=self.size)

    @cached_property
    def _states(self) -> list[list[tuple[str, int]]]:
        """For each picture the names and sizes of those of its files that are there."""
        return [
            [(path.relative_to(self.root).as_posix(), size) for path in _beside(file) if (size := _size(path)) >= 0]
            for file in self.files
        ]


@dataclass(frozen=True)
class First:
    """The first ``limit`` inputs of a source, or all where it has fewer."""

    source: Source
    limit: int

    def __len__(self) -> int:
        return min(self.limit, len(self.source))

    @property
    def recipe(self) -> dict[str, Any]:
        """The whole source's, and the limit."""
        return {**self.source.recipe, "limit": self.limit}

    def key(self, part: range) -> str:
        """The whole source's: leaving photos out does not change the others."""
        return self.source.key(part)

    def ingest(self, folder: DataFolder, part: range) -> Iterator[Item]:
        """Take them over."""
        return self.source.ingest(folder, part)


def unlimited(source: Source) -> Source:
    """The whole source, without the limit that it may have."""
    return source.source if isinstance(source, First) else source


KINDS = ("world", "folder", "ffhq", "webdataset", "parquet")


def check_limit(source: str, limit: int | None) -> None:
    """UsageError where a limit is below 1, or the source is the world, which draws as many photos as it is told."""
    if limit is not None and source == "world":
        raise UsageError(f"--limit {limit}: the world draws as many photos as it is told: give --photos {limit}")
    if limit is not None and limit < 1:
        raise UsageError(f"--limit {limit}: at least 1; leave it away to take all photos")


def open_source(
    source: str,
    *,
    photos: int,
    seed: int,
    size: int,
    images: Path | None = None,
    short_side: int = 1024,
    limit: int | None = None,
) -> Source:
    """One of ``KINDS``, all but the world read from ``images``; a path alone is a folder of pictures.

    ``size``: the side of drawn pictures; ``short_side``: the most that the shorter side of others may be; ``limit``:
    how many of the first photos are taken, None for all. UsageError or DataError when there is nothing to take.
    """
    check_limit(source, limit)
    if source == "world":
        return World(photos, seed, size)
    opened = _open(source, images, short_side)
    return opened if limit is None else First(opened, limit)


def _open(source: str, images: Path | None, short_side: int) -> Source:
    if source not in KINDS:
        if images is not None:
            raise UsageError(f"--source {source}: {did_you_mean(source, KINDS)}")
        source, images = "folder", Path(source)
    if images is None:
        raise UsageError(f"--source {source} needs --images DIR")
    if source == "ffhq":
        from fcbench.build.ffhq import Ffhq

        return Ffhq.of(images, short_side)
    if source == "folder":
        return Pictures.of(images, short_side)
    from fcbench.build.archives import Table, WebDataset

    return WebDataset.of(images, short_side) if source == "webdataset" else Table.of(images, short_side)


def _beside(file: Path) -> tuple[Path, ...]:
    return (file, file.with_suffix(".json"), file.with_suffix(".txt"))


def _size(path: Path) -> int:
    """Bytes, -1 where the file cannot be reached."""
    try:
        return path.stat().st_size
    except OSError:
        return -1
