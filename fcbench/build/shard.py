"""The unit of work: a shard is a pure function of its slice of the inputs and of the recipe.

Whatever schedules shards (this process, worker processes, a Ray cluster, a Slurm array), the same bytes come out: a
shard's photos share batches with each other only, in their order, and on a CPU one thread computes.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import os
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from time import perf_counter
from typing import Any, TypeAlias

from fcbench.build import cache
from fcbench.build.cache import Kept
from fcbench.build.records import Item, Photo, Reject
from fcbench.build.screen import Screen
from fcbench.build.source import Source
from fcbench.build.steps import Step, steps_of
from fcbench.errors import FcbenchError, UsageError
from fcbench.files import leased
from fcbench.packages import commit, installed
from fcbench.store import DataFolder
from fcbench.types import Stack

Tell: TypeAlias = Callable[[str, int, float], None]
"""Called with a step's name, how many more photos are through it, and in how many seconds: 0 if they were before."""

PACKAGES = (
    *("fcbench", "datasets", "numpy", "pillow", "pyarrow", "pycocotools", "spacy", "torch", "transformers"),
    *("segment-anything", "torchvision"),  # extras
)
INGEST_VERSION = 4
SMALLEST, LARGEST, PARTS = 50, 1000, 4
"""Fewest and most photos per shard, and how many shards a build in between has, whatever machine it runs on."""


@dataclass(frozen=True)
class Job:
    """A build as its workers need it; ``digests`` are the stack's, which every worker's own must match."""

    folder: DataFolder
    source: Source
    screen: Screen
    digests: Mapping[str, str]
    assignment: str = "hungarian"
    recaption: bool = False
    together: tuple[str, ...] = ()
    shared: bool = False
    """Whether other commands may be at work on the same shards: then each shard is locked by the one that labels it."""

    @property
    def shards(self) -> list[range]:
        """Each shard's slice of the inputs."""
        size = shard_size(len(self.source))
        return [range(first, min(first + size, len(self.source))) for first in range(0, len(self.source), size)]

    @property
    def steps(self) -> tuple[Step, ...]:
        """The steps after ingest."""
        return steps_of(self.screen, self.digests, self.assignment, recaption=self.recaption)

    @property
    def roles(self) -> tuple[str, ...]:
        """The models that the steps need."""
        return tuple(dict.fromkeys(role for step in self.steps for role in step.roles))

    def check(self, stack: Stack) -> None:
        """UsageError where a worker's stack has other weights than the build's."""
        for role in self.roles:
            if stack.digests.get(role, "unknown") != self.digests.get(role, "unknown"):
                raise UsageError(f"the {role} of a worker's stack {stack.name!r} is not the one that the build has")


