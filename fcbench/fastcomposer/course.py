"""What happens between two steps of a training; what a step computes is up to the trainer."""

from __future__ import annotations

import math
from collections import deque
from typing import TYPE_CHECKING, Any

from accelerate.utils import gather_object

from fcbench.config import Recipe
from fcbench.fastcomposer.keeping import WINDOW, diverged, exploded, keep_checkpoint, stop
from fcbench.fastcomposer.processes import check_replicas
from fcbench.fastcomposer.shares import enough_memory
from fcbench.fastcomposer.tracking import Tracker
from fcbench.fastcomposer.unseen import Unseen
from fcbench.store import TrainingFolder

if TYPE_CHECKING:
    from fcbench.fastcomposer.train import Trainer


class Course:
    """The steps of one training, and what is due between them: log, samples, checkpoints, the end if it diverges.

    ``unseen``: photos that the first process takes a loss on, where the recipe asks for it.
    """

    def __init__(
        self,
        trainer: Trainer,
        folder: TrainingFolder,
        recipe: Recipe,
        facts: dict[str, Any],
        unseen: Unseen | None = None,
    ) -> None:
        self._trainer, self._folder, self._recipe, self._facts = trainer, folder, recipe, facts
        self._losses: deque[float] = deque(maxlen=WINDOW)
        self._writes = trainer.accelerator.is_main_process
        self._tracker = Tracker(folder, recipe) if self._writes else None
        self._unseen = unseen
        self._samples = trainer.samples() if self._writes and recipe.sample_every else None

    def step(self, k: int) -> dict[str, float]:
        """Step ``k`` of the trainer, then what is due: on disk before the state that says the step is done."""
        with enough_memory(self._recipe, self._trainer.accelerator.num_processes, self._folder):
            values = self._trainer.step(k)
        reason = diverged(values, self._trainer.scale) or exploded(values["loss"], self._losses)
        self._losses.append(values["loss"])
        if reason:
            names = gather_object(self._trainer.photo_names)
            stop(self._folder, k + 1, reason, names, writes=self._writes)
        if self._recipe.save_every and (k + 1) % self._recipe.save_every == 0:
            check_replicas(self._trainer.accelerator, self._trainer.bare)  # what is kept now stands for all of them
        if self._unseen is not None and (k + 1) % self._recipe.validate_every == 0:
            with self._trainer.evaluating() as parts, self._trainer.accelerator.autocast():
                values["validation_loss"] = self._unseen.loss(parts)
        if self._tracker is not None:
            self._tracker.scalars(k + 1, {name: value for name, value in values.items() if math.isfinite(value)})
            self._keep(k + 1, self._tracker)
        return values

    def close(self) -> None:
        """Nothing more follows."""
        if self._tracker is not None:
            self._tracker.close()

    def _keep(self, done: int, tracker: Tracker) -> None:
        recipe = self._recipe
        if self._samples is not None and done % recipe.sample_every == 0:
            with self._trainer.evaluating() as parts, self._trainer.accelerator.autocast():
                sheet = self._samples.draw(parts)
            if sheet is not None:
                tracker.sample(done, sheet)
        if recipe.save_every and done % recipe.save_every == 0 and done < recipe.steps:
            with self._trainer.evaluating() as parts:
                keep_checkpoint(self._folder, done, parts, self._facts, recipe.keep)
