"""What the command line asks of a build, put together."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from fcbench.build.engine import Engine, Here, Workers, devices_for, preparing_for
from fcbench.build.match import ASSIGNMENTS
from fcbench.build.pipeline import BuildCounts, Options, build_data, build_shards
from fcbench.build.screen import Screen, idle, read_screen
from fcbench.build.source import check_limit
from fcbench.build.split import TOGETHER
from fcbench.errors import UsageError
from fcbench.files import read_rows
from fcbench.parts import part_of
from fcbench.store import data_folder
from fcbench.types import Stack

FREE = "free"
"""The value of ``--shards`` for all shards that no other command is working on."""


@dataclass(frozen=True)
class Asked:
    """A build's options as they were given."""

    source: str
    name: str
    photos: int
    stack_name: str
    device: str
    licences: str = ""
    exclude: Path | None = None
    engine_name: str = "local"
    workers: int = 0
    images: Path | None = None
    short_side: int = 1024
    assignment: str = "hungarian"
    recaption: bool = False
    limit: int | None = None
    seed: int = 0
    together: tuple[str, ...] = ()

    @cached_property
    def stack(self) -> Stack:
        """The stack; its models load where they are used."""
        from fcbench.stacks import load_stack

        return load_stack(self.stack_name, device=self.device)

    @property
    def screen(self) -> Screen:
        """Which photos may be used."""
        return read_screen(self.licences, self.exclude)

    @property
    def engine(self) -> Engine:
        """Who computes the shards; a single worker is this process."""
        if self.engine_name == "ray":
            from fcbench.build.ray_engine import RayEngine

            return RayEngine(self.stack_name, self.device, self.workers)
        if self.engine_name != "local":
            raise UsageError(f"--engine {self.engine_name}: known: local, ray")
        devices = devices_for(self.device, self.workers)
        preparing = preparing_for(devices)
        several = len(devices) + preparing > 1
        return Workers(self.stack_name, devices, preparing) if several else Here(self.stack)

    def __post_init__(self) -> None:
        if self.assignment not in ASSIGNMENTS:
            raise UsageError(f"--assign {self.assignment}: known: {', '.join(sorted(ASSIGNMENTS))}")
        if unknown := set(self.together) - set(TOGETHER):
            raise UsageError(f"--together {','.join(sorted(unknown))}: known: {', '.join(TOGETHER)}")
        check_limit(self.source, self.limit)

    @property
    def options(self) -> Options:
        """The options that both ways of building take."""
        return {
            "source": self.source,
            "name": self.name,
            "photos": self.photos,
            "seed": self.seed,
            "screen": self.screen,
            "images": self.images,
            "short_side": self.short_side,
            "assignment": self.assignment,
            "recaption": self.recaption,
            "limit": self.limit,
            "together": self.together,
        }


def build(out: Path, asked: Asked, *, update: bool = False, retry: Sequence[str] = ()) -> BuildCounts:
    """Build the whole dataset."""
    again = takedown(out, asked)
    return build_data(
        out,
        stack=asked.stack,
        engine=asked.engine,
        **asked.options,
        update=update,
        retry=retry,
        takedown=again,
        progress=sys.stderr,  # as it is now, not as it was when the default was bound
    )


def idle_exclusions(out: Path, asked: Asked) -> list[str]:
    """What ``--exclude`` lists but no photo of the dataset is called: perhaps mistyped, and so not taken out."""
    if not asked.screen.taken_down:
        return []
    rejects = read_rows(data_folder(out, asked.name).rejects)
    return idle(asked.screen.taken_down, [row["message"] for row in rejects if row["reason"] == "takedown"])


def takedown(out: Path, asked: Asked) -> str:
    """The command that takes photos out of this build again, and changes nothing else of its recipe."""
    words = ["--source", asked.source, "--name", asked.name, "--stack", asked.stack_name, "--out", str(out)]
    if asked.images is not None:
        words += ["--images", str(asked.images)]
    own = ("--photos", asked.photos) if asked.source == "world" else ("--short-side", asked.short_side)
    words += [*map(str, own), "--assign", asked.assignment, *["--recaption"] * asked.recaption]
    if asked.seed:
        words += ["--seed", str(asked.seed)]
    if asked.together:
        words += ["--together", ",".join(asked.together)]
    if asked.limit is not None:
        words += ["--limit", str(asked.limit)]
    if asked.licences:
        words += ["--licences", asked.licences]
    exclude = "FILE" if asked.exclude is None else str(asked.exclude)
    return shlex.join(["fcbench", "build-data", *words, "--update", "--exclude", exclude])


def label(out: Path, asked: Asked, shards: str) -> tuple[int, int]:
    """Label the part "K/N", or what is "free"; returns how many shards are done now, and out of how many."""
    part = (1, 1) if shards == FREE else part_of(shards)
    return build_shards(out, part, stack=asked.stack, engine=asked.engine, progress=sys.stderr, **asked.options)
