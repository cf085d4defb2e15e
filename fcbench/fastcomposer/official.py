"""The official checkpoint: one file, ``pytorch_model.bin``, with every weight of the model under one name.

::

    text_encoder.     CLIPTextModel           frozen
    image_encoder.    the vision tower with its projection
    vae.              AutoencoderKL           frozen
    unet.             UNet2DConditionModel
    postfuse_module.  the fusion

The names are those of the libraries of its day: the autoencoder's attention says query, key, value and proj_attn, and
two ``position_ids`` tables, which today's models make themselves, lie among the weights.
"""

from __future__ import annotations

import pickle
import re
from pathlib import Path
from typing import Any

import torch

from fcbench.errors import WeightsError, one_line
from fcbench.fastcomposer.encoder import Fusion
from fcbench.files import atomic
from fcbench.types import Stack
from fcbench.weights import Weights, refuse_misfit

OFFICIAL_FILE = "pytorch_model.bin"
FUSION = "fusion"
FROZEN = ("text_encoder", "vae")
TRAINED = ("unet", "image_encoder", FUSION)

_PREFIXES = {role: role for role in ("text_encoder", "image_encoder", "vae", "unet")} | {FUSION: "postfuse_module"}
_ROLES = {prefix: role for role, prefix in _PREFIXES.items()}
_TABLE = "position_ids"
_OLD_ATTENTION = {"to_q": "query", "to_k": "key", "to_v": "value", "to_out.0": "proj_attn"}
_ATTENTION = re.compile(r"(attentions\.\d+\.)(to_q|to_k|to_v|to_out\.0)\.")
_RELATIVE, _ABSOLUTE = 2**-8, 1e-7
"""How far bfloat16 and, near zero, float16 may move a weight."""


def official_name(role: str, name: str) -> str:
    """The name that a role's parameter has in an official file, whichever library release named it.

    >>> official_name("vae", "encoder.mid_block.attentions.0.to_out.0.bias")
    'vae.encoder.mid_block.attentions.0.proj_attn.bias'
    >>> official_name("text_encoder", "text_model.final_layer_norm.bias")
    'text_encoder.final_layer_norm.bias'
    """
    if role == "text_encoder":
        name = name.removeprefix("text_model.")
    if role == "vae":
        name = _ATTENTION.sub(lambda found: f"{found[1]}{_OLD_ATTENTION[found[2]]}.", name)
    return f"{_PREFIXES[role]}.{name}"


def read_official(file: Path) -> Weights:
    """All tensors of an official file, unchanged, mapped from disk, nothing executed; WeightsError if it is broken."""
    try:
        weights = torch.load(file, map_location="cpu", weights_only=True, mmap=True)
    except (OSError, RuntimeError, ValueError, EOFError, KeyError, pickle.UnpicklingError) as error:
        raise WeightsError(f"{file}: cut short, or not a file of PyTorch weights ({one_line(error)})") from error
    if not isinstance(weights, dict) or not all(
        isinstance(key, str) and isinstance(value, torch.Tensor) for key, value in weights.items()
    ):
        raise WeightsError(f"{file}: not an official checkpoint, which is a flat table of named tensors")
    return weights


def write_official(file: Path, weights: Weights) -> None:
    """Write an official file, whole or not at all."""
    with atomic(file) as temporary:
        torch.save(dict(weights), temporary)


def known_weights(weights: Weights, file: Path, expected: Weights) -> dict[str, torch.Tensor]:
    """The weights of an official file under official names, without tables; WeightsError unless as ``expected``.

    The autoencoder's attention may have its new names too, or be 1 x 1 convolutions.
    """
    known = {}
    for key, value in weights.items():
        prefix, _, rest = key.partition(".")
        name = official_name(_ROLES[prefix], rest) if prefix in _ROLES else key
        if _is_table(name):
            continue
        if value.ndim == 4 and name in expected and expected[name].ndim == 2 and value.shape[2:] == (1, 1):
            value = value[:, :, 0, 0]
        known[name] = value
    refuse_misfit(file, known, expected)
    return known


def stack_weights(stack: Stack) -> dict[str, torch.Tensor]:
    """All but the tables of an official file for the stack's architectures: the stack's weights, fusion on meta."""
    models = {role: stack.role(role) for role in TRAINED if role != FUSION}
    width = models["image_encoder"].config.projection_dim
    with torch.device("meta"):
        models[FUSION] = Fusion(width)
    trained = {official_name(role, k): v for role, model in models.items() for k, v in model.state_dict().items()}
    return stack_frozen(stack) | trained


def stack_frozen(stack: Stack) -> dict[str, torch.Tensor]:
    """The stack's text encoder and autoencoder by official names."""
    return {official_name(role, k): v for role in FROZEN for k, v in stack.role(role).state_dict().items()}


def stack_tables(stack: Stack) -> dict[str, torch.Tensor]:
    """The tables of an official file for the stack's architectures."""
    return {
        official_name(role, name): table
        for role in ("text_encoder", "image_encoder")
        for name, table in stack.role(role).named_buffers()
        if name.endswith(_TABLE)
    }


def rest_of(weights: Weights) -> dict[str, torch.Tensor]:
    """The part of an official file that FastComposer does not train, as it is in the file."""
    trained = {_PREFIXES[role] for role in TRAINED}
    return {k: v for k, v in weights.items() if k.partition(".")[0] not in trained or _is_table(k)}


def weights_for(role: str, model: Any, known: Weights) -> dict[str, torch.Tensor]:
    """A role's part of ``known_weights`` by the names of today's ``model``, in its order."""
    return {name: known[official_name(role, name)] for name in model.state_dict()}


def refuse_other_frozen(file: Path, known: Weights, stack: Stack) -> None:
    """WeightsError when a file's text encoder or autoencoder is not the stack's, up to bfloat16's rounding.

    Drawing is done with the stack's, so that all methods draw with the same; FastComposer never trains them. A stack
    with random weights is not compared: it measures time and memory alone.
    """
    if stack.random_weights:
        return
    own = stack_frozen(stack)
    other = [name for name, value in own.items() if not _close(known[name], value)]
    if other:
        raise WeightsError(
            f"{file}: its text encoder or autoencoder is not that of stack {stack.name!r} ({len(other)} of {len(own)} "
            f"weights differ, {other[0]} first): use a stack that has these"
        )


def same_bits(some: Weights, others: Weights) -> bool:
    """Whether two sets of tensors have the same names, types, shapes and values."""
    return some.keys() == others.keys() and all(
        some[name].dtype == others[name].dtype and torch.equal(some[name], others[name]) for name in some
    )


def _is_table(name: str) -> bool:
    return name.endswith(f".{_TABLE}")


def _close(one: torch.Tensor, other: torch.Tensor) -> bool:
    return torch.allclose(one.to(other.device).float(), other.float(), rtol=_RELATIVE, atol=_ABSOLUTE)
