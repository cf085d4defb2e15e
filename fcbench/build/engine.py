"""Who computes the shards of a build: this process, or worker processes, one per GPU.

An engine decides only where a shard is computed; what comes out and what is kept is the shard's own affair.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import threading
import traceback
from collections.abc import Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from typing import Any, Protocol

from fcbench.build.shard import Job, Tell, chain, prepare_shard, run_shard
from fcbench.errors import FcbenchError
from fcbench.types import Stack

MOST_ON_A_CPU = 8
"""More workers than this must be asked for, as each one loads the models."""
MOST_PREPARING = 32
"""More processes than this that only take photos in would wait for the disk."""
ATTEMPTS = 3
"""How often a shard is begun before a worker's death is taken for the shard's fault."""

_PREPARES = "none"
"""The device of a worker that only takes photos in."""


class Engine(Protocol):
    """Computes shards."""

    def run(self, job: Job, shards: Sequence[int], tell: Tell) -> None:
        """Return when all of them are kept; raises the first error, and what is kept by then stays."""
        ...


@dataclass(frozen=True)
class Here:
    """This process, one shard after the other."""

    stack: Stack

    def run(self, job: Job, shards: Sequence[int], tell: Tell) -> None:
        """Compute them."""
        for index in shards:
            run_shard(job, index, self.stack, tell)


@dataclass(frozen=True)
class Workers:
    """Processes that load the stack once each; ``devices`` names a device for each of them.

    ``preparing`` more take photos in ahead of them, without any model: a GPU is faster than one core can decode.
    """

    stack: str
    devices: Sequence[str]
    preparing: int = 0

    def run(self, job: Job, shards: Sequence[int], tell: Tell) -> None:
        """Compute them; a worker that dies is replaced, and its shard begun again."""
        crew = _Crew(self, job, list(shards), tell)
        try:
            crew.work()
        finally:
            crew.dismiss()


def devices_for(device: str, workers: int) -> list[str]:
    """A device for each worker: every GPU where ``auto`` or ``cuda`` finds some; a GPU that is named; else the CPU.

    ``workers`` of 0 leaves the number open: on the CPU one per core, up to ``MOST_ON_A_CPU``, on a named GPU one.
    More workers than GPUs share them in turn.
    """
    import torch

    gpus = torch.cuda.device_count() if device in ("auto", "cuda") else 0
    if gpus:
        return [f"cuda:{place % gpus}" for place in range(workers or gpus)]
    one = "cpu" if device == "auto" else device
    return [one] * (workers or (min(len(os.sched_getaffinity(0)), MOST_ON_A_CPU) if one == "cpu" else 1))


def preparing_for(devices: Sequence[str]) -> int:
    """How many processes take photos in ahead of workers on GPUs: one per core that these leave; else none."""
    if not all(device.startswith("cuda") for device in devices):
        return 0
    return max(1, min(MOST_PREPARING, len(os.sched_getaffinity(0)) - len(devices)))


class _Crew:
    """The workers of one run, and what each of them is working on."""

    def __init__(self, engine: Workers, job: Job, shards: list[int], tell: Tell) -> None:
        self._engine, self._job, self._tell = engine, job, tell
        outside = [index for index in shards if engine.preparing and not chain(job, index)]
        self._prepared = frozenset(outside)
        self._outside = outside[::-1]
        self._open = [index for index in shards[::-1] if index not in self._prepared]
        self._begun: dict[tuple[str, int], int] = {}
        self._at: dict[Connection, tuple[BaseProcess, str, int | None]] = {}

    def work(self) -> None:
        workers = self._engine.devices[: len(self._open) + len(self._outside)]
        for device in [*workers, *[_PREPARES] * min(self._engine.preparing, len(self._outside))]:
            self._hire(device)  # first those that load models, which takes longest
        while any(shard is not None for _, _, shard in self._at.values()):
            for connection in wait(list(self._at)):
                assert isinstance(connection, Connection)
                self._hear(connection)

    def dismiss(self) -> None:
        for process, _, _ in self._at.values():
            process.kill()
        for connection, (process, _, _) in self._at.items():
            process.join()
            connection.close()

    def _hire(self, device: str) -> None:
        context = multiprocessing.get_context("spawn")
        ours, theirs = context.Pipe()
        process = context.Process(target=_serve, args=(theirs, self._job, self._engine.stack, device), daemon=True)
        process.start()
        theirs.close()
        self._at[ours] = (process, device, None)
        self._give(ours)

    def _give(self, connection: Connection) -> None:
        process, device, _ = self._at[connection]
        waiting = self._outside if device == _PREPARES else self._open
        shard = waiting.pop() if waiting else None
        self._at[connection] = (process, device, shard)
        if shard is not None:
            self._begun[device, shard] = self._begun.get((device, shard), 0) + 1
            with contextlib.suppress(OSError):  # it has just died: its end of the pipe will say so next
                connection.send(shard)

    def _hear(self, connection: Connection) -> None:
        try:
            event, *rest = connection.recv()
        except (EOFError, OSError):
            self._replace(connection)
            return
        _, device, shard = self._at[connection]
        match event:
            case "told":
                again = rest[0] == "ingest" and device != _PREPARES and shard in self._prepared
                self._tell(rest[0], *((0, 0.0) if again else rest[1:]))
            case "done":
                if device == _PREPARES and shard is not None:
                    self._open.insert(0, shard)
                self._give(connection)
                for idle in [each for each, (_, _, shard) in self._at.items() if shard is None]:
                    self._give(idle)
            case "error":
                raise rest[0] from RuntimeError(f"in a worker:\n{rest[1]}")

    def _replace(self, connection: Connection) -> None:
        process, device, shard = self._at.pop(connection)
        process.join()
        connection.close()
        if shard is not None:
            if self._begun[device, shard] >= ATTEMPTS:
                raise FcbenchError(
                    f"a worker died {ATTEMPTS} times at shard {shard} (exit code {process.exitcode}), as when memory "
                    "runs out; what is done is kept: try fewer --workers"
                )
            (self._outside if device == _PREPARES else self._open).append(shard)
        if self._open or self._outside or any(at is not None for _, _, at in self._at.values()):
            self._hire(device)


def _serve(connection: Connection, job: Job, stack_name: str, device: str) -> None:
    """A worker: shards come in, what happens goes out; it never outlives the process that started it."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the parent, who ends its workers
    threading.Thread(target=_die_with_parent, daemon=True).start()

    def tell(step: str, count: int, seconds: float) -> None:
        connection.send(("told", step, count, seconds))

    try:
        stack = None if device == _PREPARES else load_checked(job, stack_name, device)
        while True:
            shard = connection.recv()
            if stack is None:
                prepare_shard(job, shard, tell)
            else:
                run_shard(job, shard, stack, tell)
            connection.send(("done",))
    except EOFError:
        return
    except Exception as error:
        connection.send(("error", _portable(error), traceback.format_exc()))


def load_checked(job: Job, stack_name: str, device: str) -> Stack:
    """A worker's own stack; UsageError if it is not the build's."""
    from fcbench.stacks import load_stack

    stack = load_stack(stack_name, device=device)
    job.check(stack)
    return stack


def _portable(error: Exception) -> FcbenchError:
    """An error in a form that can be sent to the parent: ours as it is, any other in words."""
    return error if isinstance(error, FcbenchError) else FcbenchError(f"{type(error).__name__}: {error}")


def _die_with_parent() -> None:
    parent: Any = multiprocessing.parent_process()
    parent.join()
    os._exit(1)
