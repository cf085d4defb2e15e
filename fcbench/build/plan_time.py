"""How long a build would take, by one that was made before: nobody can know it from the models' names."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from fcbench.build.shard import device_name
from fcbench.errors import DataError
from fcbench.files import read_json
from fcbench.store import DataFolder, data_folders

if TYPE_CHECKING:
    from pathlib import Path

FREE = frozenset({"files", "photos", "seed", "limit", "together", "licences", "taken_down"})
"""What of a recipe may differ: which photos are taken, not what is done with each."""


def seconds_a_photo(out: Path, recipe: Mapping[str, Any], device: str) -> tuple[float, DataFolder, int] | None:
    """What one worker took for a photo in the largest finished build alike: seconds, its folder, its photos.

    Alike: of the same source and recipe, whichever photos it took, on the same kind of ``device``. None without one.
    """
    found = [(photos, folder) for folder in data_folders(out) if (photos := _alike(folder, recipe))]
    for photos, folder in sorted(found, key=lambda each: (-each[0], each[1].path)):
        if seconds := _seconds(folder, device_name(device)):
            return seconds, folder, photos
    return None


def _alike(folder: DataFolder, recipe: Mapping[str, Any]) -> int:
    """How many photos a build of this recipe took, 0 for one of another."""
    try:
        told = read_json(folder.build)
        there, photos = told["recipe"], int(told["counts"]["inputs"])
    except (DataError, KeyError, TypeError, ValueError):
        return 0
    return photos if all(there.get(key) == recipe.get(key) for key in {*there, *recipe} - FREE) else 0


def _seconds(folder: DataFolder, device: str) -> float:
    """What its steps took for a photo in all; 0 where one of them ran on another device."""
    items, seconds = Counter[str](), defaultdict[str, float](float)
    for facts in _facts(folder):
        if facts["step"] != "ingest" and facts["device"] != device:
            return 0.0
        items[facts["step"]] += facts["items"]
        seconds[facts["step"]] += facts["seconds"]
    return sum(seconds[step] / items[step] for step in items)


def _facts(folder: DataFolder) -> Iterator[Mapping[str, Any]]:
    shard = 0
    while (file := folder.provenance(shard)).exists():
        yield from read_json(file)["steps"]
        shard += 1
