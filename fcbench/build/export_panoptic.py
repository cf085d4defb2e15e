"""COCO's panoptic form of a photo: a PNG in which each pixel names one segment, and what these segments are."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image as Pillow

from fcbench.build.rows import Row
from fcbench.build.segmap import MOST, SegmentMap, paint
from fcbench.masks import box_of

IDS = 1 << 24
"""How many ids a pixel's three bytes can tell apart; 0 is nobody's."""


def write_panoptic(folder: Path, row: Row, instances: Sequence[dict[str, Any]], image: int) -> dict[str, Any]:
    """Write ``<id>.png`` and return the annotation of photo number ``image``; ``instances``: one for each segment.

    A pixel belongs to the smallest segment that covers it; area and box [x, y, width, height] are of what is visible,
    and a segment that others hide is left out, as are the smallest beyond ``MOST``. A segment's id is its instance's,
    written as R + 256 G + 256^2 B and counted from 1 again after 2^24 - 1, the most that this can hold.
    """
    segments = [{**segment, "instance": one} for segment, one in zip(row["segments"], instances, strict=True)]
    painted, seen = paint(segments, row["height"], row["width"])
    shown = {number: segment["instance"] for number, segment in sorted(seen.items())}
    ids = {number: (instance["id"] - 1) % (IDS - 1) + 1 for number, instance in shown.items()}
    name = f"{row['id']}.png"
    Pillow.fromarray(_colours(painted, ids)).save(folder / name)
    return {
        "image_id": image,
        "file_name": name,
        "segments_info": [
            {
                "id": ids[number],
                "category_id": instance["category_id"],
                **_extent(painted == number),
                "iscrowd": instance["iscrowd"],
            }
            for number, instance in shown.items()
        ],
    }


def _colours(painted: SegmentMap, ids: dict[int, int]) -> SegmentMap:
    """(height, width, 3): the ids of a map's numbers, lowest byte first."""
    table = np.zeros((MOST + 1, 3), np.uint8)
    for number, one in ids.items():
        table[number] = [one & 255, one >> 8 & 255, one >> 16]
    return table[painted]


def _extent(mask: Any) -> dict[str, Any]:
    x1, y1, x2, y2 = box_of(mask)
    return {"area": int(mask.sum()), "bbox": [x1, y1, x2 - x1, y2 - y1]}
