"""A FastComposer checkpoint: a folder of what training changed, or the official single file.

::

    fastcomposer.json       what it was trained from and how
    unet/  image_encoder/   as diffusers and transformers save models
    fusion.safetensors
    frozen.safetensors      only if converted from an official file: what otherwise comes from the stack
"""

from __future__ import annotations

import copy
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from fcbench.config import Recipe
from fcbench.errors import MissingError, UsageError, WeightsError, one_line
from fcbench.fastcomposer.encoder import Fusion
from fcbench.fastcomposer.hub import fetch, is_hub_id, pin
from fcbench.fastcomposer.official import (
    FUSION,
    OFFICIAL_FILE,
    known_weights,
    read_official,
    refuse_other_frozen,
    stack_frozen,
    stack_weights,
    weights_for,
)
from fcbench.files import atomic, atomic_folder, read_json, remove_temporaries, write_json
from fcbench.store import TrainingFolder
from fcbench.types import Stack
from fcbench.weights import read_folder, read_tensors, refuse_misfit, save_half

MODELS = ("unet", "image_encoder")
FACTS, FUSION_FILE, FROZEN_FILE = "fastcomposer.json", "fusion.safetensors", "frozen.safetensors"


@dataclass(frozen=True)
class Checkpoint:
    """The trained parts, on their device, in evaluation mode."""

    unet: Any
    image_encoder: Any
    fusion: Fusion


def save_checkpoint(folder: Path, parts: Checkpoint, facts: dict[str, Any]) -> None:
    """Write a checkpoint in float16; ``fastcomposer.json`` comes last, so its existence means that all is there.

    Leftovers of a killed save are deleted first: a checkpoint is known by a digest of all its files.
    """
    folder.mkdir(parents=True, exist_ok=True)
    (folder / FACTS).unlink(missing_ok=True)
    remove_temporaries(folder)
    for name in MODELS:
        with atomic_folder(folder / name) as temporary:
            save_half(temporary, getattr(parts, name))
    weights = {key: value.half().contiguous() for key, value in parts.fusion.state_dict().items()}
    with atomic(folder / FUSION_FILE) as temporary:
        save_file(weights, temporary)
    write_json(folder / FACTS, facts)


def load_checkpoint(place: str, stack: Stack, *, unrounded: bool = False) -> Checkpoint:
    """Read a checkpoint onto the stack's device: our folder, an official file or a folder with one, or a hub id.

    On a GPU in float16; a folder in float32 if ``unrounded``, for a training to start from. Raises MissingError when it
    is not there or not complete, WeightsError when it does not fit: every weight is read.
    """
    found = find_checkpoint(place)
    if found.is_dir():
        whole = unrounded or stack.device == "cpu"
        unet, image_encoder, fusion = _load_folder(found, stack, torch.float32 if whole else torch.float16)
    else:
        unet, image_encoder, fusion = _load_official(found, stack)
    fusion = fusion.to(stack.device, unet.dtype)
    return Checkpoint(unet.to(stack.device).eval(), image_encoder.to(stack.device).eval(), fusion.eval())


def find_checkpoint(place: str) -> Path:
    """Where a checkpoint lies on this machine: our folder, or the official file; fetches a hub id."""
    path = fetch(place, OFFICIAL_FILE) if is_hub_id(place) else Path(place)
    if path.is_file() or (path / FACTS).is_file():
        return path
    if (path / OFFICIAL_FILE).is_file():
        return path / OFFICIAL_FILE
    if TrainingFolder(path).begun.exists():
        raise MissingError(
            f"{path}: its training is not done: go on with the same fcbench train command and --resume, or take one of "
            f"the checkpoints in {TrainingFolder(path).step(0).parent}, if it kept any"
        )
    raise MissingError(
        f"{path}: no FastComposer checkpoint ({FACTS} or {OFFICIAL_FILE}) there; make one with: fcbench train"
    )


def place_of_start(stack: Stack, recipe: Recipe) -> str | None:
    """The checkpoint that a training goes on from, a hub id with its revision; None if it starts from the stack.

    Raises UsageError where the recipe names the stack's own but there is none, MissingError where nothing lies there:
    at once, not after the photos have been encoded.
    """
    if recipe.start == "stack" and not stack.checkpoint:
        raise UsageError(f"recipe {recipe.name}: start: stack {stack.name} has no checkpoint of its own; name one")
    place = stack.checkpoint if recipe.start == "stack" else recipe.start
    if not place:
        return None
    pinned = pin(place)
    find_checkpoint(pinned)
    return pinned


