"""Trained models to disk as they ship, in float16 safetensors; and whether weights fit a model."""

from __future__ import annotations

import copy
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from fcbench.errors import WeightsError, one_line
from fcbench.files import write_text

if TYPE_CHECKING:
    import torch

Weights: TypeAlias = "Mapping[str, torch.Tensor]"
"""Tensors by name, as in a model's ``state_dict``."""


def is_commit(revision: str) -> bool:
    """Whether a revision of weights on the hub is a commit's full hash, which never moves.

    >>> is_commit("main"), is_commit("451f4fe16113bff5a5d2269ed5ad43b0592e9a14")
    (False, True)
    """
    return re.fullmatch("[0-9a-f]{40}", revision) is not None


def hub_errors() -> tuple[type[Exception], ...]:
    """The errors that say that the hub or its cache gives nothing: the system's, its library's, the HTTP client's."""
    from huggingface_hub import errors

    client: type[Exception] = errors.HTTPError  # type: ignore[attr-defined]
    return OSError, client, errors.HFValidationError, errors.RevisionResolutionError


def why_not_fetched(error: Exception) -> str:
    """Why the hub gave nothing, in one line: the cause, where its library only says that the cache lacks it."""
    from huggingface_hub.errors import LocalEntryNotFoundError

    before = error.__cause__ if isinstance(error, LocalEntryNotFoundError) else None
    return one_line(before or error, 300)


def quiet() -> None:
    """Keep transformers' progress bars of a few milliseconds out of our own progress lines."""
    from transformers.utils import logging

    logging.disable_progress_bar()


def save_half(folder: Path, model: Any) -> None:
    """Save a diffusers or transformers model in float16; the model itself stays as it is.

    The copy is made in the CPU's memory: on a GPU a training that has just enough would end at its first save. Where
    the model was read from, which the libraries write down, is taken out: it is nobody else's business.
    """
    import torch

    quiet()
    kept: dict[int, Any] = {id(each): torch.nn.Parameter(_half(each), False) for each in model.parameters()}
    kept |= {id(each): _half(each) for each in model.buffers()}
    copy.deepcopy(model, kept).save_pretrained(folder, safe_serialization=True)
    config = folder / "config.json"
    write_text(config, re.sub(r'\n *"_name_or_path": "[^"]*",', "", config.read_text(encoding="utf-8")))


def _half(tensor: torch.Tensor) -> torch.Tensor:
    import torch

    return tensor.detach().to("cpu", torch.float16 if tensor.is_floating_point() else tensor.dtype)


def read_folder(folder: Path, *, shapes_only: bool = False) -> dict[str, torch.Tensor]:
    """All tensors of a saved model's folder, as they are; raises what ``read_tensors`` raises."""
    files = sorted(folder.glob("*.safetensors"))
    if not files:
        raise WeightsError(f"{folder}: no .safetensors file there: not a whole checkpoint")
    return {name: value for file in files for name, value in read_tensors(file, shapes_only=shapes_only).items()}


def read_tensors(file: Path, *, shapes_only: bool = False) -> dict[str, torch.Tensor]:
    """All tensors of a safetensors file, as they are; WeightsError names a file that is absent or broken.

    ``shapes_only``: tensors on the meta device, from the file's header alone.
    """
    import torch
    from safetensors import SafetensorError, safe_open

    def read(opened: Any, name: str) -> torch.Tensor:
        if shapes_only:
            return torch.empty(opened.get_slice(name).get_shape(), device="meta")
        tensor: torch.Tensor = opened.get_tensor(name)
        return tensor

    try:
        with safe_open(file, "pt") as opened:
            return {name: read(opened, name) for name in opened.keys()}  # noqa: SIM118 (not a dictionary)
    except (SafetensorError, OSError) as error:
        raise WeightsError(f"{file}: absent, broken or cut short ({one_line(error)})") from error


def refuse_misfit(place: Path, given: Weights, expected: Weights) -> None:
    """Raise WeightsError, in one line, when the names or shapes of two sets of tensors differ."""
    reshaped = [
        f"{name} {tuple(given[name].shape)} for {tuple(expected[name].shape)}"
        for name in expected
        if name in given and given[name].shape != expected[name].shape
    ]
    faults = {
        "missing": [name for name in expected if name not in given],
        "unexpected": [name for name in given if name not in expected],
        "misshapen": reshaped,
    }
    told = [f"{len(names)} {fault} ({_first(names)})" for fault, names in faults.items() if names]
    if told:
        raise WeightsError(f"{place}: does not fit the model: {'; '.join(told)}")


def _first(names: Sequence[str], most: int = 3) -> str:
    return ", ".join(names[:most]) + (", ..." if len(names) > most else "")
