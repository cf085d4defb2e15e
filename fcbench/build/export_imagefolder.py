"""A folder of picture files a split with ``metadata.jsonl``, as Hugging Face's ``imagefolder`` reads it."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

from fcbench.build.export_webdataset import map_bytes, record_of
from fcbench.build.rows import Rows, suffix_of
from fcbench.build.segmap import paint


def write_imagefolder(rows: Rows, target: Path, tokenizer: Any) -> Counter[str]:
    """Write ``<split>/<id>.jpg``, the maps beside them in ``<split>/segmaps``, and the rows."""
    counts = Counter[str]()
    for split in rows.splits:
        folder = target / split
        (folder / "segmaps").mkdir(parents=True)
        with (folder / "metadata.jsonl").open("w", encoding="utf-8") as lines:
            for row in rows.of(split):
                name, segmap = row["id"] + suffix_of(row), f"segmaps/{row['id']}.png"
                (folder / name).write_bytes(row["image"]["bytes"])
                painted, _ = paint(row["segments"], row["height"], row["width"])
                (folder / segmap).write_bytes(map_bytes(painted))
                record = {"file_name": name, "segmap_file_name": segmap, **record_of(row)}
                lines.write(json.dumps(record) + "\n")
                counts["photos"] += 1
    return counts
