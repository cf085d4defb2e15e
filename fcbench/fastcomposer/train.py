"""From a dataset to a checkpoint: the paper's training, resumable, on one device or many (accelerate).

Everything random follows from (seed, step, part): a batch is taken in ``processes x accumulation`` parts, so that two
processes and one that accumulates twice see the same pictures, and a training that was killed goes on as if it had
not been.
"""

from __future__ import annotations

import math
import shutil
import sys
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager, nullcontext
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from fcbench.attention import attend_in_blocks
from fcbench.config import Recipe
from fcbench.diffusion import add_noise, training_scheduler
from fcbench.fastcomposer.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from fcbench.fastcomposer.course import Course
from fcbench.fastcomposer.data import Example, open_photos, open_unseen
from fcbench.fastcomposer.keeping import claim, start_of, training_facts
from fcbench.fastcomposer.latents import encode_latents, join_latents, open_latents, take_latents
from fcbench.fastcomposer.loader import Batch, Drawing, batches, sampling_weights, workers_for
from fcbench.fastcomposer.localize import Localizer
from fcbench.fastcomposer.losses import denoising_loss, draw_masked, loss_masks
from fcbench.fastcomposer.model import FastComposerModel, subject_masks, token_mask
from fcbench.fastcomposer.optimiser import make_optimiser, require_bitsandbytes, trained
from fcbench.fastcomposer.photos import Photos
from fcbench.fastcomposer.processes import check_begun, check_replicas, joined_processes, shared_clock
from fcbench.fastcomposer.samples import Samples
from fcbench.fastcomposer.shares import share_of
from fcbench.fastcomposer.tracking import Meter, require_wandb
from fcbench.fastcomposer.unseen import Unseen
from fcbench.files import locked
from fcbench.images import to_tensor
from fcbench.loop import Clock, batch_generator, cosine, run_steps
from fcbench.store import TrainingFolder
from fcbench.types import Stack

_NFS_SECONDS = 120
"""How long another machine may still miss a file that it asked for before it was there."""


def train(data: Path, checkpoint: Path, stack: Stack, recipe: Recipe, clock: Clock | None = None) -> None:
    """Train on the dataset in ``data`` and leave a checkpoint folder; goes on where it was stopped.

    Called by every process that torchrun or accelerate began; the first one writes. Raises OutOfTimeError when the
    clock says so, DataError for a dataset that cannot be read, UsageError when there is none, when no caption has what
    the recipe oversamples, or when the folder holds a training of another recipe, dataset or stack, DivergedError when
    the loss is not finite, FcbenchError when memory runs out, and what ``load_checkpoint`` raises when the recipe
    starts from a checkpoint.
    """
    photos = open_photos(data, recipe.min_margin)  # before the other processes are waited for: it may not be there
    unseen = open_unseen(data, recipe.min_margin) if recipe.validate_every else None
    sampling_weights(photos.captions, recipe.oversample)  # refused now, not by the worker that draws the first batch
    require_wandb(recipe)
    require_bitsandbytes(recipe)
    folder = TrainingFolder(checkpoint)
    busy = (
        f"{checkpoint}: a training is at work there; wait for it, or choose another --name (processes of one training "
        "are begun together: torchrun --nproc-per-node N -m fcbench train)"
    )
    with (
        joined_processes(recipe, stack) as accelerator,
        locked(folder.lock, busy) if accelerator.is_main_process else nullcontext(),
    ):
        _train(photos, unseen, folder, stack, recipe, clock, accelerator)


