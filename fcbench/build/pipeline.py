"""``build-data``: photos in, a dataset out.

Shards are labelled, each alone and committed step by step; then one process counts what came out, decides splits and
writes the tables, and ``build.json`` last of all. A killed build continues where it stopped, to the same bytes.
"""

from __future__ import annotations

import shutil
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TextIO, TypedDict, Unpack

from fcbench.build.accuracy import Accuracy
from fcbench.build.cache import Kept, load, remove_forgotten
from fcbench.build.engine import Engine, Here
from fcbench.build.ffhq import Ffhq
from fcbench.build.progress import Progress
from fcbench.build.records import FAILURES, REASONS, Reject
from fcbench.build.screen import Screen
from fcbench.build.shard import INGEST_VERSION, Job, chain, last_kept, versions
from fcbench.build.source import Pictures, open_source, unlimited
from fcbench.build.split import SPLITS
from fcbench.errors import FcbenchError, UsageError
from fcbench.files import digest_json, leased, locked, read_json, remove_temporaries, write_json, write_text
from fcbench.parts import take
from fcbench.store import DataFolder, data_folder
from fcbench.types import Stack

FORMAT = 3
"""Raised when the same photos would give other rows."""

TAKEDOWN = "fcbench build-data OPTIONS --update --exclude FILE   # OPTIONS: those of this build"
"""The command to print where a build's own is not known."""

_BUSY = "{}: another build is at work there; wait for it, or end it"


@dataclass(frozen=True)
class BuildCounts:
    """What became of the photos. ``matching`` compares with the truth, where the source knows it."""

    inputs: int
    accepted: int
    rejected: Mapping[str, int]
    """Photos by reason; every reason is there."""
    splits: Mapping[str, int]
    people: int
    segments: int
    matched: int
    ambiguous: int
    """Photos in which another matching is as good, or nearly so."""
    matching: Mapping[str, Accuracy]
    duplicates: int = 0
    """Photos with the same pixels as an earlier one."""
    funnel: Mapping[str, int] = field(default_factory=dict)
    """Photos that came through each step."""

    @property
    def summary(self) -> str:
        """The counts in a line, and how often the matching was right where the truth is known."""
        rejected = ", ".join(f"{count} {code}" for code, count in self.rejected.items() if count) or "0"
        right = self.matching.get("all")
        truth = f"; {right['right'] / right['segments']:.0%} of the matches are right" if right else ""
        people = f"{self.people} people known by name, " if self.people else ""
        empty = [name for name in SPLITS if not self.splits.get(name)] if self.accepted else []
        lacking = f"; none for {' or '.join(empty)}" if empty else ""
        return (
            f"{self.accepted} of {self.inputs} photos, rejected: {rejected}; duplicates: {self.duplicates}; "
            f"{people}{self.matched} of {self.segments} segments matched, {self.ambiguous} photos "
            f"ambiguous{truth}{lacking}"
        )

    @property
    def failed(self) -> float:
        """The share of the photos that were rejected because something is broken, not because they were not wanted."""
        return sum(count for reason, count in self.rejected.items() if reason in FAILURES) / max(self.inputs, 1)

    def __post_init__(self) -> None:
        told = self.accepted + sum(self.rejected.values()) + self.duplicates
        if self.inputs != told or self.accepted != sum(self.splits.values()):
            raise FcbenchError(f"a build lost or doubled photos, its tables cannot be trusted: {self}")


class Options(TypedDict, total=False):
    """What photos a build takes and how; the defaults are those of :func:`job_of`.

    ``source`` is "world", which draws ``photos`` pictures from ``seed``, or the kind of what lies in ``images``
    (:func:`fcbench.build.source.open_source`): those pictures' shorter sides are shrunk to ``short_side``, and only
    the first ``limit`` are taken unless that is None. ``name`` is the dataset's. ``screen`` says what may be used,
    ``assignment`` how phrases are given to segments: hungarian, or greedy. ``recaption``: the captioner is asked about
    every photo, whatever caption it brings. ``together``: what else, of :data:`fcbench.build.split.TOGETHER`, must not
    be in two splits, beside people and source photos.
    """

    source: str
    name: str
    photos: int
    seed: int
    images: Path | None
    short_side: int
    limit: int | None
    screen: Screen | None
    assignment: str
    recaption: bool
    together: Sequence[str]


