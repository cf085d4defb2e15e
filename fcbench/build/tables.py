"""From labelled shards to the dataset's tables: what is a duplicate, which split a photo goes to, and the files.

Two passes, each holding one shard's records at a time: the first decides, the second writes. A shard's files are
written again only where their rows have changed.
"""

from __future__ import annotations

import csv
import io
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from fcbench.build.accuracy import Accuracy, matching_accuracy
from fcbench.build.cache import Kept, forget, load
from fcbench.build.phash import alike
from fcbench.build.quality import PHOTO_SCORES
from fcbench.build.records import Item, Photo, Reject
from fcbench.build.shard import Job, chain
from fcbench.build.split import ALIKE, SPLITS, split, split_as_listed
from fcbench.errors import DataError, FcbenchError
from fcbench.files import digest_file, digest_json, read_json, write_bytes, write_json, write_text
from fcbench.store import DataFolder

FILE_BYTES = 500_000_000
"""Most bytes of pictures in one Parquet file, unless it holds a single one: as the hub advises."""

ATTRIBUTION = ("id", "split", "author", "title", "source", "licence", "licence_url", "changes")


@dataclass
class Census:
    """What the first pass finds out; photos by id, in the order of the inputs."""

    inputs: set[str] = field(default_factory=set)
    splits: dict[str, str] = field(default_factory=dict)
    """The split of every accepted photo."""
    originals: dict[str, str] = field(default_factory=dict)
    """For each duplicate, the photo whose pixels it has."""
    taken_down: dict[str, str] = field(default_factory=dict)
    """For each copy of a photo that was taken down, that photo."""
    rejected: Counter[str] = field(default_factory=Counter)
    """Photos by reason, duplicates apart."""
    licences: Counter[str] = field(default_factory=Counter)
    people: set[str] = field(default_factory=set)
    segments: int = 0
    matched: int = 0
    ambiguous: int = 0
    matching: dict[str, Accuracy] = field(default_factory=dict)
    scored: set[str] = field(default_factory=set)
    """The columns that a scorer gave."""
    files: dict[str, int] = field(default_factory=dict)
    """Which file of its split every accepted photo is in, counted from 0."""
    file_counts: dict[str, int] = field(default_factory=dict)
    """How many files each split has."""


def take_census(job: Job, kept: Sequence[Kept]) -> Census:
    """Count all that was labelled, find duplicates and decide the splits."""
    census, notes = Census(), _Notes()
    census.matching = matching_accuracy(_counted(job, kept, census, notes))
    if "alike" in job.together:
        for first, second in alike(notes.hashes):
            for photo in (first, second):
                notes.shares[photo] = (*notes.shares[photo], f"{ALIKE}{first}")
    if shares := notes.shares:
        census.splits = split_as_listed(shares, notes.listed) if all(notes.listed.values()) else split(shares)
    _cut_files(census, notes)
    return census


@dataclass
class _Notes:
    """What splits and files are decided by, each by the photo's id."""

    shares: dict[str, tuple[str, ...]] = field(default_factory=dict)
    """Who and what must not be in two splits."""
    hashes: dict[str, str] = field(default_factory=dict)
    listed: dict[str, str] = field(default_factory=dict)
    """The split that the source has it in."""
    shards: dict[str, int] = field(default_factory=dict)
    sizes: dict[str, int] = field(default_factory=dict)
    """Bytes of the working copies."""


def _note_copy(notes: _Notes, photo: Photo, original: str, together: Collection[str]) -> None:
    """Count a duplicate's people as in its original, which must not be trained on if the copy must not."""
    notes.shares[original] += _shared(photo, together)
    if photo.sidecar.split not in ("", "train"):
        notes.listed[original] = photo.sidecar.split


def _shared(photo: Photo, together: Collection[str]) -> tuple[str, ...]:
    """Who and what of a photo must not be in two splits."""
    author = photo.sidecar.licence.author.strip()
    credit = f"author {author}" if "author" in together and author not in ("", "unknown") else ""
    people = {segment.person_id for segment in photo.segments}
    return tuple(name for name in (*people, photo.sidecar.group, credit) if name)


def _note(notes: _Notes, photo: Photo, shard: int, together: Collection[str]) -> None:
    known = photo.sidecar
    notes.shares[photo.id] = _shared(photo, together)
    notes.hashes |= {photo.id: photo.phash} if photo.phash else {}
    notes.listed[photo.id] = known.split
    notes.shards[photo.id] = shard
    notes.sizes[photo.id] = photo.path.stat().st_size


