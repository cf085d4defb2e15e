"""One training loop for all roles: steps until done or out of time, a state on disk to go on from, progress with ETA.

Batches are drawn from a generator seeded by (seed, step), so a stage that was killed goes on as if it had not been.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Protocol

import torch

from fcbench.errors import DataError, FcbenchError, OutOfTimeError, one_line
from fcbench.files import atomic

REST = 20
"""At least this many times what saving a state took passes before the next: a twentieth of the time at most."""


class Stateful(Protocol):
    """Anything with a state: a module, an optimiser, a schedule."""

    def state_dict(self) -> dict[str, Any]:
        """What must be kept."""
        ...

    def load_state_dict(self, state_dict: dict[str, Any], /) -> Any:
        """Take up what was kept."""
        ...


class Clock:
    """A time budget shared by the stages of one command."""

    def __init__(self, minutes: float) -> None:
        self._end = time.monotonic() + minutes * 60

    @property
    def spent(self) -> bool:
        """Whether no time is left."""
        return time.monotonic() > self._end

    def check(self, before: str) -> None:
        """Raise OutOfTimeError if no time is left for what is next."""
        if self.spent:
            raise OutOfTimeError(f"time is up before {before}; the same command goes on there")


def run_steps(
    name: str,
    steps: int,
    step: Callable[[int], Mapping[str, float]],
    state: Mapping[str, Stateful],
    file: Path,
    clock: Clock,
    *,
    save_seconds: float = 60,
    save_every: int = 0,
    writes: bool = True,
    agree: Callable[[int], None] = lambda begun: None,
) -> None:
    """Call ``step(k)`` for the k that are left of ``range(steps)``; ``step`` returns what to show.

    The state is saved to ``file`` about every ``save_seconds``, or ``REST`` times what saving takes if that is more,
    after every ``save_every``-th step (0: after none), and at the end. Of several processes one ``writes``: it shows
    its progress and saves; all of them load, and ``agree`` is called with where each begins. Raises OutOfTimeError when
    the clock says so, DataError when the saved state does not fit.
    """
    begun, took = _load(file, state), 0.0
    agree(begun)
    started = saved = shown = time.monotonic()
    for k in range(begun, steps):
        values = step(k)
        now, spent, last = time.monotonic(), clock.spent, k + 1 == steps
        if writes and (last or now - shown > 15):
            shown = now
            left = (now - started) / (k + 1 - begun) * (steps - k - 1)
            numbers = " ".join(f"{key} {value:.4g}" for key, value in values.items())
            print(f"{name}: step {k + 1}/{steps} {numbers} ETA {left / 60:.1f} min", file=sys.stderr, flush=True)
        due = bool(save_every) and (k + 1) % save_every == 0
        if writes and (last or spent or due or now - saved > max(save_seconds, REST * took)):
            _save(file, k + 1, state)
            saved = time.monotonic()
            took = saved - now
        if spent and not last:
            raise OutOfTimeError(
                f"{name}: time is up after {k + 1} of {steps} steps; the same command goes on from there"
            )


def cosine(step: int, steps: int, *, warm_up: float = 0.03) -> float:
    """The factor on the learning rate: up linearly over ``warm_up`` of the steps, then down a cosine to 0.

    >>> cosine(0, 100, warm_up=0.1), round(cosine(55, 101, warm_up=0.1), 2), round(cosine(99, 100), 2)
    (0.1, 0.51, 0.0)
    """
    import math

    begin = max(1, round(steps * warm_up))
    if step < begin:
        return (step + 1) / begin
    return 0.5 + 0.5 * math.cos(math.pi * (step - begin) / max(1, steps - begin))


def batch_generator(seed: int, step: int) -> torch.Generator:
    """The generator that draws step ``step``'s batch and noise."""
    return torch.Generator().manual_seed(seed * 1_000_003 + step)


def fast_autocast(device: str, *, enabled: bool = True) -> torch.autocast:
    """bfloat16 where the hardware computes in it; on other processors it would be ten times slower than float32."""
    kind = torch.device(device).type
    return torch.autocast(kind, torch.bfloat16, enabled=enabled and (kind != "cpu" or cpu_has_bfloat16()))


def cpu_has_bfloat16() -> bool:
    """Whether this processor has bfloat16 instructions (AMX or AVX-512 BF16)."""
    return torch.cpu._is_amx_tile_supported() or torch.cpu._is_avx512_bf16_supported()


def _save(file: Path, done: int, state: Mapping[str, Stateful]) -> None:
    with atomic(file) as temporary:
        torch.save({"done": done, **{key: part.state_dict() for key, part in state.items()}}, temporary)


def _load(file: Path, state: Mapping[str, Stateful]) -> int:
    if not file.exists():
        return 0
    try:
        saved = torch.load(file, map_location="cpu", weights_only=True, mmap=True)
        for key, part in state.items():
            part.load_state_dict(saved[key])
    except (MemoryError, torch.OutOfMemoryError) as error:
        raise FcbenchError(f"{file}: no memory to load it into; make some and run the same command again") from error
    except OSError as error:
        raise DataError(f"{file}: cannot be read ({error}); run the same command again when it can") from error
    except Exception as error:  # a torn or foreign file: torch raises a dozen kinds
        raise DataError(
            f"{file}: not a state of this stage ({one_line(error)}); move it away to begin the stage anew"
        ) from error
    return int(saved["done"])
