"""Checkpoints from the official file to our folder and back, every tensor keeping its bits and its type."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from safetensors.torch import save_file

from fcbench.errors import UsageError, WeightsError
from fcbench.fastcomposer.checkpoint import (
    FACTS,
    FROZEN_FILE,
    FUSION_FILE,
    MODELS,
    checkpoint_facts,
    find_checkpoint,
    new_fusion,
)
from fcbench.fastcomposer.official import (
    FROZEN,
    FUSION,
    OFFICIAL_FILE,
    known_weights,
    official_name,
    read_official,
    rest_of,
    same_bits,
    stack_frozen,
    stack_tables,
    stack_weights,
    weights_for,
    write_official,
)
from fcbench.files import atomic, atomic_folder, digest_file, write_json
from fcbench.types import Stack
from fcbench.weights import Weights, read_folder, read_tensors

_MODEL_FILES = {"unet": "diffusion_pytorch_model.safetensors", "image_encoder": "model.safetensors"}


def convert(source: str, target: Path, stack: Stack) -> Path:
    """Turn an official file into our folder, or our folder into an official file; returns what was written.

    The stack gives the architectures, and the frozen weights that our folder lacks, but never random ones. For an
    official file a ``target`` that does not end in ``.bin`` is the folder to put it in. Raises what loading raises,
    and UsageError when the target exists.
    """
    found = find_checkpoint(source)
    if found.is_dir():
        file = target if target.suffix == ".bin" else target / OFFICIAL_FILE
        _refuse_existing(file)
        write_official(file, _to_official(found, stack))
        return file
    _refuse_existing(target)
    with atomic_folder(target) as temporary:
        _to_folder(found, temporary, stack)
    return target


def _to_folder(file: Path, folder: Path, stack: Stack) -> None:
    raw = read_official(file)
    known = known_weights(raw, file, stack_weights(stack))
    for role in MODELS:
        model = stack.role(role)
        _save(folder / role / _MODEL_FILES[role], weights_for(role, model, known))
        (model.save_config if hasattr(model, "save_config") else model.config.save_pretrained)(folder / role)
    _save(folder / FUSION_FILE, weights_for(FUSION, new_fusion(stack), known))
    rest = rest_of(raw)
    if stack.random_weights or not same_bits(rest, _stack_rest(stack)):
        _save(folder / FROZEN_FILE, rest)
    source = {"converted_from": file.name, "sha256": digest_file(file)}
    write_json(folder / FACTS, {**source, "stack": stack.name, "digests": _frozen_digests(stack)})


def _to_official(folder: Path, stack: Stack) -> dict[str, Any]:
    """The tensors of an official file in its own order: text encoder, image encoder, autoencoder, denoiser, fusion."""
    if (folder / FROZEN_FILE).is_file():
        rest = read_tensors(folder / FROZEN_FILE)
    else:
        _refuse_other_stack(folder, stack)
        rest = _stack_rest(stack)
    made = dict(rest)
    for role in MODELS:
        made |= {official_name(role, name): value for name, value in read_folder(folder / role).items()}
    made |= {official_name(FUSION, name): value for name, value in read_tensors(folder / FUSION_FILE).items()}
    known_weights(made, folder, stack_weights(stack))
    order = [official_name(role, "") for role in ("text_encoder", "image_encoder", "vae", "unet", FUSION)]
    return {name: value for prefix in order for name, value in made.items() if name.startswith(prefix)}


def _stack_rest(stack: Stack) -> dict[str, Any]:
    return {name: value.cpu() for name, value in (stack_frozen(stack) | stack_tables(stack)).items()}


def _frozen_digests(stack: Stack) -> dict[str, str | None]:
    return {role: stack.digests.get(role) for role in FROZEN}


def _refuse_other_stack(folder: Path, stack: Stack) -> None:
    if stack.random_weights:
        raise WeightsError(f"{folder}: takes its frozen weights from its stack, and these would be random")
    made_with = checkpoint_facts(str(folder)).get("digests") or {}
    other = [role for role, own in _frozen_digests(stack).items() if made_with.get(role, own) != own]
    if other:
        raise WeightsError(
            f"{folder}: made with another {' and '.join(other)} than stack {stack.name!r} has: name its own"
        )


def _refuse_existing(target: Path) -> None:
    if target.exists():
        raise UsageError(f"{target}: already there; choose another target or delete it")


def _save(file: Path, weights: Weights) -> None:
    with atomic(file) as temporary:
        save_file({name: value.contiguous() for name, value in weights.items()}, temporary, metadata={"format": "pt"})
