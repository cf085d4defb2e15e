"""Flickr-Faces-HQ in the wild as a source: its own folders of a thousand PNG files, and ``ffhq-dataset-v2.json``.

Each photo has its own licence, and NVIDIA's list of them another (CC BY-NC-SA 4.0): each row carries its own terms.
A tree may hold any part of the 70 000; what is not there is named.
"""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from fcbench.build.ingest import take
from fcbench.build.records import Face, Item, Licence, Reject, Sidecar
from fcbench.errors import DataError, UsageError
from fcbench.files import digest_json
from fcbench.store import DataFolder

LIST = "ffhq-dataset-v2.json"
TREE = "in-the-wild-images"
CATEGORIES = {"training": "train", "validation": "validation"}
"""What the list calls a split: the first 60 000 photos are for training, the last 10 000 for validation."""


_OWN = {"splits": "its own"}


@dataclass(frozen=True, slots=True)
class Entry:
    """What every process holds of a photo in the list: the rest, 15 kB as Python objects, is read when needed."""

    number: str
    path: str
    licence: str
    start: int
    """Where the bytes on the photo begin in the list."""
    stop: int
    digest: str
    """Of those bytes."""


@dataclass(frozen=True)
class Told:
    """What the list says of a photo: its file's size and md5, and what is known of it."""

    size: int
    md5: str
    sidecar: Sidecar


@dataclass(frozen=True)
class Ffhq:
    """The photos of the list that lie under ``root``; ``missing`` are the numbers of those that do not."""

    root: Path
    entries: Sequence[Entry]
    missing: Sequence[str]
    short_side: int

    @classmethod
    def of(cls, root: Path, short_side: int) -> Ffhq:
        """Read the list; UsageError without one, DataError where it is broken or none of its photos is there."""
        entries = list(read_list(root / LIST))
        there = [entry for entry in entries if (root / entry.path).exists()]
        if not there:
            other = [name for name in ("images1024x1024", "thumbnails128x128") if (root / name).is_dir()]
            hint = f"; {other[0]} are aligned crops, whose surroundings are gone" if other else ""
            raise DataError(f"{root}: none of the {len(entries)} photos of {LIST} is in {TREE}{hint}")
        present = {entry.number for entry in there}
        return cls(root, there, [entry.number for entry in entries if entry.number not in present], short_side)

    def __len__(self) -> int:
        return len(self.entries)

    @property
    def aside(self) -> str:
        """Which photos of the list are not there, in a line; empty where none is missing."""
        return f"{len(self.missing)} photos of the list are missing: {ranges(self.missing)}" if self.missing else ""

    @property
    def recipe(self) -> dict[str, Any]:
        """The folder, which photos are there, and the size of the working copies."""
        digest = digest_json([[entry.number, entry.digest] for entry in self.entries])
        return {"source": f"ffhq {self.root}", "files": digest, "missing": ranges(self.missing), **self._shrunk, **_OWN}

    def key(self, part: range) -> str:
        """A digest of the slice's entries."""
        return digest_json(["ffhq", self.short_side, [e.digest for e in self.entries[part.start : part.stop]]])

    def ingest(self, folder: DataFolder, part: range) -> Iterator[Item]:
        """Check each file against the list and take it in. DataError where the list has changed."""
        with (self.root / LIST).open("rb") as opened:
            for entry in self.entries[part.start : part.stop]:
                yield self._take(folder, entry, self._read(opened, entry))

    def _read(self, opened: BinaryIO, entry: Entry) -> Told:
        opened.seek(entry.start)
        text = opened.read(entry.stop - entry.start)
        if _digest(text) != entry.digest:
            raise DataError(f"{self.root / LIST}: changed since this build began; run the same command again")
        return _told(json.loads(text))

    def _take(self, folder: DataFolder, entry: Entry, told: Told) -> Item:
        photo_id, file = f"ffhq-{entry.number}", self.root / entry.path
        if not folder.sidecar(photo_id).exists() and (fault := _fault(file, told)):
            return Reject(photo_id, "md5_mismatch", "ingest", fault)
        return take(folder, photo_id, file, entry.path, short_side=self.short_side, known=told.sidecar)

    @property
    def _shrunk(self) -> dict[str, Any]:
        return {"short_side": self.short_side}


def read_list(file: Path) -> Iterator[Entry]:
    """The entries of FFHQ's list, one at a time: the file is 268 MB, as Python objects ten times that."""
    try:
        data = file.read_bytes()
        data.decode()
    except FileNotFoundError:
        raise UsageError(f"{file}: not there; it lies beside the photos in FFHQ's own tree") from None
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{file}: cannot be read ({error})") from error
    text = data.decode("latin-1")  # a character for each byte, so that places are those in the file
    decoder, place = json.JSONDecoder(), _skip(text, 0, "{")
    number = ""
    try:
        while text[place] != "}":
            number, place = decoder.raw_decode(text, place)
            start = _skip(text, place, ":")
            _, stop = decoder.raw_decode(text, start)
            yield _entry(str(number), data[start:stop], start)
            place = _skip(text, stop, ",")
    except (ValueError, KeyError, TypeError, IndexError) as error:
        raise DataError(f"{file}: broken after entry {number!r} ({type(error).__name__}: {error})") from error


def ranges(numbers: Sequence[str]) -> str:
    """Numbers in few words, at most twenty runs of them.

    >>> ranges(["00000", "00001", "00002", "00007"])
    '00000-00002, 00007'
    """
    runs: list[list[str]] = []
    for number in numbers:
        if runs and int(number) == int(runs[-1][-1]) + 1:
            runs[-1] = [runs[-1][0], number]
        else:
            runs.append([number])
    told = ["-".join(run) for run in runs[:20]]
    return ", ".join(told) + (f" and {len(runs) - 20} more runs" if len(runs) > 20 else "")


def _skip(text: str, place: int, mark: str) -> int:
    """The place after blanks, one ``mark`` if it comes next, and blanks again."""
    while text[place].isspace():
        place += 1
    place += text[place] == mark
    while text[place].isspace():
        place += 1
    return place


def _entry(number: str, text: bytes, start: int) -> Entry:
    facts = json.loads(text)
    licence = sys.intern(_told(facts).sidecar.licence.licence)
    path = facts["in_the_wild"]["file_path"]
    return Entry(f"{int(number):05d}", path, licence, start, start + len(text), _digest(text))


def _digest(text: bytes) -> str:
    return hashlib.sha256(text).hexdigest()[:16]


def _told(facts: dict[str, Any]) -> Told:
    wild, about = facts["in_the_wild"], facts["metadata"]
    face = Face(box=tuple(wild["face_rect"]), landmarks=tuple((x, y) for x, y in wild["face_landmarks"]))
    licence = Licence(
        author=about["author"] or "unknown",
        title=about.get("photo_title") or "",
        source=about["photo_url"],
        licence=about["license"],
        licence_url=about["license_url"],
    )
    split = CATEGORIES.get(str(facts.get("category")), "")
    sidecar = Sidecar(licence=licence, face=face, group=about["photo_url"], split=split)
    return Told(int(wild["file_size"]), wild["file_md5"], sidecar)


def _fault(file: Path, told: Told) -> str:
    """How a file differs from the one in the list; empty where it does not, or where there is no file to read."""
    try:
        size = file.stat().st_size
        if size != told.size:
            return f"{file}: {size} bytes, {told.size} in {LIST}"
        with file.open("rb") as opened:
            md5 = hashlib.file_digest(opened, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()
    except OSError:
        return ""
    return "" if md5 == told.md5 else f"{file}: its md5 is {md5}, {told.md5} in {LIST}"