def build_data(
    out: Path,
    *,
    stack: Stack,
    engine: Engine | None = None,
    update: bool = False,
    retry: Sequence[str] = (),
    takedown: str = TAKEDOWN,
    progress: TextIO | None = sys.stderr,
    **options: Unpack[Options],
) -> BuildCounts:
    """Build the dataset ``out/data/<name>`` and return its counts; a finished one is left as it is.

    ``engine`` computes the shards, by default in this process. ``update`` lets a folder take another recipe: steps
    whose own recipe and input are as before are not run again. ``retry`` names reasons whose rejects get another try.
    ``takedown`` is the command that the card prints for taking a photo out again.
    Raises UsageError when the folder was begun with another recipe or another build is at work in it, DataError when
    no photo is accepted.
    """
    job = job_of(out, stack, **options)
    recipe = recipe_of(job, stack)
    with locked(job.folder.lock, _BUSY.format(job.folder.path)):
        _claim(job.folder, recipe, update=update)
        if not _retry(job, retry) and (there := _finished(job.folder, recipe)) is not None:
            if progress:
                print(f"{job.folder.path} is built already, with the same recipe", file=progress)
            return there
        remove_temporaries(job.folder.path, "**/.*.tmp")
        if _missing(job, range(len(job.shards))):
            _bring_back(job.folder)
        _label(job, range(len(job.shards)), engine or Here(stack), progress)
        return _finish(job, recipe, takedown)


def build_shards(
    out: Path,
    part: tuple[int, int],
    *,
    stack: Stack,
    engine: Engine | None = None,
    progress: TextIO | None = sys.stderr,
    **options: Unpack[Options],
) -> tuple[int, int]:
    """Label the shards of task ``part[0]`` (from 1) of ``part[1]``; returns how many are done in all, and of how many.

    Several tasks may be at work in one folder, even on the same part: each takes the shards that no other is working
    on, until there are none. :func:`build_data` writes the tables when all are labelled.
    """
    job = replace(job_of(out, stack, **options), shared=True)
    mine = take(range(len(job.shards)), part)
    with locked(job.folder.lock, _BUSY.format(job.folder.path), shared=True):
        _claim(job.folder, recipe_of(job, stack), update=False)
        while free := _free(job, mine):  # again, for those of a task that died meanwhile
            _label(job, free, engine or Here(stack), progress)
    return sum(last_kept(job, index) is not None for index in range(len(job.shards))), len(job.shards)


def job_of(
    out: Path,
    stack: Stack,
    *,
    source: str = "world",
    name: str = "world",
    photos: int = 1000,
    seed: int = 0,
    images: Path | None = None,
    short_side: int = 1024,
    limit: int | None = None,
    screen: Screen | None = None,
    assignment: str = "hungarian",
    recaption: bool = False,
    together: Sequence[str] = (),
) -> Job:
    """A build as its workers need it; see :class:`Options`. UsageError where there is no captioner to recaption."""
    if recaption and "captioner" not in stack.digests:
        raise UsageError(f"--recaption: the stack {stack.name!r} has no captioner; name one in its YAML file")
    size = stack.image_size
    taken = open_source(source, photos=photos, seed=seed, size=size, images=images, short_side=short_side, limit=limit)
    digests = dict(stack.digests)  # as they are now: a role from the hub may learn its commit when it is loaded
    return Job(data_folder(out, name), taken, screen or Screen(), digests, assignment, recaption, tuple(together))


def recipe_of(job: Job, stack: Stack) -> dict[str, Any]:
    """All that the rows depend on."""
    steps = job.steps
    settings = {key: value for step in steps for key, value in step.settings.items()}
    return {
        "format": FORMAT,
        **job.source.recipe,
        "stack": stack.name,
        "image_size": stack.image_size,
        **{role: stack.digests.get(role, "unknown") for role in job.roles},
        **settings,
        **({"together": list(job.together)} if job.together else {}),
        "steps": {"ingest": INGEST_VERSION, **{step.name: [step.version, step.batch] for step in steps}},
    }


def _label(job: Job, shards: Sequence[int], engine: Engine, stream: TextIO | None) -> None:
    """Take the shards that are not done through all steps, after a line on what the source leaves aside."""
    source = unlimited(job.source)
    if stream and isinstance(source, Pictures | Ffhq) and source.aside:
        print(f"{source.root}: {source.aside}", file=stream, flush=True)
    if missing := _missing(job, shards):
        photos = sum(len(job.shards[index]) for index in missing)
        engine.run(job, missing, Progress(photos, len(job.steps) + 1, stream).tell)


def _missing(job: Job, shards: Sequence[int]) -> list[int]:
    return [index for index in shards if last_kept(job, index) is None]


def _free(job: Job, shards: Sequence[int]) -> list[int]:
    """Those that are not done and that no other command is working on."""
    found = []
    for index in _missing(job, shards):
        with leased(job.folder.lease(index)) as ours:
            found += [index] if ours else []
    return found


