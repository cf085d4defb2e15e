"""From a dataset's Parquet to a checkpoint: the paper's training, resumable, on one device or many (accelerate)."""

from __future__ import annotations

import copy
import math
import shutil
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator
from torch import nn
from torch.nn import functional
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from fcbench.config import Recipe
from fcbench.diffusion import add_noise, training_scheduler
from fcbench.errors import UsageError
from fcbench.fastcomposer.checkpoint import Checkpoint, save_checkpoint
from fcbench.fastcomposer.data import Example, open_photos
from fcbench.fastcomposer.encoder import Fusion, embed_subjects
from fcbench.fastcomposer.loader import Batch, Drawing, batches, fitted, workers_for
from fcbench.fastcomposer.localize import Localizer
from fcbench.fastcomposer.photos import Photos
from fcbench.images import to_tensor
from fcbench.loop import Clock, batch_generator, cosine, run_steps
from fcbench.sampling import encode_images
from fcbench.store import atomic, read_json, write_json
from fcbench.types import Mask, Stack


def train(data: Path, checkpoint: Path, stack: Stack, recipe: Recipe, clock: Clock | None = None) -> None:
    """Train on the dataset in ``data`` and leave a checkpoint folder; goes on where it was stopped.

    Raises OutOfTimeError when the clock says so, DataError for a dataset that cannot be read, UsageError when the
    folder holds a training of another recipe, dataset or stack.
    """
    precision = {"float32": "no", "bfloat16": "bf16"}[recipe.precision]
    accelerator = Accelerator(cpu=stack.device == "cpu", mixed_precision=precision)
    photos = open_photos(data)
    facts = _facts(photos, stack, recipe)
    work = checkpoint / "work"
    if _claim(checkpoint, facts):
        return
    trainer = Trainer(photos, _latents(photos, stack, work / "latents.npy"), stack, recipe, accelerator)
    run_steps("train", recipe.steps, trainer.step, trainer.state, work / "state.pt", clock or Clock(math.inf))
    if accelerator.is_main_process:
        save_checkpoint(checkpoint, trainer.result(), facts)
        shutil.rmtree(work)


class FastComposerModel(nn.Module):
    """What is trained, as one module: the denoiser, the image encoder's last layers, the fusion."""

    def __init__(self, stack: Stack, recipe: Recipe) -> None:
        super().__init__()
        torch.manual_seed(recipe.seed)
        self.unet = copy.deepcopy(stack.role("unet")).float()
        self.image_encoder = copy.deepcopy(stack.role("image_encoder")).float()
        self.fusion = Fusion(self.image_encoder.config.projection_dim)
        self.train().requires_grad_(True)
        freeze_image_encoder(self.image_encoder, recipe.vision_layers)

    def forward(
        self, noisy: torch.Tensor, times: torch.Tensor, text: torch.Tensor, at: torch.Tensor, references: torch.Tensor
    ) -> torch.Tensor:
        """Predict from noisy latents, with ``references`` (subjects, 3, size, size) fused at ``at`` (n, tokens)."""
        if len(references):
            text = self.fusion(text, embed_subjects(self.image_encoder, references), at)
        made: torch.Tensor = self.unet(noisy, times, text).sample
        return made


