"""Whether a dataset holds what the trainer and the official reader demand: every fault named, none repaired.

Two layouts: the Parquet of ``build-data``, and the official folder.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from fcbench.build.records import REASONS
from fcbench.build.rows import Row, Rows, picture
from fcbench.build.validate_official import check_official
from fcbench.errors import DataError, UsageError
from fcbench.fastcomposer.official_data import is_official
from fcbench.files import digest_file, read_json, read_rows
from fcbench.masks import box_of, decode_mask
from fcbench.store import DataFolder
from fcbench.types import PERSON, Mask


@dataclass(frozen=True)
class Fault:
    """What is wrong, by a short code, and where."""

    code: str
    where: str
    message: str

    def __str__(self) -> str:
        return f"{self.where}: {self.message} [{self.code}]"


@dataclass(frozen=True)
class Findings:
    """What was looked at and what is wrong with it; ``segments`` counts photos by how many segments they train."""

    photos: int
    segments: Counter[int]
    faults: Sequence[Fault]

    @property
    def summary(self) -> str:
        """The counts in a line."""
        sizes = ", ".join(f"{photos} with {count}" for count, photos in sorted(self.segments.items()))
        kinds = ", ".join(f"{count} {code}" for code, count in Counter(f.code for f in self.faults).most_common())
        return f"{self.photos} photos; subjects to train on: {sizes}; faults: {kinds or 'none'}"


def validate(path: Path, tokenizer: Any = None) -> Findings:
    """Look at every row of a dataset of either layout; ``tokenizer`` tells which phrases lie within its tokens.

    Raises UsageError where the folder is neither.
    """
    found = _look(path, tokenizer)
    if found.photos and not any(found.segments - Counter({0: found.photos})):
        nobody = Fault("nobody", path.name, f"no segment is a {PERSON!r} with a phrase: nothing to train on")
        return replace(found, faults=[*found.faults, nobody])
    return found


def _look(path: Path, tokenizer: Any) -> Findings:
    if is_official(path):
        return Findings(*_official(path, tokenizer))
    if not (path / "data").is_dir():
        raise UsageError(f"{path}: neither data/*.parquet nor the official image_ids_train.txt there")
    folder = DataFolder(path)
    faults = [*_files(folder), *_totals(folder)]
    sizes = Counter[int]()
    seen = _Seen(urls=_is_ffhq(folder))
    for split in Rows(folder).splits:
        for file in folder.shards(split):
            try:
                for row in read_rows(file):
                    where = f"{file.name}, {row.get('id')}"
                    found, subjects = _row(row, tokenizer)
                    faults += [Fault(code, where, message) for code, message in [*found, *seen.add(row, split)]]
                    sizes[subjects] += 1
            except (DataError, KeyError, TypeError) as error:
                faults.append(Fault("unreadable", file.name, str(error)))
    return Findings(sizes.total(), sizes, faults)


def _official(path: Path, tokenizer: Any) -> tuple[int, Counter[int], list[Fault]]:
    sizes, faults = Counter[int](), []
    for where, code, message, subjects in check_official(path, tokenizer):
        if code:
            faults.append(Fault(code, where, message))
        if subjects is not None:
            sizes[subjects] += 1
    return sizes.total(), sizes, faults


class _Seen:
    """What may not be there twice, or in two splits; ``urls``: nor may a photo's source, which its crops share."""

    def __init__(self, *, urls: bool) -> None:
        self._ids: set[str] = set()
        self._splits: dict[str, str] = {}
        self._urls = urls

    def add(self, row: Row, split: str) -> Iterator[tuple[str, str]]:
        if row["id"] in self._ids:
            yield "id_twice", "the id is there twice"
        self._ids.add(row["id"])
        for person in {s["person_id"] for s in row["segments"] if s["person_id"]}:
            if self._splits.setdefault(person, split) != split:
                yield "person_in_two_splits", f"{person} is in {split} and in {self._splits[person]}"
        if self._urls and self._splits.setdefault(url := f"photo {row['source']}", split) != split:
            yield "photo_in_two_splits", f"{row['source']} is in {split} and in {self._splits[url]}"


def _is_ffhq(folder: DataFolder) -> bool:
    """Whether it was made from FFHQ's tree, where several photos may be crops of one."""
    try:
        return str(read_json(folder.build)["recipe"]["source"]).startswith("ffhq ")
    except (DataError, KeyError, TypeError):
        return False


def _files(folder: DataFolder) -> Iterator[Fault]:
    """Check every file's digest against its shard's record."""
    for told in sorted(folder.path.glob("meta/*.json")):
        try:
            files = [(folder.path / file["path"], file["sha256"]) for file in read_json(told)["files"]]
        except (DataError, KeyError, TypeError) as error:
            yield Fault("unreadable", told.name, str(error))
            continue
        for path, digest in files:
            if not path.is_file():
                yield Fault("missing_file", path.name, "no such file")
            elif digest_file(path) != digest:
                yield Fault("file_changed", path.name, "not the bytes that were built")


