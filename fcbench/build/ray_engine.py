"""The same shards on a Ray cluster: actors that load the models once, one per GPU.

Every node must see the build's folder and the photos under the same path. ``RAY_ADDRESS`` names the cluster; without it
Ray is started on this machine and stopped again.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from fcbench.build.engine import ATTEMPTS, load_checked
from fcbench.build.shard import Job, Tell, run_shard
from fcbench.errors import FcbenchError, MissingError
from fcbench.types import Stack


@dataclass(frozen=True)
class RayEngine:
    """Actors on a cluster; ``workers`` of 0: as many as the cluster has GPUs, or CPUs where it has none."""

    stack: str
    device: str = "auto"
    workers: int = 0

    def run(self, job: Job, shards: Sequence[int], tell: Tell) -> None:
        """Compute them; an actor that dies is replaced, and its shard begun again."""
        ray = _import_ray()
        ours = not ray.is_initialized()
        if ours:
            os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
            alone = {} if os.environ.get("RAY_ADDRESS") else {"include_dashboard": False}
            ray.init(log_to_driver=False, configure_logging=False, **alone)
        try:
            cast = _Cast(ray, self, job, list(shards), tell)
            try:
                cast.work()
            finally:
                cast.dismiss()
        finally:
            if ours:
                ray.shutdown()


class Labeller:
    """What an actor runs."""

    def __init__(self, job: Job, stack: str, device: str) -> None:
        self._job, self._name, self._device = job, stack, device
        self._stack: Stack | None = None

    def label(self, shard: int) -> list[tuple[str, int, float]]:
        """Compute a shard; returns how many photos went through each step, and in how many seconds."""
        if self._stack is None:
            self._stack = load_checked(self._job, self._name, self._device)
        told: list[tuple[str, int, float]] = []
        run_shard(self._job, shard, self._stack, lambda *heard: told.append(heard))
        return told

    def process(self) -> int:
        """The actor's process id."""
        return os.getpid()


class _Cast:
    """The actors of one run, and what each of them is working on."""

    def __init__(self, ray: Any, engine: RayEngine, job: Job, shards: list[int], tell: Tell) -> None:
        self._ray, self._engine, self._tell = ray, engine, tell
        self._open = shards[::-1]
        self._job = ray.put(job)
        self._begun: dict[int, int] = {}
        self._at: dict[Any, tuple[Any, int]] = {}
        self._hired: list[Any] = []

    def dismiss(self) -> None:
        """End the actors: Ray would keep their CPUs and GPUs for as long as anything refers to them."""
        for actor in self._hired:
            self._ray.kill(actor)

    def work(self) -> None:
        for _ in range(min(self._count(), len(self._open))):
            self._give(self._hire())
        while self._at:
            (ready, *_), _ = self._ray.wait(list(self._at), num_returns=1)
            self._hear(ready)

    def _count(self) -> int:
        there = self._ray.cluster_resources()
        gpus, asked = int(there.get("GPU", 0)), self._engine.workers
        if self._on_gpus():  # an actor has one to itself: one more would wait for ever
            return min(asked or gpus, gpus)
        return asked or int(there.get("CPU", 1))

    def _on_gpus(self) -> bool:
        return bool(self._ray.cluster_resources().get("GPU", 0)) and self._engine.device != "cpu"

    def _hire(self) -> Any:
        gpus = self._on_gpus()
        actor = self._ray.remote(Labeller).options(num_cpus=1, num_gpus=1 if gpus else 0)
        self._hired.append(actor.remote(self._job, self._engine.stack, self._engine.device))
        return self._hired[-1]

    def _give(self, actor: Any) -> None:
        if self._open:
            shard = self._open.pop()
            self._begun[shard] = self._begun.get(shard, 0) + 1
            self._at[actor.label.remote(shard)] = (actor, shard)

    def _hear(self, ready: Any) -> None:
        actor, shard = self._at.pop(ready)
        try:
            told = self._ray.get(ready)
        except self._ray.exceptions.RayTaskError as error:
            cause = error.cause
            if isinstance(cause, FcbenchError):
                raise cause from error
            raise FcbenchError(f"shard {shard}: {type(cause).__name__}: {cause}") from error
        except self._ray.exceptions.RayActorError as error:
            if self._begun[shard] >= ATTEMPTS:
                raise FcbenchError(f"an actor died {ATTEMPTS} times at shard {shard}; what is done is kept") from error
            self._open.append(shard)
            actor = self._hire()
        else:
            for heard in told:
                self._tell(*heard)
        self._give(actor)


def _import_ray() -> Any:
    try:
        import ray
    except ModuleNotFoundError as error:
        raise MissingError("--engine ray needs Ray: pip install 'fcbench[ray]'") from error
    return ray
