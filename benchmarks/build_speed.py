"""How fast ``build-data`` is, and where its time goes.

One line per step: photos per second. Then what a photo costs outside the models, without drawing it, which no camera's
photo needs; memory by number of photos; two workers against one; and what running a finished build again costs.
Each build runs in a process of its own. On a machine with other work CPU seconds tell more than seconds.
"""

from __future__ import annotations

import argparse
import functools
import importlib
import json
import os
import resource
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from fcbench.build import build_data, ingest, shard
from fcbench.build.engine import Engine, Workers
from fcbench.build.pipeline import job_of
from fcbench.files import read_json
from fcbench.stacks import load_stack
from fcbench.store import data_folder
from fcbench.types import Stack


class Clock:
    """Seconds inside the models: CPU seconds, unless ``now`` is another clock."""

    def __init__(self, now: Callable[[], float] = time.process_time) -> None:
        self.seconds = 0.0
        self._now = now

    def watch(self, model: Any) -> Any:
        """The model, every call of which is timed."""
        return _Watched(model, self)

    def time(self, call: Any, *arguments: Any, **options: Any) -> Any:
        """Call, timed; what an iterator gives is timed piece by piece."""
        start = self._now()
        found = call(*arguments, **options)
        self.seconds += self._now() - start
        return self._pieces(found) if hasattr(found, "__next__") else found

    def _pieces(self, pieces: Iterator[Any]) -> Iterator[Any]:
        while True:
            start = self._now()
            try:
                piece = next(pieces)
            except StopIteration:
                return
            finally:
                self.seconds += self._now() - start
            yield piece


class _Watched:
    def __init__(self, model: Any, clock: Clock) -> None:
        self._model, self._clock = model, clock

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._model, name)
        if name == "det_model":  # a face pack's detector is called directly
            return _Watched(found, self._clock)
        return (lambda *a, **o: self._clock.time(found, *a, **o)) if callable(found) else found

    def __call__(self, *arguments: Any, **options: Any) -> Any:
        return self._clock.time(self._model, *arguments, **options)


def build(out: Path, stack_name: str, photos: int, workers: int, parts: int = shard.PARTS) -> dict[str, Any]:
    """Build in this process (0 workers) or in workers: seconds, CPU seconds (in models, drawing), peak memory.

    ``parts``: the least number of shards; workers choose their own.
    """
    shard.PARTS = parts
    models, drawing = Clock(), Clock()
    plain = load_stack(stack_name)
    loaders = {role: (lambda load=load: models.watch(load())) for role, load in plain.load.items()}
    stack = Stack(plain.name, loaders, plain.image_size, digests=plain.digests)
    engine: Engine | None = Workers(stack_name, ["cpu"] * workers) if workers else None
    if engine is None:
        for role in job_of(out, stack).roles:
            stack.role(role)  # loading models or libraries is not building
        importlib.import_module("fcbench.build.write")
        ingest._draw = functools.partial(drawing.time, ingest._draw)
    start, cpu = time.perf_counter(), _cpu()
    build_data(out, photos=photos, stack=stack, engine=engine, progress=None)
    return {
        "seconds": time.perf_counter() - start,
        "cpu_seconds": _cpu() - cpu,
        "model_seconds": models.seconds,
        "drawing_seconds": drawing.seconds,
        "peak_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    }


def _cpu() -> float:
    """CPU seconds of this process and of its workers that have ended."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(part.ru_utime + part.ru_stime for part in used)


def apart(out: Path, stack: str, photos: int, workers: int = 0, parts: int = shard.PARTS) -> dict[str, Any]:
    """The same in a fresh process."""
    command = [sys.executable, __file__, "--inner", str(out), stack, str(photos), str(workers), str(parts)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def steps_of(out: Path, name: str = "world") -> dict[str, tuple[int, float]]:
    """Step -> items and seconds, over all shards."""
    found: dict[str, tuple[int, float]] = {}
    for path in sorted((data_folder(out, name).path / "meta").glob("*.json")):
        for step in read_json(path)["steps"]:
            items, seconds = found.get(step["step"], (0, 0.0))
            found[step["step"]] = (items + step["items"], seconds + step["seconds"])
    return found


def _tell_shares(told: dict[str, Any], photos: int) -> None:
    building = told["cpu_seconds"] - told["drawing_seconds"]
    outside = building - told["model_seconds"]
    print(f"CPU: {told['cpu_seconds']:.1f} s, of which drawing the world's pictures {told['drawing_seconds']:.1f} s")
    print(
        f"outside the models: {outside / building:.1%} of the rest, {1000 * outside / photos:.1f} ms a photo; 10 % or "
        f"less where the models take {9000 * outside / photos:.0f} ms a photo or more"
    )


def main() -> None:
    """Measure and print."""
    if sys.argv[1:2] == ["--inner"]:
        out, stack, photos, workers, parts = sys.argv[2:]
        print(json.dumps(build(Path(out), stack, int(photos), int(workers), int(parts))))
        return
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--photos", type=int, default=1000)
    parser.add_argument("--by-workers", type=int, default=4000, help="for two workers against one")
    parser.add_argument("--many", type=int, default=10_000, help="for the memory; 0 leaves it out")
    parser.add_argument("--shards", type=int, default=70, help="of a build that is run again; 0 leaves it out")
    parser.add_argument("--stack", default="mini")
    arguments = parser.parse_args()
    with TemporaryDirectory() as folder:
        one = apart(Path(folder, "one"), arguments.stack, arguments.photos)
        print(f"{arguments.photos} photos, one process on {len(os.sched_getaffinity(0))} shared cores")
        told = steps_of(Path(folder, "one"))
        for step, (items, seconds) in told.items():
            print(f"{step:10} {items / max(seconds, 1e-9):8.1f} photos/s  {seconds:7.2f} s")
        print(f"{'all':10} {arguments.photos / one['seconds']:8.1f} photos/s  {one['seconds']:7.2f} s")
        _tell_shares(one, arguments.photos)
        again = apart(Path(folder, "one"), arguments.stack, arguments.photos)
        print(f"the same build again: {again['seconds']:.2f} s, ratio {again['seconds'] / one['seconds']:.3f}")
        alone, two = (apart(Path(folder, f"workers-{n}"), arguments.stack, arguments.by_workers, n) for n in (1, 2))
        print(
            f"{arguments.by_workers} photos, workers that load their models: one {alone['seconds']:.2f} s, two "
            f"{two['seconds']:.2f} s, {alone['seconds'] / two['seconds']:.2f} x as fast; CPU "
            f"{alone['cpu_seconds']:.1f} s and {two['cpu_seconds']:.1f} s"
        )
        if arguments.shards:
            photos = shard.SMALLEST * arguments.shards
            apart(Path(folder, "shards"), arguments.stack, photos, parts=arguments.shards)
            again = apart(Path(folder, "shards"), arguments.stack, photos, parts=arguments.shards)
            print(f"a finished build of {photos} photos in {arguments.shards} shards again: {again['seconds']:.2f} s")
        if arguments.many:
            many = apart(Path(folder, "many"), arguments.stack, arguments.many)
            ratio = many["peak_mib"] / one["peak_mib"]
            print(
                f"peak memory: {one['peak_mib']:.0f} MiB at {arguments.photos}, {many['peak_mib']:.0f} MiB at "
                f"{arguments.many}: ratio {ratio:.2f}"
            )


if __name__ == "__main__":
    main()