def _cut_files(census: Census, notes: _Notes) -> None:
    """Give each photo its file: no two shards share one, so that each can be written alone."""
    last: dict[str, tuple[int, int]] = {}
    for photo, chosen in census.splits.items():
        shard, held = last.get(chosen, (-1, 0))
        if shard != notes.shards[photo] or held + notes.sizes[photo] > FILE_BYTES:
            census.file_counts[chosen] = census.file_counts.get(chosen, 0) + 1
            held = 0
        last[chosen] = (notes.shards[photo], held + notes.sizes[photo])
        census.files[photo] = census.file_counts[chosen] - 1


def _counted(job: Job, kept: Sequence[Kept], census: Census, notes: _Notes) -> Iterator[Photo]:
    """The accepted photos of all shards; every item is counted on the way."""
    seen: dict[str, str] = {}
    banned = _taken_down(job, kept)
    for index, result in enumerate(kept):
        for item in load(job.folder, result):
            if item.id in census.inputs:
                raise FcbenchError(f"two photos are called {item.id}: a source must give each its own id")
            census.inputs.add(item.id)
            if isinstance(item, Reject):
                census.rejected[item.reason] += 1
            elif item.fingerprint in banned:
                census.taken_down[item.id] = banned[item.fingerprint]
                census.rejected["takedown"] += 1
            elif (original := seen.setdefault(item.fingerprint or item.id, item.id)) != item.id:
                census.originals[item.id] = original
                _note_copy(notes, item, original, job.together)
            else:
                _count(census, item)
                _note(notes, item, index, job.together)
                yield item


def _taken_down(job: Job, kept: Sequence[Kept]) -> dict[str, str]:
    """The ids of photos that were taken down, by fingerprint: what has the same pixels goes with them."""
    if not job.screen.taken_down:
        return {}
    found: dict[str, str] = {}
    for index, result in enumerate(kept):
        down = {item.id for item in load(job.folder, result) if isinstance(item, Reject) and item.reason == "takedown"}
        photos = load(job.folder, chain(job, index)[0]) if down else []
        found |= {p.fingerprint: p.id for p in photos if isinstance(p, Photo) and p.id in down and p.fingerprint}
    return found


def _forget(job: Job, index: int, photos: set[str]) -> None:
    """Leave nothing of a shard's photos that were taken down, not even in its records.

    A working copy stays as an empty file, so that it is not made again.
    """
    folder = job.folder
    for photo in photos:
        for path in (folder.photo(photo), folder.photo(photo).with_suffix(".jpg"), folder.sidecar(photo)):
            if path.exists():
                write_bytes(path, b"")
    if photos:
        for kept in chain(job, index):
            forget(folder, kept, photos, job.screen.blanked)


def remove_absent(job: Job, inputs: Collection[str]) -> None:
    """Leave nothing of an earlier build's photos that are not ``inputs`` of this one."""
    for path in job.folder.photos.glob("*"):
        if path.stem not in inputs:
            path.unlink()
    for path in job.folder.work.glob("*/*.jsonl.gz"):
        if int(path.name.partition("-")[0]) >= len(job.shards):
            path.unlink()


def _count(census: Census, photo: Photo) -> None:
    census.licences[photo.sidecar.licence.licence] += 1
    census.people.update(s.person_id for s in photo.segments if s.person_id is not None)
    census.segments += len(photo.segments)
    census.matched += sum(segment.phrase is not None for segment in photo.segments)
    census.ambiguous += "ambiguous" in photo.flags
    census.scored.update(photo.scores.keys() - set(PHOTO_SCORES))


def write_tables(job: Job, kept: Sequence[Kept], census: Census, recipe: str) -> dict[str, int]:
    """Write every table; returns the sizes in bytes of the Parquet files, by their path in the folder."""
    from fcbench.build.write import write_rejects

    folder, files = job.folder, dict[str, int]()
    rejects: list[Reject] = []
    credits = io.StringIO()
    table = csv.writer(credits, lineterminator="\n")
    table.writerow(ATTRIBUTION)
    for index, result in enumerate(kept):
        items = [_settled(item, census) for item in load(job.folder, result)]
        left_out = [item for item in items if isinstance(item, Reject)]
        _forget(job, index, {item.id for item in left_out if item.reason == "takedown"})
        rejects += left_out
        photos = [item for item in items if isinstance(item, Photo)]
        table.writerows(_credit(photo, census) for photo in photos)
        files |= _write_shard(job, index, items, photos, census, recipe)
    write_rejects(folder.rejects, rejects, read_json(folder.tries) if folder.tries.exists() else {})
    write_text(folder.attribution, credits.getvalue())
    _remove_others(folder, files, len(kept))
    if not census.splits:
        told = ", ".join(f"{reason} {count}" for reason, count in census.rejected.most_common())
        beside = "; a caption may stand beside its picture, in STEM.txt: then --update"
        hint = beside if "caption_empty" in census.rejected else ""
        raise DataError(f"{folder.rejects}: no photo was accepted ({told}); each one's reason is in this table{hint}")
    return files


