"""Fit a method to each group of subjects, draw its cases batch by batch, and commit them with what they cost."""

from __future__ import annotations

import contextlib
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from fcbench import store
from fcbench.errors import MethodError
from fcbench.files import locked, read_json, write_image, write_json
from fcbench.run.calls import Calls, reason
from fcbench.run.cases import Group, case_seed
from fcbench.run.fitting import Fit, Fitting
from fcbench.run.measure import MEASURED, Cost, LoadClock, Meter
from fcbench.run.record import refuse_changes
from fcbench.types import Case, Generation, Image, Method, Sampler, Stack

PRELOADED = ("tokenizer", "text_encoder", "vae", "unet", "scheduler")
"""Roles that are in memory before anything is measured: what diffusion methods draw with; not the U-Net, if a method
has its own."""

ALONE = 3
"""How often a picture is drawn alone, warm: its seconds are the median."""


class Drawing:
    """One run under way; ``task`` numbers this process among those that share the run, from 1: the first measures."""

    def __init__(
        self,
        folder: store.RunFolder,
        method: Method,
        stack: Stack,
        meter: Meter,
        record: dict[str, Any],
        emit: Callable[[dict[str, Any]], None],
        *,
        fail_fast: bool,
        keep_fits: bool,
        task: int | None = None,
    ) -> None:
        self._folder, self._method, self._stack, self._meter = folder, method, stack, meter
        self._record, self._emit, self._fail_fast = record, emit, fail_fast
        self._clock = LoadClock(stack)
        self._calls = Calls(folder, meter, self._clock)
        self._fitting = Fitting(folder, method, stack, self._calls, record, keep=keep_fits)
        self._warm = self._drawn_alone = False
        self._shared, self._leads = task is not None, task in (None, 1)

    def draw(self, groups: Sequence[Group]) -> None:
        """Draw every batch that is not wholly there. A group that fails is reported and skipped.

        Raises MethodError for the first failure under ``fail_fast``. What stops every group alike is raised too: a
        plug-in's UsageError, MissingError or WeightsError, and a full disk.
        """
        if self._folder.config.exists():
            earlier = read_json(self._folder.config)
            self._record.update({key: earlier.get(key) for key in MEASURED})
        for role in PRELOADED:
            spared = role == "unet" and self._method.capabilities.own_unet
            if role in self._stack.load and not spared:
                self._stack.role(role)
        self._note_digests()
        self._put_record()
        for group in groups:
            with self._alone_with(group):
                self._draw_missing(group)

    def _put_record(self) -> None:
        """Write down what the run is made with.

        Tasks that began at the same moment found no record of each other, so each looks again: UsageError if another
        draws with other settings.
        """
        busy = f"{self._folder.path}: another command begins there, which is waited for"
        with locked(self._folder.record_lock, busy, waits=True) if self._shared else contextlib.nullcontext():
            if self._shared:
                refuse_changes(self._folder, self._record, finished=False)
            if self._leads or not self._folder.config.exists():
                write_json(self._folder.config, self._record)

    def _alone_with(self, group: Group) -> contextlib.AbstractContextManager[None]:
        """If several tasks share the run, lock a group while it is drawn."""
        if not self._shared:
            return contextlib.nullcontext()
        busy = f"{self._folder.path}: another command draws {group.id}; wait for it, and give all of them the same N"
        return locked(self._folder.group_lock(group.id), busy)

    def _draw_missing(self, group: Group) -> None:
        batches = [batch for batch in group.batches if not all(self._folder.is_done(case.id) for case in batch)]
        if not batches:
            return
        try:
            self._draw_group(group, batches)
        except MethodError as error:
            if self._fail_fast:
                raise
            self._fail(group, error)
        if self._leads:
            self._keep_record()

    def _draw_group(self, group: Group, batches: Sequence[Sequence[Case]]) -> None:
        first = batches[0][0]
        if not self._warm and not self._method.capabilities.needs_tuning:
            with TemporaryDirectory() as scratch:
                sampler = self._fitting.trial(group, Path(scratch))
                self._warm_up(sampler, first)
                del sampler
        self._meter.settle()
        sampler, fit = self._fitting.fit(group)
        if not self._warm:
            self._warm_up(sampler, first)
        if not self._drawn_alone:
            self._draw_alone(sampler, first)
        for batch in batches:
            self._draw_batch(sampler, batch, fit)
        self._fitting.clear(group)

    def _warm_up(self, sampler: Sampler, case: Case) -> None:
        self._record["warm_up_seconds"] = self._one(sampler, case).seconds
        self._warm = True

    def _draw_alone(self, sampler: Sampler, case: Case) -> None:
        """Draw one picture a few times to know what one alone takes: a batch takes less time for each, but more memory.

        Measured as the batches are: on a CPU beyond what was held before the fit.
        """
        costs = [self._one(sampler, case) for _ in range(ALONE)]
        seconds = [cost.seconds for cost in costs]
        self._record["single_seconds"] = median(seconds)
        self._record["single_seconds_range"] = [min(seconds), max(seconds)]
        self._record["single_peak_bytes"] = max(cost.peak_bytes for cost in costs)
        self._drawn_alone = True

    def _one(self, sampler: Sampler, case: Case) -> Cost:
        with self._calls.plugin(case.id), self._calls.phase() as cost:
            sampler([case.prompt], [case_seed(case)])
        return cost

    def _draw_batch(self, sampler: Sampler, batch: Sequence[Case], fit: Fit) -> None:
        with self._calls.plugin(batch[0].id):
            with self._calls.phase() as cost:
                images = sampler([case.prompt for case in batch], [case_seed(case) for case in batch])
            _check(images, len(batch), self._stack.image_size)
        news = sum(not self._folder.is_done(case.id) for case in batch)
        for case, image in zip(batch, images, strict=True):
            write_image(self._folder.image(case.id), image)
        for case in batch:
            self._folder.commit(
                Generation(
                    case=case,
                    image=self._folder.image(case.id),
                    fit_seconds=fit.fit_seconds,
                    sample_seconds=cost.seconds / len(batch),
                    peak_bytes=max(fit.peak_bytes, cost.peak_bytes),
                    stored_bytes=fit.stored_bytes,
                    prior_seconds=fit.prior_seconds,
                    prior_peak_bytes=fit.prior_peak_bytes,
                    fit_peak_bytes=fit.peak_bytes,
                    sample_peak_bytes=cost.peak_bytes,
                )
            )
        self._emit({"event": "batch", "drawn": len(batch), "news": news})

    def _fail(self, group: Group, error: MethodError) -> None:
        undone = [case for case in group.cases if not self._folder.is_done(case.id)]
        cause = error.__cause__ or error
        trace = "".join(traceback.format_exception(cause))
        for case in undone:
            self._folder.fail(case, reason(cause), trace)
            self._folder.row(case.id).unlink(missing_ok=True)  # of a picture that was lost
        self._emit({"event": "failed", "cases": len(undone), "message": str(error)})

    def _note_digests(self) -> None:
        """A branch on the hub is known by its commit once a role was loaded from it."""
        self._record["stack_digests"] = {**self._record.get("stack_digests", {}), **self._stack.digests}

    def _keep_record(self) -> None:
        self._note_digests()
        self._record["load_seconds"] = self._clock.seconds
        for key in ("peak_reserved", "peak_device"):
            peaks = (self._record[key], getattr(self._meter, key))
            self._record[key] = max((peak for peak in peaks if peak is not None), default=None)
        write_json(self._folder.config, self._record)


def _check(images: Sequence[Image], wanted: int, side: int) -> None:
    if not isinstance(images, Sequence | np.ndarray):
        raise TypeError(f"the sampler gave {type(images).__name__} for a list of {wanted} pictures")
    if len(images) != wanted:
        raise ValueError(f"the sampler gave {len(images)} pictures for {wanted} cases")
    for image in images:
        got = f"{image.dtype} {image.shape}" if isinstance(image, np.ndarray) else type(image).__name__
        if got != f"uint8 {(side, side, 3)}":
            raise ValueError(f"the sampler gave {got} for an RGB picture, uint8 {(side, side, 3)}")
