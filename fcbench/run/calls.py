"""Calls of a plug-in: what they cost, and what its errors become."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from pathlib import Path
from time import perf_counter

from fcbench import store
from fcbench.errors import (
    FcbenchError,
    MethodError,
    MissingError,
    UsageError,
    WeightsError,
    is_disk_full,
    is_out_of_memory,
)
from fcbench.files import read_json, write_json
from fcbench.run.measure import Cost, LoadClock, Meter

NOTE_SECONDS = 5.0
"""How often a long phase notes what it has spent, in case it is killed."""


class Calls:
    """Measures and guards a run's calls; ``clock`` times the loading of roles, which is nobody's cost."""

    def __init__(self, folder: store.RunFolder, meter: Meter, clock: LoadClock) -> None:
        self._folder, self._meter, self._clock = folder, meter, clock

    @contextlib.contextmanager
    def phase(self) -> Iterator[Cost]:
        """Measure the block, less the loading of roles within it."""
        loaded = self._clock.seconds
        with self._meter.phase() as cost:
            yield cost
        cost.seconds -= self._clock.seconds - loaded

    @contextlib.contextmanager
    def resumed(self, spent: Path) -> Iterator[Cost]:
        """Measure the block together with what killed attempts spent on it, which ``spent`` records.

        Work that a killed attempt had not saved is done again and counts twice: the sum is what was really spent.
        """
        earlier = float(read_json(spent)["seconds"]) if spent.exists() else 0.0
        start, over = perf_counter(), threading.Event()

        def note() -> None:
            while not over.wait(NOTE_SECONDS):
                with contextlib.suppress(FcbenchError):  # a full disk is reported by whoever needs it
                    write_json(spent, {"seconds": earlier + perf_counter() - start})

        noting = threading.Thread(target=note, daemon=True)
        noting.start()
        try:
            with self.phase() as cost:
                yield cost
        finally:
            over.set()
            noting.join()
        cost.seconds += earlier
        if spent.exists():  # until the cost is on record, ``spent`` holds all of it
            with contextlib.suppress(FcbenchError):
                write_json(spent, {"seconds": cost.seconds})

    @contextlib.contextmanager
    def plugin(self, where: str) -> Iterator[None]:
        """Turn whatever a plug-in raises into a MethodError, except what stops every group alike."""
        try:
            yield
        except (UsageError, MissingError, WeightsError):
            raise
        except (Exception, SystemExit) as error:  # a script turned into a method may still exit
            if is_disk_full(error):
                raise FcbenchError(f"no space left on the disk of {self._folder.path}: make some, run again") from error
            raise MethodError(f"{where}: {reason(error)}") from error


def reason(error: BaseException) -> str:
    """An error in one line, as a failure's file tells it."""
    if is_out_of_memory(error):
        return "out of memory"
    return " ".join(f"{type(error).__name__}: {error}".split())
