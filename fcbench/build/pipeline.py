"""``build-data``: photos in, a dataset out.

The steps are generators over photos and rejects; photos on disk are what a killed build keeps, the tables are
written at the end, and ``build.json`` last of all.
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any, TextIO

from fcbench.build.accuracy import Accuracy, matching_accuracy
from fcbench.build.caption import caption
from fcbench.build.ingest import ingest_folder, ingest_world, list_pictures
from fcbench.build.match import AMBIGUOUS_MARGIN, match
from fcbench.build.phrases import phrases
from fcbench.build.progress import report_progress
from fcbench.build.records import REASONS, Item, Photo, Reject
from fcbench.build.segment import segment
from fcbench.build.split import split
from fcbench.errors import DataError, FcbenchError, UsageError
from fcbench.store import DataFolder, data_folder, digest_json, read_json, write_json
from fcbench.types import Stack

FORMAT = 1
"""Raised when the same photos would give other rows."""
PACKAGES = ("fcbench", "datasets", "numpy", "pillow", "pyarrow", "pycocotools", "spacy", "torch", "transformers")


@dataclass(frozen=True)
class BuildCounts:
    """What became of the photos. ``matching`` compares with the truth, where the source knows it."""

    inputs: int
    accepted: int
    rejected: Mapping[str, int]
    """Photos by reason, every reason named."""
    splits: Mapping[str, int]
    people: int
    segments: int
    matched: int
    ambiguous: int
    """Photos in which another matching is as good or nearly."""
    matching: Mapping[str, Accuracy]

    @property
    def summary(self) -> str:
        """The counts in a line, and how often the matching was right where the truth is known."""
        rejected = ", ".join(f"{count} {code}" for code, count in self.rejected.items() if count) or "0"
        right = self.matching.get("all")
        truth = f"; {right['right'] / right['segments']:.0%} of the matches are right" if right else ""
        return (
            f"{self.accepted} of {self.inputs} photos, rejected: {rejected}; {self.people} people, {self.matched} of "
            f"{self.segments} segments matched, {self.ambiguous} photos ambiguous{truth}"
        )

    def __post_init__(self) -> None:
        if self.inputs != self.accepted + sum(self.rejected.values()) or self.accepted != sum(self.splits.values()):
            raise FcbenchError(f"a build lost or doubled photos, its tables cannot be trusted: {self}")


def build_data(
    out: Path,
    *,
    source: str = "world",
    name: str = "world",
    photos: int = 1000,
    stack: Stack,
    seed: int = 0,
    progress: TextIO | None = sys.stderr,
) -> BuildCounts:
    """Build the dataset ``out/data/<name>`` and return its counts; a finished one is left as it is.

    ``source`` is "world", which draws ``photos`` pictures from ``seed``, or a folder of pictures, taken whole.
    Raises UsageError when the folder was begun with another recipe, DataError when no photo is accepted.
    """
    folder = data_folder(out, name)
    files = [] if source == "world" else list_pictures(Path(source))
    recipe = _recipe(source, files, photos=photos, seed=seed, stack=stack)
    _claim(folder, recipe)
    if _is_whole(folder):
        if progress:
            print(f"{folder.path} is built already, with the same recipe", file=progress)
        return BuildCounts(**read_json(folder.build)["counts"])
    inputs = len(files) if files else photos
    if files:
        ingested = ingest_folder(folder, Path(source), files, size=stack.image_size)
    else:
        ingested = ingest_world(folder, photos, seed=seed, size=stack.image_size)
    items = _steps(ingested, stack)
    return _finish(folder, list(report_progress(items, inputs, progress)), inputs, recipe)


def _is_whole(folder: DataFolder) -> bool:
    if not folder.build.exists():
        return False
    there = [path.name for path in (folder.path / "data").glob("*.parquet")]
    return all(any(name.startswith(split) for name in there) for split in read_json(folder.build)["counts"]["splits"])


def _steps(items: Iterator[Item], stack: Stack) -> Iterator[Item]:
    items = caption(items)
    items = phrases(items, stack.role("parser"))
    items = segment(items)
    return match(items, stack.role("matcher"))


def _recipe(source: str, files: list[Path], *, photos: int, seed: int, stack: Stack) -> dict[str, Any]:
    """All that the rows depend on. A folder's files are known by their names and sizes."""
    asked: dict[str, Any] = {"source": source, "photos": photos, "seed": seed}
    if files:
        beside = [path.with_suffix(suffix) for path in files for suffix in (".json", ".txt")]
        sizes = sorted((str(path), path.stat().st_size) for path in {*files, *beside} if path.exists())
        asked = {"source": source, "files": digest_json(sizes)}
    models = {role: stack.digests.get(role, "unknown") for role in ("parser", "matcher")}
    return {
        "format": FORMAT,
        **asked,
        "stack": stack.name,
        "image_size": stack.image_size,
        **models,
        "ambiguous_margin": AMBIGUOUS_MARGIN,
    }


def _claim(folder: DataFolder, recipe: Mapping[str, Any]) -> None:
    """Make the folder this recipe's, or refuse; clear what a killed build left half written."""
    if folder.recipe.exists():
        there = read_json(folder.recipe)
        differs = [key for key in {**there, **recipe} if there.get(key) != recipe.get(key)]
        if differs:
            told = ", ".join(f"{key} {there.get(key)!r} there, {recipe.get(key)!r} asked" for key in differs)
            raise UsageError(f"{folder.path} was made with another recipe ({told}): give another --name or delete it")
    else:
        write_json(folder.recipe, recipe)
    for stale in folder.path.rglob(".*.tmp"):
        stale.unlink()


def _finish(folder: DataFolder, items: list[Item], inputs: int, recipe: Mapping[str, Any]) -> BuildCounts:
    from fcbench.build.card import write_card
    from fcbench.build.write import write_rejects, write_splits

    accepted = [item for item in items if isinstance(item, Photo)]
    rejects = [item for item in items if isinstance(item, Reject)]
    write_rejects(folder, rejects)
    reasons: Counter[str] = Counter(reject.reason for reject in rejects)
    if not accepted:
        told = ", ".join(f"{reason} {count}" for reason, count in reasons.most_common())
        raise DataError(f"{folder.rejects}: no photo was accepted ({told}); each one's reason is in this table")
    splits = split(accepted)
    signature = digest_json(recipe)[:16]
    write_splits(folder, splits, signature)
    segments = [segment for photo in accepted for segment in photo.segments]
    counts = BuildCounts(
        inputs=inputs,
        accepted=len(accepted),
        rejected={reason: reasons.get(reason, 0) for reason in REASONS},
        splits={name: len(rows) for name, rows in splits.items()},
        people=len({segment.person_id for segment in segments} - {None}),
        segments=len(segments),
        matched=sum(segment.phrase is not None for segment in segments),
        ambiguous=sum("ambiguous" in photo.flags for photo in accepted),
        matching=matching_accuracy(accepted),
    )
    licences = Counter(photo.sidecar.licence.licence for photo in accepted)
    write_card(folder, counts, recipe, licences)
    versions = {package: version(package) for package in PACKAGES}
    write_json(
        folder.build,
        {"recipe": recipe, "signature": signature, "counts": vars(counts), "licences": licences, "versions": versions},
    )
    return counts