def shard_size(inputs: int) -> int:
    """Photos a shard.

    >>> [shard_size(inputs) for inputs in (65, 1000, 70_000)]
    [50, 250, 1000]
    """
    return min(LARGEST, max(SMALLEST, -(-inputs // PARTS)))


def last_kept(job: Job, index: int) -> Kept | None:
    """A shard's final result where it is done, found without reading any item."""
    kept = chain(job, index)
    return kept[-1] if len(kept) == 1 + len(job.steps) else None


def chain(job: Job, index: int) -> list[Kept]:
    """The results of a shard's steps as far as they are there, ingest first."""
    kept = _find_ingest(job, index)
    found: list[Kept] = []
    for step in job.steps:
        if kept is None:
            return found
        found.append(kept)
        kept = cache.find(job.folder, step.name, index, cache.key_of(step.name, step.recipe(job.digests), kept.output))
    return found if kept is None else [*found, kept]


def run_shard(job: Job, index: int, stack: Stack, tell: Tell) -> None:
    """Take a shard through all steps, unless another process has it; steps whose results are there are not run."""
    with _lease(job, index) as ours:
        if ours:
            _run_steps(job, index, stack, tell)
        else:
            for name in ("ingest", *(step.name for step in job.steps)):
                tell(name, len(job.shards[index]), 0.0)


def prepare_shard(job: Job, index: int, tell: Tell) -> None:
    """Take in a shard's photos ahead of the worker that labels it, unless another process has it."""
    with _lease(job, index) as ours:
        if ours:
            ingest_shard(job, index, tell)
        else:
            tell("ingest", len(job.shards[index]), 0.0)


def _lease(job: Job, index: int) -> AbstractContextManager[bool]:
    return leased(job.folder.lease(index)) if job.shared else contextlib.nullcontext(True)


def _run_steps(job: Job, index: int, stack: Stack, tell: Tell) -> None:
    kept = ingest_shard(job, index, tell)
    items: list[Item] | None = None
    for step in job.steps:
        key = cache.key_of(step.name, step.recipe(job.digests), kept.output)
        found = cache.find(job.folder, step.name, index, key)
        if found is not None:
            kept, items = found, None
            tell(step.name, len(job.shards[index]), 0.0)
            continue
        given = cache.load(job.folder, kept) if items is None else items
        items, seconds = _run(step, given, stack, tell)
        facts = _facts(step.name, step.recipe(job.digests), kept.output, seconds, items, stack.device)
        facts["models"] = list(step.roles if step.asks(given) else ())
        kept = cache.keep(job.folder, step.name, index, key, items, facts)


def ingest_shard(job: Job, index: int, tell: Tell) -> Kept:
    """Take in a shard's photos, unless they are there; needs no model."""
    part = job.shards[index]
    if (kept := _find_ingest(job, index)) is not None:
        tell("ingest", len(part), 0.0)
        return kept
    items: list[Item] = []
    start = last = perf_counter()
    for item in job.source.ingest(job.folder, part):
        items.append(_fingerprinted(item))
        last, before = perf_counter(), last
        tell("ingest", 1, last - before)
    if len(items) != len(part):
        raise FcbenchError(f"shard {index}: the source gave {len(items)} photos for {len(part)} inputs")
    os.sync()  # the working copies were written without waiting for the disk; the record of them is not
    facts = _facts("ingest", {}, job.source.key(part), perf_counter() - start, items, "cpu")
    facts["copies"] = [item.path.name for item in items if isinstance(item, Photo)]
    return cache.keep(job.folder, "ingest", index, _ingest_key(job, index), items, facts)


def _run(step: Step, items: list[Item], stack: Stack, tell: Tell) -> tuple[list[Item], float]:
    for role in step.roles if step.asks(items) else ():
        stack.role(role)  # loading does not count as the step's time
    start = perf_counter()
    with _one_thread(stack):
        done = list(step(items, stack, lambda count, seconds: tell(step.name, count, seconds)))
    if [item.id for item in done] != [item.id for item in items]:
        raise FcbenchError(f"the step {step.name} lost or doubled photos: it must give one item for each")
    return done, perf_counter() - start


def _find_ingest(job: Job, index: int) -> Kept | None:
    """What ingest made, if the working copies are still there."""
    kept = cache.find(job.folder, "ingest", index, _ingest_key(job, index))
    if kept is None or not all((job.folder.photos / name).exists() for name in kept.facts["copies"]):
        return None
    return kept


def _ingest_key(job: Job, index: int) -> str:
    return cache.key_of("ingest", {"version": INGEST_VERSION}, job.source.key(job.shards[index]))


def _fingerprinted(item: Item) -> Item:
    if not isinstance(item, Photo):
        return item
    return replace(item, fingerprint=hashlib.sha256(item.path.read_bytes()).hexdigest())


def _facts(
    step: str, recipe: Mapping[str, Any], given: str, seconds: float, items: list[Item], device: str
) -> dict[str, Any]:
    """How a result came about."""
    return {
        "step": step,
        "recipe": dict(recipe),
        "input": given,
        "items": len(items),
        "photos": sum(isinstance(item, Photo) for item in items),
        "rejected": dict(Counter(i.reason for i in items if isinstance(i, Reject) and i.step == step)),
        "seconds": round(seconds, 3),
        "device": device_name(device),
        "versions": versions(),
    }


@functools.cache
def versions() -> dict[str, str]:
    """Versions of the packages that rows depend on, where installed, and our own commit where there is one."""
    known = {"commit": commit(), **{package: installed(package) for package in PACKAGES}}
    return {name: found for name, found in known.items() if found}


def device_name(device: str) -> str:
    """A device as a person calls it."""
    if device.startswith("cuda"):
        import torch

        return str(torch.cuda.get_device_name(device))
    return device


@contextlib.contextmanager
def _one_thread(stack: Stack) -> Iterator[None]:
    """On a CPU sums are taken in one order, however many workers share its cores."""
    if stack.device != "cpu" or "torch" not in sys.modules:
        yield
        return
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