def load_fusion(place: Path) -> Fusion:
    """A checkpoint folder's fusion module, float32; WeightsError names what is missing, unexpected or misshapen."""
    file = place / FUSION_FILE
    try:
        weights = load_file(file)
        fusion = Fusion(len(weights["layer_norm.weight"]))
        fusion.load_state_dict(weights)
    except FileNotFoundError:
        raise MissingError(f"{file}: not there; make a checkpoint with: fcbench train") from None
    except (SafetensorError, OSError, KeyError, RuntimeError) as error:
        raise WeightsError(f"{file}: not the weights of a fusion module ({one_line(error)})") from error
    return fusion.float().eval()


def checkpoint_facts(place: str) -> dict[str, Any]:
    """What a checkpoint says of itself."""
    facts: dict[str, Any] = read_json(Path(place) / FACTS)
    return facts


def _load_folder(folder: Path, stack: Stack, dtype: torch.dtype) -> tuple[Any, Any, Fusion]:
    from diffusers import UNet2DConditionModel
    from transformers import CLIPVisionConfig, CLIPVisionModelWithProjection

    frozen = folder / FROZEN_FILE
    if frozen.is_file():
        known = known_weights(read_tensors(frozen), frozen, stack_frozen(stack))
        refuse_other_frozen(frozen, known, stack)
    try:
        with torch.device("meta"):
            unet = UNet2DConditionModel.from_config(UNet2DConditionModel.load_config(folder / "unet"))
            tower = CLIPVisionModelWithProjection(CLIPVisionConfig.from_pretrained(folder / "image_encoder"))
    except Exception as error:  # JSON and each library have errors of their own
        raise WeightsError(f"{folder}: not a whole checkpoint ({one_line(error)})") from error
    _refuse_other_stack(folder, unet.config.cross_attention_dim, stack)
    # The libraries fill what a file lacks with random values and merely warn: compare before they read it.
    for name, model in zip(MODELS, (unet, tower), strict=True):
        refuse_misfit(folder / name, read_folder(folder / name, shapes_only=True), model.state_dict())
    return (
        UNet2DConditionModel.from_pretrained(folder / "unet", torch_dtype=dtype, local_files_only=True),
        CLIPVisionModelWithProjection.from_pretrained(folder / "image_encoder", dtype=dtype, local_files_only=True),
        load_fusion(folder),
    )


def _refuse_other_stack(folder: Path, width: int, stack: Stack) -> None:
    """WeightsError where the checkpoint is for texts of another width; a warning where the stack's weights differ.

    Only a warning: the same model has a commit on the hub and a digest in a folder.
    """
    facts = checkpoint_facts(str(folder)) if (folder / FACTS).is_file() else {}
    trained_on = f"it was trained with --stack {facts.get('stack', 'of another name')}"
    own = stack.role("text_encoder").config.hidden_size
    if width != own:
        raise WeightsError(f"{folder}: for texts of {width} channels, stack {stack.name} has {own}: {trained_on}")
    then, now = facts.get("digests", {}), stack.digests
    other = [r for r in ("tokenizer", "text_encoder", "vae") if then.get(r) and now.get(r) and then[r] != now[r]]
    if other:
        print(f"{folder}: stack {stack.name} has other weights now: {', '.join(other)}; {trained_on}", file=sys.stderr)


def _load_official(file: Path, stack: Stack) -> tuple[Any, Any, Fusion]:
    with stack.borrowed(*MODELS):
        return _on_copies(file, stack)


def _on_copies(file: Path, stack: Stack) -> tuple[Any, Any, Fusion]:
    expected = stack_weights(stack)
    known = known_weights(read_official(file), file, expected)
    refuse_other_frozen(file, known, stack)
    parts = (copy.deepcopy(stack.role("unet")), copy.deepcopy(stack.role("image_encoder")), new_fusion(stack))
    for role, part in zip((*MODELS, FUSION), parts, strict=True):
        part.load_state_dict(weights_for(role, part, known))
    return parts


def new_fusion(stack: Stack) -> Fusion:
    """A fusion module of the stack's width."""
    return Fusion(stack.role("image_encoder").config.projection_dim)
