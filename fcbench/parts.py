"""Work that several GPUs or machines share: task K of N, each by its own command."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TypeVar

from fcbench.errors import UsageError

Thing = TypeVar("Thing")


def part_of(text: str) -> tuple[int, int]:
    """The task and the number of tasks in "K/N"; UsageError for anything else.

    >>> part_of("17/70")
    (17, 70)
    """
    found = re.fullmatch(r"(\d+)/(\d+)", text)
    if not found:
        raise UsageError(f"--shards {text}: expected K/N, as in 17/70")
    return int(found[1]), int(found[2])


def take(things: Sequence[Thing], part: tuple[int, int]) -> Sequence[Thing]:
    """What task ``part[0]``, counted from 1, of ``part[1]`` does; UsageError where there is no such task.

    >>> take("abcdefg", (2, 3))
    'be'
    """
    task, tasks = part
    if not 1 <= task <= tasks:
        raise UsageError(f"--shards {task}/{tasks}: expected a task from 1 to {tasks}, as in 1/{tasks}")
    return things[task - 1 :: tasks]
