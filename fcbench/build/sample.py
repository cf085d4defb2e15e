"""Which photos are looked at: drawn at random by how many subjects they have, and those that are most doubtful."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from random import Random

import pyarrow.parquet as parquet

from fcbench.build.rows import Row, Rows

STRATA = ("1 subject", "2 subjects", "3 or more")
DOUBTFUL = 12
"""How many of the photos with the lowest margins are shown."""


@dataclass(frozen=True)
class Place:
    """Where a row lies, and what it is sorted by."""

    file: Path
    group: int
    number: int
    stratum: str
    margin: float
    split: str


@dataclass(frozen=True)
class Sample:
    """The chosen rows; ``population`` counts the dataset's photos by stratum."""

    drawn: list[tuple[Place, Row]]
    doubtful: list[tuple[Place, Row]]
    population: dict[str, int]


def draw_sample(rows: Rows, count: int, seed: int) -> Sample:
    """About ``count`` photos, evenly from each stratum, and the doubtful ones; equal seeds give equal photos."""
    strata: dict[str, list[Place]] = defaultdict(list)
    for place in _places(rows):
        strata[place.stratum].append(place)
    random = Random(seed)
    each = -(-count // max(len(strata), 1))
    drawn = [
        place
        for name in STRATA
        for place in sorted(random.sample(strata[name], min(each, len(strata[name]))), key=_order)
    ]
    everything = (place for places in strata.values() for place in places)
    doubtful = sorted(everything, key=lambda place: (place.margin, _order(place)))[:DOUBTFUL]
    read = _read({*drawn, *doubtful})
    return Sample(
        [(place, read[place]) for place in drawn],
        [(place, read[place]) for place in doubtful],
        {name: len(strata[name]) for name in STRATA if strata[name]},
    )


def _order(place: Place) -> tuple[str, int, int]:
    return place.file.name, place.group, place.number


def _places(rows: Rows) -> Iterator[Place]:
    columns = ["segments.list.element.phrase_index", "segments.list.element.margin"]
    for split in rows.splits:
        for file in rows.files(split):
            opened = parquet.ParquetFile(file)
            for group in range(opened.num_row_groups):
                for number, row in enumerate(opened.read_row_group(group, columns=columns).to_pylist()):
                    named = [segment for segment in row["segments"] if segment["phrase_index"] is not None]
                    margins = [s["margin"] for s in named if s["margin"] is not None]
                    stratum = STRATA[min(max(len(named), 1), len(STRATA)) - 1]
                    yield Place(file, group, number, stratum, min(margins, default=float("inf")), split)


def _read(places: set[Place]) -> dict[Place, Row]:
    """The rows themselves: of each file only the row groups that hold one of them."""
    found = {}
    for file, group in sorted({(place.file, place.group) for place in places}):
        table = parquet.ParquetFile(file).read_row_group(group)
        for place in places:
            if (place.file, place.group) == (file, group):
                found[place] = table.slice(place.number, 1).to_pylist()[0]
    return found