def _totals(folder: DataFolder) -> Iterator[Fault]:
    """Check that inputs = accepted + rejected + duplicates, and that rejects' reasons are of the closed set."""
    if not folder.build.exists():
        yield Fault("unfinished", folder.build.name, "not there: the build is not finished; run: fcbench build-data")
        return
    counts = read_json(folder.build)["counts"]
    rejected, duplicates = sum(counts["rejected"].values()), counts.get("duplicates", 0)
    if counts["inputs"] != counts["accepted"] + rejected + duplicates:
        yield Fault("lost_photos", folder.build.name, f"{counts['inputs']} inputs do not add up")
    try:
        reasons = Counter(row["reason"] for row in read_rows(folder.rejects, ["reason"]))
    except DataError as error:
        yield Fault("unreadable", folder.rejects.name, str(error))
        return
    if reasons.total() != rejected + duplicates:
        yield Fault("lost_photos", folder.rejects.name, f"{reasons.total()} rows for {rejected + duplicates} rejects")
    for reason in sorted(set(reasons) - set(REASONS)):
        yield Fault("unknown_reason", folder.rejects.name, f"{reason!r} is no reason")


def _row(row: Row, tokenizer: Any) -> tuple[list[tuple[str, str]], int]:
    """What is wrong with a row, and how many subjects it trains."""
    faults = [fault for check in (_picture, _phrases, _masks, _credit) for fault in check(row)]
    trained = [s for s in row["segments"] if s["end"] is not None and s["label"] == "person"]
    if tokenizer is not None and not faults and trained:
        from fcbench.fastcomposer.encoder import subject_tokens

        ends = sorted(segment["end"] for segment in trained)
        _, positions = subject_tokens(tokenizer, row["caption"], ends)
        if (cut := positions.count(-1)) > 0:
            faults.append(("too_many_tokens", f"{cut} phrases have no token of their own within the text encoder's"))
    return faults, len(trained)


def _picture(row: Row) -> Iterator[tuple[str, str]]:
    try:
        height, width = picture(row).shape[:2]
    except DataError as error:
        yield "picture", str(error)
        return
    if (width, height) != (row["width"], row["height"]):
        yield "size", f"the picture has {width} x {height} pixels, the row says {row['width']} x {row['height']}"


def _phrases(row: Row) -> Iterator[tuple[str, str]]:
    caption, phrases = row["caption"], row["noun_phrases"]
    if not caption.strip():
        yield "caption_empty", "no caption"
    for phrase in phrases:
        if caption[phrase["start"] : phrase["end"]] != phrase["text"]:
            yield "span", f"caption[{phrase['start']}:{phrase['end']}] is not {phrase['text']!r}"
    named = [segment for segment in row["segments"] if segment["end"] is not None]
    for segment in named:
        index, end = segment["phrase_index"], segment["end"]
        phrase = phrases[index] if index is not None and 0 <= index < len(phrases) else {}
        if (phrase.get("start"), phrase.get("end")) != (segment["start"], end):
            yield "span", f"segment {segment['id']} has a phrase that is not in noun_phrases"
        if not (0 < end <= len(caption)) or not caption[end - 1].isalnum() or caption[end : end + 1].isalnum():
            yield "end_in_a_word", f"segment {segment['id']}: character {end} of the caption does not end a word"
    if not named:
        yield "no_match", "no segment has a phrase: nothing to train on"
    for end, count in Counter(segment["end"] for segment in named).items():
        if count > 1:
            yield "shared_end", f"{count} segments end at character {end}: they would share a token"


def _masks(row: Row) -> Iterator[tuple[str, str]]:
    ids = [segment["id"] for segment in row["segments"]]
    if len(set(ids)) < len(ids) or any(not 0 < number <= 255 for number in ids):
        yield "segment_id", f"segment ids {ids}: expected numbers of their own, 1 to 255"
    for segment in row["segments"]:
        try:
            mask = decode_mask(segment["rle"])
        except DataError as error:
            yield "mask", f"segment {segment['id']}: {error}"
            continue
        yield from _mask(segment, mask, (row["height"], row["width"]))


def _mask(segment: dict[str, Any], mask: Mask, shape: tuple[int, int]) -> Iterator[tuple[str, str]]:
    name, box = f"segment {segment['id']}", tuple(segment["bbox"])
    tight = box_of(mask)
    if mask.shape != shape:
        yield "mask", f"{name}: the mask is {list(mask.shape)}, the picture {list(shape)}, height first"
    elif not mask.any():
        yield "mask", f"{name}: the mask is empty"
    elif box != tight:
        swapped = (box[1], box[0], box[3], box[2]) == tight
        yield "bbox", f"{name}: bbox {list(box)}{' is [y1, x1, y2, x2]' if swapped else ''}; expected {list(tight)}"
    elif segment["area"] != int(mask.sum()):
        yield "area", f"{name}: area {segment['area']}, but the mask has {int(mask.sum())} pixels"


def _credit(row: Row) -> Iterator[tuple[str, str]]:
    empty = [key for key in ("author", "source", "licence") if not row.get(key)]
    if empty:
        yield "credit", f"no {', '.join(empty)}"