def _settled(item: Item, census: Census) -> Item:
    if item.id in census.taken_down:
        return Reject(item.id, "takedown", "duplicates", f"the same pixels as {census.taken_down[item.id]}")
    original = census.originals.get(item.id)
    if original is None:
        return item
    return Reject(item.id, "duplicate_of", "duplicates", f"the same pixels as {original}")


def _credit(photo: Photo, census: Census) -> tuple[str, ...]:
    licence = photo.sidecar.licence
    return (
        photo.id,
        census.splits[photo.id],
        licence.author,
        licence.title,
        licence.source,
        licence.licence,
        licence.licence_url,
        licence.changes,
    )


def _write_shard(
    job: Job, index: int, items: Sequence[Item], photos: Sequence[Photo], census: Census, recipe: str
) -> dict[str, int]:
    """Write a shard's files and, after them, what made them; nothing where they are there already."""
    from fcbench.build.write import write_photos

    parts = _parts(photos, census)
    steps = chain(job, index)
    named = [[*place, [photo.id for photo in part]] for place, part in parts.items()]
    scored = sorted(census.scored)
    key = digest_json([steps[-1].output, named, scored, recipe])
    if (there := _files_there(job.folder, index, key)) is not None:
        return there
    written = {}
    for place, part in parts.items():
        for path, pixels in ((job.folder.shard, True), (job.folder.annotations, False)):
            file = path(*place)
            write_photos(file, part, recipe, scored=scored, pixels=pixels)
            written[file] = len(part)
    rejected = Counter(item.reason for item in items if isinstance(item, Reject))
    duplicates = rejected.pop("duplicate_of", 0)
    if len(job.shards[index]) != len(photos) + rejected.total() + duplicates:
        raise FcbenchError(f"shard {index} lost or doubled photos, its tables cannot be trusted")
    files = {_name(job.folder, file): file.stat().st_size for file in written}
    write_json(
        job.folder.provenance(index),
        {
            "shard": index,
            "key": key,
            "recipe": recipe,
            "inputs": len(job.shards[index]),
            "accepted": len(photos),
            "rejected": rejected,
            "duplicates": duplicates,
            "files": [
                {"path": _name(job.folder, file), "rows": rows, "bytes": size, "sha256": digest_file(file)}
                for (file, rows), size in zip(written.items(), files.values(), strict=True)
            ],
            "steps": [{key: value for key, value in step.facts.items() if key != "copies"} for step in steps],
        },
    )
    return files


def _parts(photos: Sequence[Photo], census: Census) -> dict[tuple[str, int, int], list[Photo]]:
    """A shard's photos by file: the split, the file's number in it, and how many files it has."""
    parts: dict[tuple[str, int, int], list[Photo]] = {}
    for name in SPLITS:
        for photo in photos:
            if census.splits[photo.id] == name:
                parts.setdefault((name, census.files[photo.id], census.file_counts[name]), []).append(photo)
    return parts


def _files_there(folder: DataFolder, index: int, key: str) -> dict[str, int] | None:
    """The files of a shard, if they are there and were written from the same rows."""
    try:
        told = read_json(folder.provenance(index))
        files = {file["path"]: int(file["bytes"]) for file in told["files"]}
    except (DataError, KeyError, TypeError):
        return None
    return files if told.get("key") == key and are_there(folder, files) else None


def are_there(folder: DataFolder, files: Mapping[str, int]) -> bool:
    """Whether files are there with their sizes."""
    return all((path := folder.path / name).is_file() and path.stat().st_size == size for name, size in files.items())


def _remove_others(folder: DataFolder, files: Iterable[str], shards: int) -> None:
    """Delete what an earlier build left."""
    wanted = {folder.path / name for name in files} | {folder.provenance(index) for index in range(shards)}
    for pattern in ("data/*.parquet", "annotations/*.parquet", "meta/*.json"):
        for path in folder.path.glob(pattern):
            if path not in wanted:
                path.unlink()


def _name(folder: DataFolder, file: Path) -> str:
    return file.relative_to(folder.path).as_posix()
