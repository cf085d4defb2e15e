"""``qa/index.html``: a built dataset to look at and to judge, in one self-contained file."""

from __future__ import annotations

import base64
import hashlib
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from fcbench.build.overlay import GREY, Piece, caption_pieces, colours_of, overlay_url, photo_of, photo_url
from fcbench.build.rows import Row, Rows
from fcbench.build.sample import Place, Sample, draw_sample
from fcbench.build.wilson import wilson
from fcbench.errors import DataError
from fcbench.files import read_json, read_rows, write_text
from fcbench.images import read_image
from fcbench.store import DataFolder

EXAMPLES = 6
"""Rejects shown for each reason."""
UNSHOWN = ("takedown", "licence_excluded")
"""Reasons whose rejects are listed without their pictures, which nobody may use."""

STEPS = {
    "ingest": "read, with a working copy",
    "screen": "may be used",
    "caption": "captioned",
    "phrases": "with noun phrases",
    "segment": "segmented",
    "quality": "measured",
    "match": "with a phrase for a segment",
    "score": "scored",
}
"""What the funnel calls the photos that came through a step."""


@dataclass(frozen=True)
class Legend:
    """A segment of a sample in words."""

    colour: str
    phrase: str
    score: str
    margin: str


@dataclass(frozen=True)
class Card:
    """A photo of the page."""

    id: str
    stratum: str
    split: str
    photo: str
    overlay: str
    small: bool
    pieces: list[Piece]
    legend: list[Legend]
    flags: list[str]
    credit: str


@dataclass(frozen=True)
class Stage:
    """A bar of the funnel; ``lost``: how many more photos the bar before has."""

    name: str
    photos: int
    share: float
    lost: int


@dataclass(frozen=True)
class Rejected:
    """The rejects of a reason, and some of them."""

    reason: str
    count: int
    share: float
    examples: list[tuple[str, str, str]]
    """Id, message and picture (empty where there is none)."""


def write_page(folder: DataFolder, *, samples: int = 60, seed: int = 0) -> Path:
    """Write the page of a finished build and return its path.

    UsageError where there is no dataset, DataError where its build is not finished.
    """
    rows = Rows(folder)  # first: its error says how to make a dataset that is not there
    build = read_json(folder.build)
    sample = draw_sample(rows, samples, seed)
    write_text(folder.page, to_html(folder, build, sample, seed))
    return folder.page


def to_html(folder: DataFolder, build: Mapping[str, Any], sample: Sample, seed: int) -> str:
    """The page; every text in it is escaped, and its own script alone may run."""
    environment = Environment(
        loader=PackageLoader("fcbench.build", ""),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    script = (Path(__file__).with_name("page.js")).read_text(encoding="utf-8")
    counts = build["counts"]
    return environment.get_template("page.html.j2").render(
        name=folder.path.resolve().name,
        counts=counts,
        signature=build["signature"],
        seed=seed,
        licences=build["licences"],
        stages=_stages(counts),
        rejected=_rejected(folder, counts),
        truths=_truths(counts.get("matching", {})),
        population=sample.population,
        drawn=[_card(place, row) for place, row in sample.drawn],
        doubtful=[_card(place, row) for place, row in sample.doubtful],
        script=script,
        script_digest=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
    )


def _card(place: Place, row: Row) -> Card:
    colours = colours_of(row)
    return Card(
        id=row["id"],
        stratum=place.stratum,
        split=place.split,
        photo=photo_of(row),
        overlay=overlay_url(row),
        small=max(row["width"], row["height"]) <= 128,
        pieces=caption_pieces(row),
        legend=[
            Legend(
                colours.get(segment["phrase_index"], GREY),
                segment["phrase"] or f"{segment['label']}, no phrase",
                _number(segment["match_score"]),
                _number(segment["margin"]),
            )
            for segment in row["segments"]
        ],
        flags=list(row["flags"]),
        credit=f"{row['author']} · {row['licence']}",
    )


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.3f}"


def _stages(counts: Mapping[str, Any]) -> list[Stage]:
    """The funnel from all inputs to what was accepted."""
    photos = {"photos given": counts["inputs"]}
    photos |= {STEPS.get(step, step): count for step, count in counts.get("funnel", {}).items()}
    photos["accepted, duplicates apart"] = counts["accepted"]
    stages, before = [], counts["inputs"]
    for name, count in photos.items():
        stages.append(Stage(name, count, count / max(counts["inputs"], 1), before - count))
        before = count
    return stages


def _rejected(folder: DataFolder, counts: Mapping[str, Any]) -> list[Rejected]:
    """By reason, most frequent first; with pictures of those that got as far as a working copy."""
    total: dict[str, int] = defaultdict(int)
    examples: dict[str, list[tuple[str, str, str]]] = defaultdict(list)
    for row in read_rows(folder.rejects):
        total[row["reason"]] += 1
        if len(examples[row["reason"]]) < EXAMPLES:
            shown = "" if row["reason"] in UNSHOWN else _copy(folder, row["id"])
            examples[row["reason"]].append((row["id"], row["message"], shown))
    ordered = sorted(total, key=lambda reason: (-total[reason], reason))
    return [Rejected(r, total[r], total[r] / max(counts["inputs"], 1), examples[r]) for r in ordered]


def _copy(folder: DataFolder, photo: str) -> str:
    """A reject's working copy, where there is one that can be read; its id came from a file and may not be a path."""
    if "/" in photo or photo.startswith("."):
        return ""
    for suffix in (".png", ".jpg"):
        try:
            return photo_url(read_image(folder.photos / f"{photo}{suffix}"))
        except (DataError, OSError, ValueError):
            continue
    return ""


def _truths(matching: Mapping[str, Any]) -> list[tuple[str, int, float, float, float]]:
    """What was measured against planted truth: kind, segments, share right, and its interval."""
    return [
        (kind.replace("_", " "), told["segments"], told["accuracy"], *wilson(told["right"], told["segments"]))
        for kind, told in matching.items()
    ]
