"""COCO's JSON, as pycocotools, FiftyOne and CVAT read it: instances with run-length masks, captions, panoptic maps."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

from fcbench.build.export_panoptic import write_panoptic
from fcbench.build.rows import Row, Rows, suffix_of
from fcbench.types import PERSON

PHRASE = ("phrase", "start", "end", "match_score", "margin", "person_id", "score")


def write_coco(rows: Rows, target: Path, tokenizer: Any) -> Counter[str]:
    """Write pictures to ``<split>/``, and ``annotations/{instances,captions,panoptic}_<split>.json``.

    The panoptic maps lie in ``annotations/panoptic_<split>/``.
    """
    things = _things(rows)
    categories = {label: number for number, label in enumerate(things, 1)}
    (target / "annotations").mkdir()
    counts = Counter[str](photos=0, segments=0)
    for split in rows.splits:
        _write_split(rows, split, target, categories, things, counts)
    return counts


def _write_split(
    rows: Rows, split: str, target: Path, categories: dict[str, int], things: dict[str, bool], counts: Counter[str]
) -> None:
    """Write one split; ``counts`` and the ids run on over all splits."""
    maps = target / "annotations" / f"panoptic_{split}"
    for folder in (target / split, maps):
        folder.mkdir()
    licences: dict[tuple[str, str], int] = {}
    told: dict[str, list[dict[str, Any]]] = {"images": [], "instances": [], "captions": [], "panoptic": []}
    for row in rows.of(split):
        counts["photos"] += 1
        number, name = counts["photos"], row["id"] + suffix_of(row)
        (target / split / name).write_bytes(row["image"]["bytes"])
        own = [
            _instance(segment, place, number, categories)
            for place, segment in enumerate(row["segments"], counts["segments"] + 1)
        ]
        counts["segments"] += len(own)
        panoptic = write_panoptic(maps, row, own, number)
        if hidden := len(own) - len(panoptic["segments_info"]):
            counts["segments without a place in the panoptic maps"] += hidden
        told["images"].append(_image(row, number, name, licences))
        told["instances"] += own
        told["captions"].append({"id": number, "image_id": number, "caption": row["caption"]})
        told["panoptic"].append(panoptic)
    common = {
        "info": {"description": "built by fcbench build-data"},
        "licenses": [{"id": number, "name": name, "url": url} for (name, url), number in licences.items()],
        "images": told["images"],
    }
    kinds = [{"id": number, "name": label, "supercategory": ""} for label, number in categories.items()]
    countable = [{**kind, "isthing": int(thing)} for kind, thing in zip(kinds, things.values(), strict=True)]
    listed: dict[str, Any] = {"instances": {"categories": kinds}, "panoptic": {"categories": countable}}
    for name in ("instances", "captions", "panoptic"):
        _write(target, f"{name}_{split}", {**common, **listed.get(name, {}), "annotations": told[name]})


def _things(rows: Rows) -> dict[str, bool]:
    """For each label, whether it is of something countable; person comes first, as in COCO."""
    found: dict[str, bool] = {}
    for split in rows.splits:
        for row in rows.of(split, ["segments"]):
            for segment in row["segments"]:
                found[segment["label"]] = found.get(segment["label"], False) or segment["is_thing"]
    return {label: found[label] for label in sorted(found, key=lambda label: (label != PERSON, label))}


def _image(row: Row, number: int, name: str, licences: dict[tuple[str, str], int]) -> dict[str, Any]:
    licence = licences.setdefault((row["licence"], row["licence_url"]), len(licences) + 1)
    return {
        "id": number,
        "file_name": name,
        "width": row["width"],
        "height": row["height"],
        "license": licence,
        "fcbench_id": row["id"],
        "caption": row["caption"],
        **{key: row[key] for key in ("author", "title", "source", "changes")},
    }


def _instance(segment: dict[str, Any], number: int, image: int, categories: dict[str, int]) -> dict[str, Any]:
    """COCO's box is [x, y, width, height]."""
    x1, y1, x2, y2 = segment["bbox"]
    return {
        "id": number,
        "image_id": image,
        "category_id": categories[segment["label"]],
        "segmentation": segment["rle"],
        "area": segment["area"],
        "bbox": [x1, y1, x2 - x1, y2 - y1],
        "iscrowd": 0,
        "segment_id": segment["id"],
        **{key: segment[key] for key in PHRASE},
    }


def _write(target: Path, name: str, value: dict[str, Any]) -> None:
    (target / "annotations" / f"{name}.json").write_text(json.dumps(value, allow_nan=False), encoding="utf-8")
