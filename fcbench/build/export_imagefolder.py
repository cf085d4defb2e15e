"""A folder of picture files per split, with ``metadata.parquet``, as Hugging Face's ``imagefolder`` reads it.

Parquet rather than JSON lines: from JSON the loader guesses types, and fails where one split has no margin or flag.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import pyarrow
import pyarrow.parquet as parquet

from fcbench.build.export_webdataset import map_bytes, record_of
from fcbench.build.rows import Row, Rows, suffix_of
from fcbench.build.segmap import paint
from fcbench.build.write import FEATURES, ROW_GROUP_ROWS, features_of


def write_imagefolder(rows: Rows, target: Path, tokenizer: Any) -> Counter[str]:
    """Write ``<split>/<id>.jpg``, the maps beside them in ``<split>/segmaps``, and the rows."""
    names = [pyarrow.field("file_name", pyarrow.string()), pyarrow.field("segmap_file_name", pyarrow.string())]
    columns = parquet.read_schema(rows.files(rows.splits[0])[0]).names
    scored = [name for name in columns if name not in FEATURES]
    schema = pyarrow.schema([*names, *features_of(scored, pixels=False).arrow_schema])
    counts = Counter[str]()
    for split in rows.splits:
        folder = target / split
        (folder / "segmaps").mkdir(parents=True)
        with parquet.ParquetWriter(folder / "metadata.parquet", schema) as writer:
            records = _records(folder, rows.of(split))
            while group := list(islice(records, ROW_GROUP_ROWS)):
                writer.write_table(pyarrow.Table.from_pylist(group, schema=schema))
                counts["photos"] += len(group)
    return counts


def _records(folder: Path, rows: Iterator[Row]) -> Iterator[dict[str, Any]]:
    for row in rows:
        name, segmap = row["id"] + suffix_of(row), f"segmaps/{row['id']}.png"
        (folder / name).write_bytes(row["image"]["bytes"])
        painted, _ = paint(row["segments"], row["height"], row["width"])
        (folder / segmap).write_bytes(map_bytes(painted))
        yield {"file_name": name, "segmap_file_name": segmap, **record_of(row)}
