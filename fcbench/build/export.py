"""A dataset in the layouts that other programs read; each is written whole or not at all."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeAlias

from fcbench.build.export_coco import write_coco
from fcbench.build.export_imagefolder import write_imagefolder
from fcbench.build.export_official import write_official
from fcbench.build.export_webdataset import write_webdataset
from fcbench.build.rows import Rows
from fcbench.errors import UsageError, did_you_mean
from fcbench.files import atomic_folder, remove_temporaries
from fcbench.store import DataFolder

Writer: TypeAlias = Callable[[Rows, Path, Any], Mapping[str, int]]

LAYOUTS: dict[str, Writer] = {
    "fastcomposer": write_official,
    "webdataset": write_webdataset,
    "imagefolder": write_imagefolder,
    "coco": write_coco,
}


def export(folder: DataFolder, layout: str, target: Path, tokenizer: Any = None) -> Mapping[str, int]:
    """Write a dataset to ``target`` in one of ``LAYOUTS``; returns what was counted on the way, by name.

    ``tokenizer`` tells which phrases lie within the text encoder's tokens; the layout ``fastcomposer`` needs it.
    UsageError where ``target`` holds something already.
    """
    if layout not in LAYOUTS:
        raise UsageError(f"no layout {layout!r}: {did_you_mean(layout, LAYOUTS)}")
    rows = Rows(folder)
    folder.require_whole()
    if target.exists() and not (target.is_dir() and not any(target.iterdir())):
        raise UsageError(f"{target}: there already; name a folder that is not")
    remove_temporaries(target.parent, f".{target.name}.*.tmp")
    with atomic_folder(target) as temporary:
        counts = LAYOUTS[layout](rows, temporary, tokenizer)
        for name in (folder.attribution, folder.card):
            if name.exists():
                shutil.copyfile(name, temporary / ("ABOUT.md" if name == folder.card else name.name))
    return counts
