"""Join the runs of several machines: copy whole run folders, or refuse what cannot be compared and say why."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

from fcbench.errors import DataError
from fcbench.files import (
    atomic_folder,
    digest_file,
    locked,
    read_json,
    remove_temporaries,
    write_bytes,
    write_json,
)
from fcbench.report.weights import differing
from fcbench.store import RunFolder, run_folder, runs_of, subject_folder

ALIKE = ("method", "options", "recipe", "sampling", "random_weights", "low_memory")
"""What two folders of one run have in common, beside suite and weights."""


def merge(out: Path, other: Path, suite: str) -> list[RunFolder]:
    """Copy the runs of ``suite`` under ``other`` to ``out``; those already there, as far along, are left alone.

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
    copied = []
    for folder in new:
        point = partial(_point_to_photos, suite=suite, out=out, other=other, photos=photos)
        copied.append(run_folder(out, suite, folder.label))
        (_extend if folder.label in ours else _copy)(folder, copied[-1], point)
    return copied


def _refusals(folder: RunFolder, ours: Mapping[str, RunFolder]) -> list[str]:
    config = read_json(folder.config)
    reasons = [f"{path} is a link" for path in sorted(folder.path.rglob("*")) if path.is_symlink()][:1]
    if folder.label in ours and not _are_one(folder, config, ours[folder.label]):
        reasons.append(f"both have another {folder.label}: draw one again with --variant")
    differences = (_difference(folder, config, label, own) for label, own in ours.items())
    return [*reasons, *islice(filter(None, differences), 1)]  # the first says why; others would repeat it


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


def _are_one(folder: RunFolder, config: Mapping[str, Any], other: RunFolder) -> bool:
    """Whether two folders hold one run, one of them perhaps further along: made alike, common pictures equal."""
    known = read_json(other.config)
    if any(config.get(key) != known.get(key) for key in ALIKE):
        return False
    fewer, more = sorted((_pictures(folder), _pictures(other)), key=len)
    return fewer.items() <= more.items() and (len(fewer) < len(more) or folder.failures() == other.failures())


def _grew(ours: RunFolder, theirs: RunFolder) -> bool:
    return len(theirs.generations()) > len(ours.generations())


def _pictures(folder: RunFolder) -> dict[str, str]:
    """The digests of the pictures."""
    return {path.name: digest_file(path) for path in sorted((folder.path / "images").glob("[!.]*"))}


def _copy(source: RunFolder, target: RunFolder, point: Callable[[Path], dict[str, Any]]) -> None:
    """Copy all but the method's work and locks; ``point`` gives a row with its photos' paths here."""
    remove_temporaries(target.path.parent, f".{target.label}.*.tmp")
    with atomic_folder(target.path) as temporary:
        aside = shutil.ignore_patterns("work", "locks", ".*.tmp")
        shutil.copytree(source.path, temporary, ignore=aside, dirs_exist_ok=True)
        for row in sorted((temporary / "cases").glob("*.json")):
            write_json(row, point(row))


def _extend(source: RunFolder, target: RunFolder, point: Callable[[Path], dict[str, Any]]) -> None:
    """Add what a run here lacks of one that is further along: pictures, then their rows, and the scores of all."""
    with locked(target.lock, f"{target.path}: a run is at work there; wait for it, or end it"):
        for part in ("images", "fits"):
            for file in sorted((source.path / part).glob("[!.]*")):
                if not (here := target.path / part / file.name).exists():
                    write_bytes(here, file.read_bytes())
        for generation in source.generations():
            case = generation.case.id
            if not target.row(case).exists():
                write_json(target.row(case), point(source.row(case)))
            target.failure(case).unlink(missing_ok=True)
        for file in sorted((source.path / "scores").glob("*.json*")):
            write_bytes(target.path / "scores" / file.name, file.read_bytes())


def _point_to_photos(
    row: Path, suite: str, out: Path, other: Path, photos: Mapping[tuple[str, str], Path]
) -> dict[str, Any]:
    """A row with its photos' paths here: it holds the absolute paths of the machine that it was made on.

    ``photos``: the paths in runs here, by subject and file name: all cases of a suite have the same photos.
    """
    case: dict[str, Any] = read_json(row)
    for subject in case["case"]["subjects"]:
        named = [Path(image) for image in subject["images"]]
        known = [photos.get((subject["id"], image.name), image) for image in named]
        subject["images"] = [_photo(image, suite, subject["id"], out, other) for image in known]
    return case


def _photo(image: Path, suite: str, subject: str, out: Path, other: Path) -> str:
    """The photo in ``out``, copied from ``other`` if it is only there; else where ``image`` says."""
    here, there = (subject_folder(folder, suite, subject) / image.name for folder in (out, other))
    if not here.exists() and there.exists():
        write_bytes(here, there.read_bytes())
    return str(here.resolve()) if here.exists() else str(image)