class Trainer:
    """One step at a time; everything random follows from (seed, step, process)."""

    def __init__(
        self, photos: Photos, latents: torch.Tensor, stack: Stack, recipe: Recipe, accelerator: Accelerator
    ) -> None:
        self._photos, self._latents, self._stack, self._recipe = photos, latents, stack, recipe
        self._accelerator = accelerator
        self._batch = max(1, recipe.batch_size // accelerator.num_processes)
        model = FastComposerModel(stack, recipe).to(accelerator.device)
        model.unet.to(memory_format=torch.channels_last)
        self._localizer = Localizer(model.unet) if recipe.localization_weight else None
        trained = [p for p in model.parameters() if p.requires_grad]
        self._optimiser = torch.optim.AdamW(trained, lr=recipe.learning_rate, weight_decay=1e-2, eps=1e-8)
        self._schedule = torch.optim.lr_scheduler.LambdaLR(self._optimiser, self._factor)
        self._average = (
            AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(recipe.average)) if recipe.average else None
        )
        self._scheduler = training_scheduler(stack.role("scheduler"))
        self._bare = model
        self._drawing = Drawing(
            photos,
            stack.role("tokenizer"),
            recipe,
            side=stack.image_size,
            reference_side=model.image_encoder.config.image_size,
            count=self._batch,
            process=accelerator.process_index,
        )
        self._coming: Iterator[Batch] | None = None
        self._model, self._optimiser = accelerator.prepare(model, self._optimiser)
        self._trained = trained

    @property
    def state(self) -> dict[str, Any]:
        """What a killed training goes on from."""
        parts = {"model": self._bare, "optimiser": self._optimiser, "schedule": self._schedule}
        return parts | ({"average": self._average} if self._average is not None else {})

    def step(self, k: int) -> dict[str, float]:
        """Step ``k``: draw a batch, take the losses, update. ``waited_seconds``: how long there was no batch yet."""
        recipe = self._recipe
        asked = time.monotonic()
        batch = self._draw(k)
        waited = time.monotonic() - asked
        generator = batch_generator(batch.noise_seed, 0)
        masked = batch.random.random() < recipe.masked_loss
        losses = self._losses(batch.examples, generator, masked=masked)
        loss = losses["loss"] + recipe.localization_weight * losses.get("localization", 0.0)
        self._optimiser.zero_grad()
        self._accelerator.backward(loss)
        self._accelerator.clip_grad_norm_(self._trained, 1.0)
        self._optimiser.step()
        self._schedule.step()
        if self._average is not None:
            self._average.update_parameters(self._bare)
        return {name: value.item() for name, value in losses.items()} | {"waited_seconds": waited}

    def result(self) -> Checkpoint:
        """The trained parts, averaged if the recipe says so."""
        model: Any = self._average.module if self._average is not None else self._bare
        return Checkpoint(model.unet.eval(), model.image_encoder.eval(), model.fusion.eval())

    def _factor(self, k: int) -> float:
        return 1.0 if self._recipe.schedule == "constant" else cosine(k, self._recipe.steps)

    def _draw(self, k: int) -> Batch:
        """The batch of step ``k``; the steps after it are already being made."""
        if self._coming is None:
            steps = range(k, self._recipe.steps)
            self._coming = batches(self._drawing, steps, workers_for(self._accelerator.device.type))
        return next(self._coming)

    def _losses(self, examples: list[Example], generator: torch.Generator, *, masked: bool) -> dict[str, torch.Tensor]:
        device = self._accelerator.device
        clean = self._latents[[e.row for e in examples]].float().to(device, memory_format=torch.channels_last)
        noisy, target, times, weight = add_noise(self._scheduler, clean, generator)
        ids = torch.tensor([e.ids for e in examples], device=device)
        with torch.no_grad():
            text = self._stack.role("text_encoder")(ids).last_hidden_state.float()
        positions, masks = subject_masks(examples, self._stack.image_size)
        positions, masks = positions.to(device), masks.to(device)
        at = token_mask(positions, text.shape[1])
        pictures = [picture for e in examples for picture in e.references]
        references = to_tensor(pictures).to(device) if pictures else text.new_zeros(0)
        inputs = (noisy, times, text, at, references)
        if self._localizer is None or not pictures:
            return {"loss": denoising_loss(self._model(*inputs), target, weight, masks if masked else None)}
        with self._localizer.watch(positions, masks):
            made = self._model(*inputs)
        loss = denoising_loss(made, target, weight, masks if masked else None)
        return {"loss": loss, "localization": self._localizer.loss()}


def denoising_loss(
    made: torch.Tensor, target: torch.Tensor, weight: torch.Tensor, masks: torch.Tensor | None
) -> torch.Tensor:
    """Weighted mean squared error of predictions (n, c, h, w).

    With ``masks`` (n, subjects, H, W) prediction and target are first multiplied by the union of the subjects (the
    paper's masked loss); as in the official code a picture without subjects then counts as nought.
    """
    if masks is not None:
        union = loss_mask(masks, made.shape[-2:])
        made, target = made * union, target * union
    return (weight * (made - target).pow(2).mean(dim=(1, 2, 3))).mean()


