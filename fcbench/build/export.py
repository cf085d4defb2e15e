"""A dataset in the layouts that other programs read; each is written whole or not at all."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, TypeAlias

from fcbench.build.export_coco import write_coco
from fcbench.build.export_imagefolder import write_imagefolder
from fcbench.build.export_official import write_official
from fcbench.build.export_webdataset import write_webdataset
from fcbench.build.rows import Rows
from fcbench.errors import UsageError, did_you_mean
from fcbench.store import DataFolder

Writer: TypeAlias = Callable[[Rows, Path, Any], Mapping[str, int]]

LAYOUTS: dict[str, Writer] = {
    "fastcomposer": write_official,
    "webdataset": write_webdataset,
    "imagefolder": write_imagefolder,
    "coco": write_coco,
}


def export(folder: DataFolder, layout: str, target: Path, tokenizer: Any = None) -> Mapping[str, int]:
    """Write a dataset to ``target`` in one of ``LAYOUTS``; what was counted on the way, in words.

    ``tokenizer`` tells which phrases lie within the text encoder's tokens; the layout ``fastcomposer`` needs it.
    UsageError where ``target`` holds something already.
    """
    if layout not in LAYOUTS:
        raise UsageError(f"no layout {layout!r}: {did_you_mean(layout, LAYOUTS)}")
    rows = Rows(folder)
    folder.require_whole()
    with _whole(target) as temporary:
        counts = LAYOUTS[layout](rows, temporary, tokenizer)
        for name in (folder.attribution, folder.card):
            if name.exists():
                shutil.copyfile(name, temporary / ("ABOUT.md" if name == folder.card else name.name))
    return counts


@contextlib.contextmanager
def _whole(target: Path) -> Iterator[Path]:
    """A folder that takes its place when all is written."""
    if target.exists() and not (target.is_dir() and not any(target.iterdir())):
        raise UsageError(f"{target}: there already; name a folder that is not")
    temporary = target.with_name(f".{target.name}.tmp")
    shutil.rmtree(temporary, ignore_errors=True)
    try:
        temporary.mkdir(parents=True)
        yield temporary
        temporary.replace(target)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