def _train(
    photos: Photos,
    unseen: Photos | None,
    folder: TrainingFolder,
    stack: Stack,
    recipe: Recipe,
    clock: Clock | None,
    accelerator: Accelerator,
) -> None:
    first, parts = accelerator.is_main_process, accelerator.num_processes * recipe.accumulation
    start, loads = start_of(folder, stack, recipe)
    precision = accelerator.mixed_precision
    facts = training_facts(photos.digest, stack, recipe, start=start, parts=parts, precision=precision)
    with accelerator.main_process_first():
        if claim(folder, facts, writes=first):
            if first:  # killed when all was done but this
                shutil.rmtree(folder.work, ignore_errors=True)
            return
        if first:
            folder.sweep()
    with accelerator.main_process_first():
        photos.move_to_disk(folder.photos)
    encode_latents(
        photos,
        stack,
        recipe,
        folder.latents,
        process=accelerator.process_index,
        processes=accelerator.num_processes,
    )
    accelerator.wait_for_everyone()
    if first:
        join_latents(photos, folder.latents)
    accelerator.wait_for_everyone()
    latents = open_latents(folder.latents, patience=0 if first else _NFS_SECONDS)
    trainer = Trainer(photos, latents, stack, recipe, accelerator, loads)
    del latents
    judged = trainer.unseen(unseen) if first and unseen is not None else None
    with closing(Course(trainer, folder, recipe, facts, judged)) as course:
        run_steps(
            "train",
            recipe.steps,
            course.step,
            trainer.state,
            folder.state,
            shared_clock(clock or Clock(math.inf), accelerator),
            save_every=recipe.save_every,
            writes=first,
            agree=check_begun,
        )
    check_replicas(accelerator, trainer.bare)
    if first:
        if accelerator.num_processes > 1:
            print(f"train: {accelerator.num_processes} processes ended with equal weights", file=sys.stderr)
        with trainer.evaluating() as trained_parts:
            save_checkpoint(folder.checkpoint, trained_parts, facts)
    trainer.close()
    accelerator.wait_for_everyone()  # none reads or maps what is deleted now, which NFS would not let go
    if first:
        shutil.rmtree(folder.work)


