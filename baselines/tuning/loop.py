"""The one fine-tuning loop: accumulate, clip, step, decay the rate; a state on disk to go on from; progress.

A step is an optimiser's step; a micro-step is one batch. What a batch holds depends on its number alone, so a fit that
was killed goes on to the same weights.
"""

from __future__ import annotations

import math
import os
import sys
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol

import torch

from fcbench.errors import DataError, DivergedError, one_line

SAVE_SECONDS = 30
"""The least time between two states on disk: what a killed fit loses if writing is quick."""

SAVE_SHARE = 20
"""The least time until the next state, as a multiple of writing the last one: a fit's seconds are measured, and
writing ten gigabytes again and again would be most of them."""

SHOW_SECONDS = 15
"""The least time between two lines of progress."""

LOOK_EVERY = 20
"""The most steps from one look at the loss to the next: each makes a GPU wait."""


@dataclass(frozen=True)
class Batch:
    """What one micro-step sees. With prior preservation the second half are class images.

    ``latents`` and ``noise`` (n, channels, height, width), the latents scaled; ``timesteps`` (n,) and ``ids``
    (n, tokens) int64; ``mask`` (n, 1, height, width), 1 where the loss counts, if there is one.
    """

    latents: torch.Tensor
    noise: torch.Tensor
    timesteps: torch.Tensor
    ids: torch.Tensor
    mask: torch.Tensor | None = None


class Task(Protocol):
    """What a method trains, and by which loss."""

    @property
    def trained(self) -> Mapping[str, torch.nn.Parameter]:
        """The trained tensors by name, float32."""
        ...

    def loss(self, batch: Batch) -> torch.Tensor:
        """The loss of a batch, a float32 scalar."""
        ...


@dataclass(frozen=True)
class Course:
    """How long and how fast. ``learning_rate`` is the effective one; ``clip`` of the gradients' global norm, 0: none.

    ``passes`` is the number of micro-steps in a pass over the photos: at its end the optimiser steps on what has been
    accumulated, divided as if it were whole, as Accelerate does. ``autocast``: what forward passes compute in; in
    float16 the loss is scaled, and a step whose gradients overflow counts but changes nothing, as in Accelerate.
    """

    steps: int
    learning_rate: float
    passes: int
    accumulation: int = 1
    clip: float = 1.0
    schedule: Literal["constant", "linear"] = "constant"
    autocast: torch.dtype | None = None
    fused: bool = False


class Tuner:
    """A task under way: AdamW with the scripts' constants, weight decay on every trained tensor."""

    def __init__(self, task: Task, course: Course) -> None:
        self.task, self.course = task, course
        self.step = self.micro = 0
        self._trained = dict(task.trained)
        device = next(iter(self._trained.values())).device.type
        self.scaler = torch.amp.GradScaler(device, enabled=course.autocast is torch.float16)
        self.optimiser = torch.optim.AdamW(
            self._trained.values(),
            lr=course.learning_rate,
            betas=(0.9, 0.999),
            eps=1e-8,
            weight_decay=1e-2,
            fused=course.fused or None,
        )

    def advance(self, batch: Batch) -> tuple[torch.Tensor, torch.Tensor | None]:
        """One micro-step: (its loss, the gradients' norm before clipping if the optimiser stepped and clips)."""
        course = self.course
        device = batch.latents.device.type
        with torch.autocast(device, course.autocast or torch.bfloat16, enabled=course.autocast is not None):
            loss = self.task.loss(batch)
        self.scaler.scale(loss / course.accumulation).backward()
        within = self.micro % course.passes + 1
        self.micro += 1
        if within % course.accumulation and within != course.passes:
            return loss.detach(), None
        self.scaler.unscale_(self.optimiser)
        norm = torch.nn.utils.clip_grad_norm_(self._trained.values(), course.clip) if course.clip else None
        for group in self.optimiser.param_groups:
            group["lr"] = course.learning_rate * self._rate()
        self.scaler.step(self.optimiser)
        self.scaler.update()
        self.optimiser.zero_grad(set_to_none=True)
        self.step += 1
        return loss.detach(), norm

    def state(self) -> dict[str, Any]:
        """What must be kept between two steps."""
        trained = {name: tensor.detach() for name, tensor in self._trained.items()}
        return {
            "step": self.step,
            "micro": self.micro,
            "trained": trained,
            "optimiser": self.optimiser.state_dict(),
            "scaler": self.scaler.state_dict(),
        }

    @torch.no_grad()
    def go_on(self, state: Mapping[str, Any]) -> None:
        """Take up a kept state."""
        if state["trained"].keys() != self._trained.keys():
            raise ValueError("it holds other tensors")
        for name, tensor in self._trained.items():
            tensor.copy_(state["trained"][name])
        self.optimiser.load_state_dict(state["optimiser"])
        self.scaler.load_state_dict(state["scaler"])
        self.step, self.micro = state["step"], state["micro"]

    def _rate(self) -> float:
        return 1.0 if self.course.schedule == "constant" else 1 - self.step / self.course.steps


