"""What fitting and sampling cost: wall-clock seconds, and the peak of the memory that counts on the device.

On a GPU that is what PyTorch has allocated, weights and all. On a CPU it is the process's resident memory in excess
of what it holds when the stack is loaded and idle. The two never compare, so a run says which it measured.
"""

from __future__ import annotations

import contextlib
import ctypes
import gc
import os
import platform
import shutil
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import Any, Protocol

from fcbench.packages import installed
from fcbench.types import Sampler, Stack

PACKAGES = ("fcbench", "torch", "diffusers", "transformers", "numpy")
"""Packages whose versions may change a picture or a figure."""

MEASURED = (
    *("load_seconds", "warm_up_seconds", "single_seconds", "single_seconds_range", "single_peak_bytes"),
    *("peak_reserved", "peak_device"),
)
"""What is measured of a whole run, besides the costs of each case."""

TICK_SECONDS = 0.02
"""How often memory is read where the kernel keeps no resettable high-water mark."""

_UNSURE = 16 * 2**20
"""How far apart the kernel's two counts of the same memory may be."""


@dataclass
class Cost:
    """What one phase took. Filled when the phase ends."""

    seconds: float = 0.0
    peak_bytes: int = 0


class Meter(Protocol):
    """Measures one device. ``peak_reserved`` and ``peak_device`` are high-water marks over all phases, in bytes."""

    kind: str
    device: str
    peak_reserved: int | None
    peak_device: int

    def settle(self) -> None:
        """Free what nobody uses; what is held now belongs to the loaded stack."""
        ...

    def phase(self) -> contextlib.AbstractContextManager[Cost]:
        """Measure the block within."""
        ...


class CudaMeter:
    """What PyTorch allocates on one GPU. The device's own mark counts other programs on it too."""

    kind = "cuda allocated"

    def __init__(self, device: str) -> None:
        import torch

        self._cuda = torch.cuda
        self._device = torch.device(device)
        self.device = torch.cuda.get_device_name(self._device)
        self.peak_reserved: int | None = 0
        self.peak_device = 0

    def settle(self) -> None:
        """Return cached blocks to the device."""
        gc.collect()
        self._cuda.empty_cache()

    @contextlib.contextmanager
    def phase(self) -> Iterator[Cost]:
        """Measure the block within; the clock starts and stops on an idle device."""
        self._cuda.synchronize(self._device)
        self._cuda.reset_peak_memory_stats(self._device)
        cost, start = Cost(), perf_counter()
        try:
            yield cost
        finally:
            self._cuda.synchronize(self._device)
            cost.seconds = perf_counter() - start
            cost.peak_bytes = self._cuda.max_memory_allocated(self._device)
            self.peak_reserved = max(self.peak_reserved or 0, self._cuda.max_memory_reserved(self._device))
            free, total = self._cuda.mem_get_info(self._device)
            self.peak_device = max(self.peak_device, total - free)


class ResidentMeter:
    """Resident memory of this process, in excess of what it held when it was last settled."""

    kind = "resident"

    def __init__(self, stack: Stack) -> None:
        import psutil

        self._process = psutil.Process()
        self.device = f"{_cpu_name()}, {_threads(stack)} threads"
        self.peak_reserved: int | None = None
        self.peak_device = 0
        self._held = self._resident()

    def settle(self) -> None:
        """Give freed memory back to the kernel, where the C library can."""
        gc.collect()
        with contextlib.suppress(OSError, AttributeError):
            ctypes.CDLL(None).malloc_trim(0)
        self._held = self._resident()

    @contextlib.contextmanager
    def phase(self) -> Iterator[Cost]:
        """Measure the block within."""
        cost = Cost()
        with self._peak() as peak:
            start = perf_counter()
            try:
                yield cost
            finally:
                cost.seconds = perf_counter() - start
                highest = peak()
                cost.peak_bytes = max(0, highest - self._held)
                self.peak_device = max(self.peak_device, highest)

    def _resident(self) -> int:
        return int(self._process.memory_info().rss)

    def _peak(self) -> contextlib.AbstractContextManager[Callable[[], int]]:
        """The highest resident memory since now: the kernel's mark if it can be reset, else read again and again.

        Once, on a crowded machine, a phase still had the mark of the one before: so the reset is checked.
        """
        try:
            Path("/proc/self/clear_refs").write_text("5")
        except OSError:
            return self._watch()
        was_reset = _high_water() < self._resident() + _UNSURE
        return contextlib.nullcontext(_high_water) if was_reset else self._watch()

    @contextlib.contextmanager
    def _watch(self) -> Iterator[Callable[[], int]]:
        highest = self._resident()
        done = threading.Event()

        def read() -> int:
            nonlocal highest
            highest = max(highest, self._resident())
            return highest

        def watch() -> None:
            while not done.wait(TICK_SECONDS):
                read()

        thread = threading.Thread(target=watch, daemon=True)
        thread.start()
        try:
            yield read
        finally:
            done.set()
            thread.join()


def meter_of(stack: Stack) -> Meter:
    """The meter of the device that the stack is on."""
    return CudaMeter(stack.device) if stack.device.startswith("cuda") else ResidentMeter(stack)


class LoadClock:
    """Times the loading of a stack's roles, whenever a method first asks for one."""

    def __init__(self, stack: Stack) -> None:
        self.seconds = 0.0
        stack.load = {role: self._timed(load) for role, load in stack.load.items()}

    def _timed(self, load: Callable[[], Any]) -> Callable[[], Any]:
        def timed() -> Any:
            before, start = self.seconds, perf_counter()
            try:
                return load()
            finally:  # a role may load another: its seconds are within ours
                self.seconds = before + perf_counter() - start

        return timed


def stored_bytes(sampler: Sampler, folder: Path) -> int:
    """The size of what ``sampler.save`` writes; ``folder`` is used for that and removed."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    try:
        sampler.save(folder)
        return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    finally:
        shutil.rmtree(folder)


def versions() -> dict[str, str | None]:
    """Versions of what may change a picture; None for a package that is not installed."""
    return {**{package: installed(package) for package in PACKAGES}, "python": platform.python_version()}


def _high_water() -> int:
    status = Path("/proc/self/status").read_text(encoding="ascii")
    kibibytes = next(line.split()[1] for line in status.splitlines() if line.startswith("VmHWM:"))
    return int(kibibytes) * 1024


def _threads(stack: Stack) -> int:
    """The threads that PyTorch computes with. For a stack without roles, as in tests, it is not imported."""
    if not stack.load:
        return os.cpu_count() or 1
    import torch

    return torch.get_num_threads()


def _cpu_name() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        return next(line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()
