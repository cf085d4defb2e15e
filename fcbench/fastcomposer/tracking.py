"""How a training goes: scalars and sheets of samples, as files always, in TensorBoard where it is installed."""

from __future__ import annotations

import json
import time
import uuid
from collections import deque
from collections.abc import Mapping
from importlib.util import find_spec
from typing import Any, TextIO

import torch

from fcbench.config import Recipe
from fcbench.errors import MissingError
from fcbench.files import write_image, write_text
from fcbench.store import TrainingFolder
from fcbench.types import Image

WINDOW = 20
"""Steps that speed and waiting are averaged over."""


class Meter:
    """Pictures a second, and the share of the time in which the device had nothing to do for want of data.

    A step ends when its losses are read back from the device, so that the device has nothing queued while the next
    batch is fetched: time spent fetching is time the device stands idle. For a GPU also this process's peak memory
    since the first step began, in GiB.
    """

    def __init__(self, device: torch.device) -> None:
        self._steps: deque[tuple[int, float, float]] = deque(maxlen=WINDOW)
        self._started = self._waited = 0.0
        self._device = device

    def start(self) -> None:
        """A step begins."""
        if not self._steps and self._device.type == "cuda":  # encoding the photos' latents had its own peak
            torch.cuda.reset_peak_memory_stats(self._device)
        self._started, self._waited = time.perf_counter(), 0.0

    def wait(self, seconds: float) -> None:
        """Data came ``seconds`` late."""
        self._waited += seconds

    def stop(self, pictures: int) -> dict[str, float]:
        """A step of ``pictures``, over all processes, is done: speed and waiting over the last ``WINDOW`` steps."""
        self._steps.append((pictures, time.perf_counter() - self._started, self._waited))
        count, seconds, waited = (sum(column) for column in zip(*self._steps, strict=True))
        values = {"images_per_second": count / seconds, "idle": waited / seconds}
        if self._device.type == "cuda":
            values["peak_gib"] = torch.cuda.max_memory_allocated(self._device) / 2**30
        return values


def require_wandb(recipe: Recipe) -> None:
    """Raise MissingError where the recipe logs to wandb and the package is absent."""
    if recipe.wandb and find_spec("wandb") is None:
        raise MissingError(f"recipe {recipe.name!r} names a wandb project: pip install wandb")


class Tracker:
    """Writes what happened at each step. What a killed training wrote of steps that are redone is dropped."""

    def __init__(self, folder: TrainingFolder, recipe: Recipe) -> None:
        self._folder, self._recipe = folder, recipe
        self._log: TextIO | None = None
        self._board: Any = None
        self._run: Any = None

    def scalars(self, step: int, values: Mapping[str, float]) -> None:
        """Numbers of the ``step``-th step, counted from 1."""
        if self._log is None:
            self._log = self._open(step)
        self._log.write(json.dumps({"step": step, **values}, allow_nan=False) + "\n")
        if self._board is not None:
            for name, value in values.items():
                self._board.add_scalar(name, value, step)
        if self._run is not None:
            self._run.log(dict(values), step=step)

    def sample(self, step: int, sheet: Image) -> None:
        """A sheet of samples after ``step`` steps."""
        write_image(self._folder.sample(step), sheet)
        if self._board is not None:
            self._board.add_image("samples", sheet, step, dataformats="HWC")

    def close(self) -> None:
        """Write out what is still held."""
        for part, end in ((self._log, "close"), (self._board, "close"), (self._run, "finish")):
            if part is not None:
                getattr(part, end)()

    def _open(self, first: int) -> TextIO:
        """The log, cut before step ``first``; and the services that are there."""
        file = self._folder.log
        lines = file.read_text(encoding="utf-8").splitlines() if file.exists() else []
        write_text(file, "".join(f"{line}\n" for line in lines if _is_before(line, first)))
        if find_spec("tensorboard") is not None:
            from torch.utils.tensorboard import SummaryWriter

            self._board = SummaryWriter(str(self._folder.tensorboard), purge_step=first)
        if self._recipe.wandb:
            import wandb

            name, own = self._folder.checkpoint.name, self._folder.wandb
            if not own.exists():  # another training of this name, in another folder, is another run
                write_text(own, f"{name}-{uuid.uuid4().hex[:8]}")
            told = {"id": own.read_text(encoding="utf-8"), "name": name, "config": self._recipe.model_dump()}
            self._run = wandb.init(project=self._recipe.wandb, resume="allow", **told)
        return file.open("a", encoding="utf-8", buffering=1)  # one write a line: what a killed process logged is kept


def _is_before(line: str, first: int) -> bool:
    try:
        return bool(json.loads(line)["step"] < first)
    except (ValueError, KeyError, TypeError):  # torn: the process was killed while it wrote
        return False