class Trainer:
    """One step at a time; everything random follows from (seed, step, part)."""

    def __init__(
        self,
        photos: Photos,
        latents: torch.Tensor,
        stack: Stack,
        recipe: Recipe,
        accelerator: Accelerator,
        start: str | None = None,
    ) -> None:
        self._photos, self._latents, self._stack, self._recipe = photos, latents, stack, recipe
        self.accelerator = accelerator
        first = accelerator.process_index * recipe.accumulation
        self._parts = range(first, first + recipe.accumulation)
        self._coming: Iterator[Batch] | None = None
        model = FastComposerModel(stack, recipe, load_checkpoint(start, stack, unrounded=True) if start else None)
        model = model.to(accelerator.device)
        model.unet.to(memory_format=torch.channels_last)
        attend_in_blocks(model.unet)
        if recipe.gradient_checkpointing:
            model.unet.enable_gradient_checkpointing()
        self._localizer = Localizer(model.unet) if recipe.localization_weight else None
        self._trained = trained(model)
        optimiser = make_optimiser(model, model.image_encoder, recipe)
        self._rates = [group["lr"] for group in optimiser.param_groups]
        self._average = (
            AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(recipe.average)) if recipe.average else None
        )
        self._scheduler = training_scheduler(stack.role("scheduler"))
        self._meter = Meter(accelerator.device)
        self.bare = model
        self.model, self._optimiser = accelerator.prepare(model, optimiser)
        self._drawing = Drawing(
            photos,
            stack.role("tokenizer"),
            recipe,
            side=stack.image_size,
            reference_side=model.image_encoder.config.image_size,
            count=share_of(recipe, accelerator.num_processes),
        )
        self._rows: list[int] = []

    @property
    def state(self) -> dict[str, Any]:
        """What a killed training goes on from."""
        parts = {"model": self.bare, "optimiser": self._optimiser}
        more = {"average": self._average, "scaler": self.accelerator.scaler}
        return parts | {name: part for name, part in more.items() if part is not None}

    @property
    def scale(self) -> float | None:
        """What float16's gradients are scaled by; None in other precisions."""
        return self.accelerator.scaler.get_scale() if self.accelerator.scaler is not None else None

    def step(self, k: int) -> dict[str, float]:
        """Step ``k``: draw a batch, take the losses, update. Returns what all processes saw, equal on each."""
        recipe, processes = self._recipe, self.accelerator.num_processes
        self._meter.start()
        self._rows = []
        self._optimiser.zero_grad()
        totals = torch.zeros(3, device=self.accelerator.device)
        for part in self._parts:
            with nullcontext() if part == self._parts[-1] else self.accelerator.no_sync(self.model):
                totals += self._part(k, part)
        norm = self.accelerator.clip_grad_norm_(self._trained, 1.0)
        for group, rate in zip(self._optimiser.param_groups, self._rates, strict=True):
            group["lr"] = rate * self._factor(k)
        self._optimiser.step()
        if self._average is not None:
            self._average.update_parameters(self.bare)
        loss, localization, watched, norm = self.accelerator.reduce(torch.cat([totals, norm.reshape(1)])).tolist()
        values = {"loss": loss / processes / recipe.accumulation}
        values |= {"localization": localization / watched} if watched else {}
        return values | {"gradient_norm": norm / processes} | self._meter.stop(recipe.batch_size)

    def close(self) -> None:
        """Let go of the files of latents and photos: no step follows."""
        self._latents, self._coming = torch.empty(0), None
        self._photos.close()

    @property
    def photo_names(self) -> list[str]:
        """What the dataset calls the photos of the last step, this process's."""
        return [self._photos.name(row) for row in self._rows]

    def samples(self) -> Samples:
        """Cases of this training to draw again and again."""
        return Samples(self._photos, self._stack, self._recipe, reference_side=self._drawing.reference_side)

    def unseen(self, photos: Photos) -> Unseen:
        """The loss on photos of the validation split, to take again and again."""
        return Unseen(photos, self._stack, self._recipe, reference_side=self._drawing.reference_side)

    @contextmanager
    def evaluating(self) -> Iterator[Checkpoint]:
        """The trained parts, averaged if the recipe says so, in evaluation mode while the block lasts."""
        model: Any = self._average.module if self._average is not None else self.bare
        model.eval()
        try:
            yield Checkpoint(model.unet, model.image_encoder, model.fusion)
        finally:
            model.train()

    def _factor(self, k: int) -> float:
        return 1.0 if self._recipe.schedule == "constant" else cosine(k, self._recipe.steps)

    def _part(self, k: int, part: int) -> torch.Tensor:
        """Add the gradients of one part of step ``k``'s batch: loss, localisation loss, and 1 where that was taken."""
        begun = time.perf_counter()
        batch = self._draw(k, part)
        self._meter.wait(time.perf_counter() - begun)
        generator = batch_generator(batch.noise_seed, 0)
        torch.manual_seed(generator.initial_seed())  # for what draws by itself: a stack's dropout, if it has any
        self._rows += [example.row for example in batch.examples]
        masked = draw_masked(self._recipe, len(batch.examples), batch.random)
        return self._backward(batch.examples, generator, masked)

    def _draw(self, k: int, part: int) -> Batch:
        """A part of step ``k``'s batch; what comes after it is already being made."""
        if self._coming is None:
            places = [(step, each) for step in range(k, self._recipe.steps) for each in self._parts]
            self._coming = batches(self._drawing, places, workers_for(self.accelerator.device.type))
        batch = next(self._coming)
        assert (batch.step, batch.part) == (k, part)
        return batch

    def _backward(self, examples: list[Example], generator: torch.Generator, masked: torch.Tensor) -> torch.Tensor:
        device = self.accelerator.device
        clean = take_latents(self._latents, examples, self._recipe, generator)
        clean = clean.to(device, memory_format=torch.channels_last)
        noisy, target, times, weight = add_noise(self._scheduler, clean, generator)
        ids = torch.tensor([e.ids for e in examples], device=device)
        with torch.no_grad():
            text = self._stack.role("text_encoder")(ids).last_hidden_state.float()
        positions, masks = subject_masks(examples, self._stack.image_size)
        positions, masks = positions.to(device), masks.to(device)
        at = token_mask(positions, text.shape[1])
        pictures = [picture for e in examples for picture in e.references]
        references = to_tensor(pictures, device) if pictures else text.new_zeros(0)
        localizer = self._localizer if pictures else None
        # the backward pass is watched too: with gradient checkpointing it attends again, in the same way
        with localizer.watch(positions, masks) if localizer else nullcontext():
            made = self.model(noisy, times, text, at, references)
            loss = denoising_loss(made, target, weight, loss_masks(masks, masked.to(device)))
            localization = localizer.loss() if localizer else torch.zeros((), device=device)
            total = loss + self._recipe.localization_weight * localization
            self.accelerator.backward(total / self._recipe.accumulation)
        return torch.stack([loss, localization, torch.full_like(loss, float(localizer is not None))]).detach().float()
