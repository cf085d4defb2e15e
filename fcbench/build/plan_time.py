"""How long a build would take, judged by an earlier one: it cannot be known from the models' names."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from fcbench.build.shard import device_name
from fcbench.errors import DataError
from fcbench.files import read_json
from fcbench.store import DataFolder, data_folders

if TYPE_CHECKING:
    from pathlib import Path

FREE = frozenset({"files", "missing", "photos", "seed", "limit", "together", "licences", "taken_down"})
"""Keys of a recipe that may differ: they say which photos are taken, not what is done with each."""


def seconds_a_photo(out: Path, recipe: Mapping[str, Any], device: str) -> tuple[float, DataFolder, int] | None:
    """What one worker took per photo in the largest similar build: seconds, the build's folder, its number of photos.

    Similar: finished, of the same source and recipe, whichever photos it took, on the same kind of ``device``. The
    seconds are those of a photo that comes through all steps. None without such a build.
    """
    found = [_read(folder, recipe, device_name(device)) for folder in data_folders(out)]
    return max(filter(None, found), key=lambda each: (each[2], each[1].path), default=None)


def _read(folder: DataFolder, recipe: Mapping[str, Any], device: str) -> tuple[float, DataFolder, int] | None:
    try:
        told = read_json(folder.build)
        there = dict(told["recipe"])
        if any(there.get(key) != recipe.get(key) for key in {*there, *recipe} - FREE):
            return None
        seconds = _seconds(_facts(folder), device)
        return (seconds, folder, int(told["counts"]["inputs"])) if seconds else None
    except (DataError, KeyError, TypeError, ValueError):
        return None  # broken: it tells nothing


def _seconds(shards: Iterable[Sequence[Mapping[str, Any]]], device: str) -> float:
    """The sum of what each step took per photo that reached it; 0 where a step ran on another device."""
    photos, seconds = Counter[str](), defaultdict[str, float](float)
    for steps in shards:
        given = steps[0]["items"]
        for facts in steps:
            if facts["step"] != "ingest" and facts["device"] != device:
                return 0.0
            photos[facts["step"]] += given
            seconds[facts["step"]] += facts["seconds"]
            given = facts["photos"]
    return sum(seconds[step] / photos[step] for step in photos if photos[step])


def _facts(folder: DataFolder) -> Iterator[Sequence[Mapping[str, Any]]]:
    """Each shard's steps in their order."""
    shard = 0
    while (file := folder.provenance(shard)).exists():
        yield read_json(file)["steps"]
        shard += 1