def loss_mask(masks: torch.Tensor, size: Sequence[int]) -> torch.Tensor:
    """The union of subject masks (n, subjects, H, W), float (n, 1, *size): bilinear, not antialiased."""
    union = masks.amax(dim=1, keepdim=True) if masks.shape[1] else masks.new_zeros(len(masks), 1, *masks.shape[2:])
    return functional.interpolate(union, tuple(size), mode="bilinear", align_corners=False)


def subject_masks(examples: Sequence[Example], side: int) -> tuple[torch.Tensor, torch.Tensor]:
    """A batch's subject tokens, int64 (n, most), -1 where there are fewer, and masks, float (n, most, side, side)."""
    most = max((len(e.positions) for e in examples), default=0)
    positions = torch.full((len(examples), most), -1)
    masks = torch.zeros(len(examples), most, side, side)
    for row, example in enumerate(examples):
        for place, (position, mask) in enumerate(zip(example.positions, example.masks, strict=True)):
            positions[row, place] = position
            masks[row, place] = torch.from_numpy(_square(mask, side))
    return positions, masks


def token_mask(positions: torch.Tensor, tokens: int) -> torch.Tensor:
    """Positions (n, subjects), -1 for none, as bool (n, tokens), True on subject tokens."""
    at = torch.zeros(len(positions), tokens + 1, dtype=torch.bool, device=positions.device)
    at.scatter_(1, torch.where(positions < 0, tokens, positions), True)
    return at[:, :tokens]


def freeze_image_encoder(image_encoder: Any, layers: int) -> None:
    """Leave only the last ``layers`` transformer layers to train; all of the tower if it has no more than that."""
    stack = (
        image_encoder.vision_model.encoder.layers
        if hasattr(image_encoder, "vision_model")
        else image_encoder.encoder.layers
    )
    if layers >= len(stack):
        return
    image_encoder.requires_grad_(False)
    for layer in stack[len(stack) - layers :]:
        layer.requires_grad_(True)


def _square(mask: Mask, side: int) -> np.ndarray[Any, np.dtype[np.float32]]:
    if mask.shape == (side, side):
        return mask.astype(np.float32)
    from PIL import Image as Pillow

    return np.asarray(Pillow.fromarray(mask).resize((side, side), Pillow.Resampling.NEAREST), dtype=np.float32)


def _facts(photos: Photos, stack: Stack, recipe: Recipe) -> dict[str, Any]:
    return {
        "recipe": recipe.model_dump(),
        "stack": stack.name,
        "digests": {
            role: stack.digests.get(role) for role in ("tokenizer", "text_encoder", "vae", "unet", "image_encoder")
        },
        "data": photos.digest,
    }


def _claim(checkpoint: Path, facts: dict[str, Any]) -> bool:
    """Whether this training is finished; refuses a folder that was begun with another recipe, dataset or stack."""
    begun, finished = checkpoint / "work" / "training.json", checkpoint / "fastcomposer.json"
    known = finished if finished.exists() else begun
    if not known.exists():
        write_json(begun, facts)
        return False
    before = read_json(known)
    changed = sorted(key for key in facts if before.get(key) != facts[key])
    if changed:
        raise UsageError(f"{checkpoint}: made with another {', '.join(changed)}; choose another --name or delete it")
    return finished.exists()


@torch.no_grad()
def _latents(photos: Photos, stack: Stack, file: Path) -> torch.Tensor:
    """The latents (posterior mode) of all photos, fitted, float16, computed once and kept in ``file``.

    What is computed once cannot be drawn anew: no photo is mirrored, where the official code mirrors every second one,
    and latents are not sampled from their posterior.
    """
    if not file.exists():
        print(f"train: latents of {len(photos)} photos", file=sys.stderr, flush=True)
        chunks = []
        for images in fitted(photos, stack.image_size, 64, workers_for(stack.device)):
            chunks.append(encode_images(stack.role("vae"), to_tensor(images).to(stack.device)).half().cpu().numpy())
        with atomic(file) as temporary, temporary.open("wb") as handle:
            np.save(handle, np.concatenate(chunks))
    return torch.from_numpy(np.load(file, allow_pickle=False))