def tune(tuner: Tuner, draw: Callable[[int], Batch], file: Path, title: str) -> None:
    """Take the steps that are left; ``draw`` gives the batch of a micro-step.

    The state goes to ``file`` about every half minute, or less often where that takes long; one that is there is
    resumed. Raises DivergedError for a loss that is not finite, DataError for a state that does not fit.
    """
    _load(file, tuner)
    steps, begun, started = tuner.course.steps, tuner.step, time.monotonic()
    saved = shown = looked = started
    writing = 0.0
    while tuner.step < steps:
        before = tuner.step
        loss, _ = tuner.advance(draw(tuner.micro))
        last, now = tuner.step == steps, time.monotonic()
        due = last or tuner.step % LOOK_EVERY == 0 or now - looked > SHOW_SECONDS
        if tuner.step == before or not due:
            continue  # between two steps gradients are half gathered, and no state holds them
        value, looked = float(loss), now
        if not math.isfinite(value):
            raise DivergedError(
                f"{title}: the loss was {value} by step {tuner.step} of {steps}: lower the learning rate"
            )
        if not last and now - saved > max(SAVE_SECONDS, SAVE_SHARE * writing):
            replace(file, lambda path: torch.save(tuner.state(), path))
            saved = time.monotonic()
            writing = saved - now
        if now - shown > SHOW_SECONDS:
            shown = now
            left = (now - started) / (tuner.step - begun) * (steps - tuner.step)
            _say(f"{title}: step {tuner.step}/{steps} loss {value:.4g} ETA {left / 60:.1f} min")
    if not all(bool(tensor.isfinite().all()) for tensor in tuner.task.trained.values()):
        raise DivergedError(f"{title}: weights that are not finite after {steps} steps: lower the learning rate")


def replace(file: Path, write: Callable[[Path], object]) -> None:
    """Write a file beside its place and move it there: it is there whole or not at all."""
    temporary = file.with_name(f".{file.name}.{os.getpid()}.tmp")
    try:
        write(temporary)
        with temporary.open("rb") as handle:
            os.fsync(handle.fileno())
        temporary.replace(file)
    finally:
        temporary.unlink(missing_ok=True)


def trainable(named: Iterable[tuple[str, torch.nn.Parameter]]) -> dict[str, torch.nn.Parameter]:
    """The parameters that take a gradient, by name."""
    return {name: parameter for name, parameter in named if parameter.requires_grad}


def _load(file: Path, tuner: Tuner) -> None:
    if not file.exists():
        return
    try:
        tuner.go_on(torch.load(file, map_location="cpu", weights_only=True, mmap=True))
    except (MemoryError, torch.OutOfMemoryError):
        raise  # nothing is wrong with the file
    except Exception as error:  # a torn or foreign file: torch raises a dozen kinds
        raise DataError(
            f"{file}: not a state of this fit ({one_line(error)}); move it away to begin the fit anew"
        ) from error


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)