def _finish(job: Job, recipe: Mapping[str, Any], takedown: str) -> BuildCounts:
    from fcbench.build.card import write_card
    from fcbench.build.tables import remove_absent, take_census, write_tables

    kept = [_kept(job, index) for index in range(len(job.shards))]
    census = take_census(job, kept)
    signature = digest_json(recipe)[:16]
    files = write_tables(job, kept, census, signature)
    remove_absent(job, census.inputs)
    _name_missing(job)
    sizes = Counter(census.splits.values())
    steps = [step.facts for index in range(len(kept)) for step in chain(job, index)]
    funnel: Counter[str] = Counter()
    for facts in steps:
        funnel[facts["step"]] += facts["photos"]
    counts = BuildCounts(
        inputs=len(job.source),
        accepted=len(census.splits),
        rejected={reason: census.rejected.get(reason, 0) for reason in REASONS},
        splits={name: sizes[name] for name in SPLITS if sizes[name]},
        people=len(census.people),
        segments=census.segments,
        matched=census.matched,
        ambiguous=census.ambiguous,
        matching=census.matching,
        duplicates=len(census.originals),
        funnel=funnel,
    )
    roles = {step.name: step.roles for step in job.steps}
    asked = {role for facts in steps for role in facts.get("models", roles.get(facts["step"], ()))}
    told = {
        "recipe": recipe,
        "signature": signature,
        "counts": vars(counts),
        "licences": dict(sorted(census.licences.items())),
        "scored": sorted(census.scored),
        "models": {role: job.digests.get(role, "unknown") for role in job.roles if role in asked},
        "devices": sorted({facts["device"] for facts in steps}),
        "files": files,
        "versions": versions(),
    }
    write_card(job.folder, counts, told, takedown)
    write_json(job.folder.build, told)
    return counts


def _name_missing(job: Job) -> None:
    """List everything that is missing: messages name only the first of it."""
    source = unlimited(job.source)
    if isinstance(source, Ffhq) and source.missing:
        write_text(job.folder.missing, "".join(f"{number}\n" for number in source.missing))
    else:
        job.folder.missing.unlink(missing_ok=True)


def _kept(job: Job, index: int) -> Kept:
    kept = last_kept(job, index)
    if kept is None:
        raise FcbenchError(f"{job.folder.work}: shard {index} is gone; run the same command again")
    return kept


def _finished(folder: DataFolder, recipe: Mapping[str, Any]) -> BuildCounts | None:
    """The counts of a finished build of this recipe, if its tables are all there."""
    from fcbench.build.tables import are_there

    if not folder.build.exists():
        return None
    told = read_json(folder.build)
    whole = digest_json(told["recipe"]) == digest_json(recipe) and are_there(folder, told.get("files", {}))
    return BuildCounts(**told["counts"]) if whole else None


def _claim(folder: DataFolder, recipe: Mapping[str, Any], *, update: bool) -> None:
    """Make the folder this recipe's, or refuse."""
    if folder.recipe.exists():
        there = read_json(folder.recipe)
        differs = [key for key in {**there, **recipe} if there.get(key) != recipe.get(key)]
        if not differs:
            return
        if not update:
            told = ", ".join(f"{key} {there.get(key)!r} there, {recipe.get(key)!r} asked" for key in differs)
            raise UsageError(
                f"{folder.path} was made with another recipe ({told}): give --update to make it this one's, another "
                "--name, or delete it"
            )
        _reopen(folder)
        same_ingest = there.get("steps", {}).get("ingest") == recipe["steps"]["ingest"]
        if set(differs) & {"source", "seed", "files", "image_size", "short_side"} or not same_ingest:
            shutil.rmtree(folder.photos, ignore_errors=True)  # working copies of other photos, or made differently
    write_json(folder.recipe, recipe)


def _reopen(folder: DataFolder) -> None:
    """Make a finished build an unfinished one, without what was made from its tables."""
    for file in (folder.build, folder.page, folder.evaluation):
        file.unlink(missing_ok=True)
    _bring_back(folder)


def _bring_back(folder: DataFolder) -> None:
    """Let what was emptied for photos taken down be made again: steps may read it, and the list may have changed.

    What is still listed is emptied again when the tables are written.
    """
    for copy in folder.photos.glob("*"):
        if not copy.stat().st_size:
            copy.unlink()
    remove_forgotten(folder)


def _retry(job: Job, reasons: Sequence[str]) -> bool:
    """Delete the results in which a photo was rejected for one of the reasons; returns whether there were any."""
    for reason in reasons:
        if reason not in REASONS:
            raise UsageError(f"--retry {reason}: known: {', '.join(REASONS)}")
    results = [kept for index in range(len(job.shards) if reasons else 0) for kept in chain(job, index)]
    found = [kept for kept in results if set(kept.facts["rejected"]) & set(reasons)]
    if found:
        _count_tries(job, found, reasons)
        for kept in found:
            kept.path.unlink(missing_ok=True)
        _reopen(job.folder)
    return bool(found)


def _count_tries(job: Job, results: Sequence[Kept], reasons: Sequence[str]) -> None:
    """Count one more try for each photo that was rejected for one of the reasons."""
    tries = Counter(read_json(job.folder.tries) if job.folder.tries.exists() else {})
    for kept in results:
        rejects = [item for item in load(job.folder, kept) if isinstance(item, Reject)]
        tries.update(item.id for item in rejects if item.reason in reasons and item.step == kept.facts["step"])
    write_json(job.folder.tries, dict(sorted(tries.items())))
