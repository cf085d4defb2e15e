"""COCO's JSON, as pycocotools, FiftyOne and CVAT read it: instances with run-length masks, and captions."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

from fcbench.build.rows import Row, Rows, suffix_of
from fcbench.types import PERSON

PHRASE = ("phrase", "start", "end", "match_score", "margin", "person_id", "score")


def write_coco(rows: Rows, target: Path, tokenizer: Any) -> Counter[str]:
    """Write pictures to ``<split>/``, and ``annotations/instances_<split>.json`` and ``captions_<split>.json``."""
    labels = {s["label"] for split in rows.splits for row in rows.of(split, ["segments"]) for s in row["segments"]}
    ordered = sorted(labels, key=lambda label: (label != PERSON, label))  # person is 1, as in COCO
    categories = {label: number for number, label in enumerate(ordered, 1)}
    (target / "annotations").mkdir()
    counts, numbers = Counter[str](), Counter[str]()
    for split in rows.splits:
        (target / split).mkdir()
        licences: dict[tuple[str, str], int] = {}
        images: list[dict[str, Any]] = []
        instances: list[dict[str, Any]] = []
        captions: list[dict[str, Any]] = []
        for row in rows.of(split):
            numbers["image"] += 1
            name = row["id"] + suffix_of(row)
            (target / split / name).write_bytes(row["image"]["bytes"])
            images.append(_image(row, numbers["image"], name, licences))
            captions.append({"id": numbers["image"], "image_id": numbers["image"], "caption": row["caption"]})
            for segment in row["segments"]:
                numbers["segment"] += 1
                instances.append(_instance(segment, numbers["segment"], numbers["image"], categories))
        common = {
            "info": {"description": "built by fcbench build-data"},
            "licenses": [{"id": number, "name": name, "url": url} for (name, url), number in licences.items()],
            "images": images,
        }
        kinds = [{"id": number, "name": label, "supercategory": ""} for label, number in categories.items()]
        _write(target, f"instances_{split}", {**common, "categories": kinds, "annotations": instances})
        _write(target, f"captions_{split}", {**common, "annotations": captions})
    counts.update(photos=numbers["image"], segments=numbers["segment"])
    return counts


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
