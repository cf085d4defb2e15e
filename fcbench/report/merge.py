"""Join the runs of several machines: copy whole run folders, refusing what cannot be compared, and say why."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from itertools import islice
from pathlib import Path
from typing import Any

from fcbench.errors import DataError
from fcbench.files import atomic_folder, digest_file, read_json, write_bytes, write_json
from fcbench.report.weights import differing
from fcbench.store import RunFolder, run_folder, runs_of, subject_folder


def merge(out: Path, other: Path, suite: str) -> list[RunFolder]:
    """Copy the runs of ``suite`` under ``other`` to ``out``; those that are there already, as far, are left alone.

    Raises DataError, before anything is copied, naming each run that does not compare: other cases, other weights under
    the same name, other judges, or another run of the same name. Runs of other devices are taken: they rank apart.
    """
    theirs = runs_of(other, suite)
    if not theirs:
        raise DataError(f"{other}: no run of {suite} there")
    ours = {folder.label: folder for folder in runs_of(out, suite)}
    reasons = [reason for folder in theirs for reason in _refusals(folder, ours)]
    if reasons:
        raise DataError(f"{other} cannot be joined with {out}: {'; '.join(dict.fromkeys(reasons))}")
    new = [folder for folder in theirs if folder.label not in ours or _grew(ours[folder.label], folder)]
    photos = {
        (subject.id, image.name): image
        for folder in ours.values()
        for made in folder.generations()
        for subject in made.case.subjects
        for image in subject.images
    }
    return [_copy(folder, run_folder(out, suite, folder.label), out, other, photos) for folder in new]


def _refusals(folder: RunFolder, ours: Mapping[str, RunFolder]) -> list[str]:
    config = read_json(folder.config)
    reasons = [f"{path} is a link" for path in sorted(folder.path.rglob("*")) if path.is_symlink()][:1]
    if folder.label in ours and not _are_one(folder, ours[folder.label]):
        reasons.append(f"both have another {folder.label}: draw one again with --variant")
    differences = (_difference(folder, config, label, own) for label, own in ours.items())
    return [*reasons, *islice(filter(None, differences), 1)]  # the first says why, the others would say it again


def _difference(folder: RunFolder, config: Mapping[str, Any], label: str, own: RunFolder) -> str:
    """Why two runs do not compare; empty if they do."""
    other = read_json(own.config)
    pair = f"{folder.label} there and {label} here"
    if config.get("suite_digest") != other.get("suite_digest"):
        return f"{pair} were drawn for other people or prompts: their suite digests differ"
    changed = differing(config.get("stack_digests", {}), other.get("stack_digests", {}), checkpoint=False)
    if changed and config.get("stack") == other.get("stack"):
        return f"{pair} name the stack {other.get('stack')}, but its weights differ: {', '.join(changed)}"
    for metric in sorted(set(folder.scored()) & set(own.scored())):
        judges = [f.read_scores(metric)[0].get("judges") for f in (folder, own)]
        versions = [f.read_scores(metric)[0].get("version") for f in (folder, own)]
        if judges[0] != judges[1] or versions[0] != versions[1]:
            return f"{metric} of {pair} was scored by different judges"
    return ""


def _are_one(folder: RunFolder, other: RunFolder) -> bool:
    """Whether two folders hold one run, of which one may have come further: the pictures that both have are equal."""
    fewer, more = sorted((_pictures(folder), _pictures(other)), key=len)
    return fewer.items() <= more.items() and (len(fewer) < len(more) or folder.failures() == other.failures())


def _grew(ours: RunFolder, theirs: RunFolder) -> bool:
    return len(_pictures(theirs)) > len(_pictures(ours))


def _pictures(folder: RunFolder) -> dict[str, str]:
    """The digests of the pictures."""
    return {path.name: digest_file(path) for path in sorted((folder.path / "images").glob("*"))}


def _copy(
    source: RunFolder, target: RunFolder, out: Path, other: Path, photos: Mapping[tuple[str, str], Path]
) -> RunFolder:
    """The whole folder but the method's own; what is half copied lies where nobody looks for runs.

    ``photos`` by subject and file name, as runs here name them: cases of the same suite have the same.
    """
    with atomic_folder(target.path) as temporary:
        aside = shutil.ignore_patterns("work", ".*.tmp")
        shutil.copytree(source.path, temporary, ignore=aside, dirs_exist_ok=True)
        for row in sorted((temporary / "cases").glob("*.json")):
            _point_to_photos(row, source.suite, out, other, photos)
    return target


def _point_to_photos(row: Path, suite: str, out: Path, other: Path, photos: Mapping[tuple[str, str], Path]) -> None:
    """Name a case's photos where they lie here: a row holds whole paths of the machine that it was made on."""
    case = read_json(row)
    for subject in case["case"]["subjects"]:
        named = [Path(image) for image in subject["images"]]
        known = [photos.get((subject["id"], image.name), image) for image in named]
        subject["images"] = [_photo(image, suite, subject["id"], out, other) for image in known]
    write_json(row, case)


def _photo(image: Path, suite: str, subject: str, out: Path, other: Path) -> str:
    """The photo in ``out``, copied from ``other`` if it is there alone; else where the row says."""
    here, there = (subject_folder(folder, suite, subject) / image.name for folder in (out, other))
    if not here.exists() and there.exists():
        write_bytes(here, there.read_bytes())
    return str(here.resolve()) if here.exists() else str(image)
