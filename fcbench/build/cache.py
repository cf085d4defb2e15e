"""What each step made of each shard, on disk, keyed by the content that it was made from.

::

    work/<step>/<shard>-<key>.jsonl.gz      one line of facts, then one line per item

The key is a digest of the step's recipe and of the items given to it: a step runs again only where one of these has
changed. The facts hold the digest of the items that came out, so that a chain of results can be followed by reading
one line of each.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import zlib
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

from fcbench.build.records import Item, Photo, Reject
from fcbench.errors import DataError, one_line
from fcbench.files import digest_json, write_bytes
from fcbench.store import DataFolder


@dataclass(frozen=True)
class Kept:
    """A step's result on disk: its file, and the facts in its first line (``output`` is the digest of its items)."""

    path: Path
    facts: dict[str, Any]

    @property
    def output(self) -> str:
        """The digest of its items."""
        return str(self.facts["output"])


def key_of(step: str, recipe: dict[str, Any], given: str) -> str:
    """The key of a result."""
    return digest_json([step, recipe, given])[:12]


def find(folder: DataFolder, step: str, shard: int, key: str) -> Kept | None:
    """A step's result on a shard; None where it is not there."""
    return _open(_path(folder, step, shard, key))


def _open(path: Path) -> Kept | None:
    try:
        with gzip.open(path) as lines:
            return Kept(path, json.loads(lines.readline()))
    except (OSError, EOFError, ValueError, zlib.error):
        return None


def load(folder: DataFolder, kept: Kept) -> list[Item]:
    """Its items; DataError if the file is broken."""
    try:
        with gzip.open(kept.path) as lines:
            lines.readline()
            return [_read(folder, line) for line in lines]
    except (OSError, EOFError, ValueError, zlib.error) as error:
        raise DataError(f"{kept.path}: broken ({one_line(error)}); delete it and run the command again") from error


def keep(folder: DataFolder, step: str, shard: int, key: str, items: Iterable[Item], facts: dict[str, Any]) -> Kept:
    """Commit a step's result and delete earlier ones of the same shard."""
    body = b"".join(_line(folder, item) for item in items)
    facts = {**facts, "output": hashlib.sha256(body).hexdigest()}
    path = _path(folder, step, shard, key)
    _write(path, facts, body)
    for other in path.parent.glob(f"{shard:05d}-*"):
        if other != path:
            other.unlink(missing_ok=True)
    return Kept(path, facts)


def forget(folder: DataFolder, kept: Kept, photos: Collection[str], blank: Callable[[Photo], Photo]) -> None:
    """Blank these photos in a result, whose key and digest stay as they were: no later step is run again."""
    if set(photos) <= set(kept.facts.get("forgotten", ())):
        return
    items = [blank(i) if isinstance(i, Photo) and i.id in photos else i for i in load(folder, kept)]
    facts = {**kept.facts, "forgotten": sorted(photos)}
    _write(kept.path, facts, b"".join(_line(folder, item) for item in items))


def remove_forgotten(folder: DataFolder) -> None:
    """Delete the results in which a photo was blanked: they are made again, from the photo."""
    for path in folder.work.glob("*/*.jsonl.gz"):
        kept = _open(path)
        if kept is not None and "forgotten" in kept.facts:
            path.unlink(missing_ok=True)


def _write(path: Path, facts: dict[str, Any], body: bytes) -> None:
    write_bytes(path, gzip.compress(json.dumps(facts).encode() + b"\n" + body, 1, mtime=0))


def _path(folder: DataFolder, step: str, shard: int, key: str) -> Path:
    return folder.work / step / f"{shard:05d}-{key}.jsonl.gz"


def _line(folder: DataFolder, item: Item) -> bytes:
    """An item as JSON; the working copy's path is relative to the folder, which may be moved."""
    if isinstance(item, Photo):
        item = replace(item, path=item.path.relative_to(folder.path))
    return bytes(_adapters()[type(item)].dump_json({type(item).__name__: item})) + b"\n"


def _read(folder: DataFolder, line: bytes) -> Item:
    kind = Photo if line.startswith(b'{"Photo"') else Reject
    item: Item = _adapters()[kind].validate_json(line)[kind.__name__]
    return replace(item, path=folder.path / item.path) if isinstance(item, Photo) else item


@cache
def _adapters() -> dict[type, Any]:
    from pydantic import TypeAdapter

    return {Photo: TypeAdapter(dict[str, Photo]), Reject: TypeAdapter(dict[str, Reject])}
