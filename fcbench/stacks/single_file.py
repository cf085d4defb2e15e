"""A model out of one of Stable Diffusion v1's single files (``v1-5-pruned-emaonly.safetensors``, or ``.ckpt``)."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

from fcbench.errors import DataError, UsageError, one_line
from fcbench.stacks.initial import untrained

SUFFIXES = (".safetensors", ".ckpt")

_SD15 = Path(__file__).parent / "sd15"
_PREFIXES = {
    "text_encoder": "cond_stage_model.transformer.text_model.",
    "vae": "first_stage_model.",
    "unet": "model.diffusion_model.",
}
"""How a role's names begin. The average that training files hold as well (``model_ema.``) is left alone."""


def load_single_file(role: str, thing: Any, file: Path, dtype: Any) -> Any:
    """The text encoder, VAE or U-Net in ``file``, with Stable Diffusion v1's configuration.

    Reads the role's weights alone; nothing is unpickled but tensors. UsageError for another role or kind of file,
    DataError for a file that is broken or holds no such model.
    """
    if role not in _PREFIXES:
        raise UsageError(f"{file}: a single file holds no {role}: name a folder or a hub id")
    if file.suffix not in SUFFIXES:
        raise UsageError(f"{file}: a single file of weights ends in {' or '.join(SUFFIXES)}")
    try:
        weights = (_read_checkpoint if file.suffix == ".ckpt" else _read_safetensors)(file, _PREFIXES[role])
        made = _empty(thing, _SD15 / role)
        named = _today(role, weights, made.config)
    except DataError:
        raise
    except Exception as error:  # safetensors, torch and diffusers have errors of their own
        raise DataError(f"{file}: no {role} can be read from it ({one_line(error)})") from error
    _fill(made, {name: value.to(dtype) for name, value in named.items()}, file, role)
    return made


def _read_safetensors(file: Path, prefix: str) -> dict[str, Any]:
    from safetensors import safe_open

    with safe_open(file, "pt") as opened:
        names = list(opened.keys())
        return _of_role(names, prefix, opened.get_tensor)


def _read_checkpoint(file: Path, prefix: str) -> dict[str, Any]:
    """A PyTorch file's tensors, mapped from disk; of one that a trainer wrote, its ``state_dict``."""
    import torch

    try:
        weights = torch.load(file, map_location="cpu", weights_only=True, mmap=True)
    except pickle.UnpicklingError as error:
        raise DataError(
            f"{file}: holds more than tensors, and what is not a tensor could run what it likes: take the "
            ".safetensors file of the same weights"
        ) from error
    weights = weights.get("state_dict", weights)
    return _of_role(list(weights), prefix, weights.__getitem__)


def _of_role(names: list[str], prefix: str, get: Callable[[str], Any]) -> dict[str, Any]:
    """The tensors under a role's prefix, or all if none is: the file may hold this role alone."""
    mine = [name for name in names if name.startswith(prefix)]
    return {name: get(name) for name in mine or names}


def _today(role: str, weights: dict[str, Any], config: Any) -> dict[str, Any]:
    """A role's weights under the names that today's model has for them; those with such names stay."""
    from diffusers.loaders.single_file_utils import convert_ldm_unet_checkpoint, convert_ldm_vae_checkpoint

    if not any(name.startswith(_PREFIXES[role]) for name in weights):
        return weights
    if role == "text_encoder":
        return {name.removeprefix(_PREFIXES[role]): value for name, value in weights.items()}
    convert = convert_ldm_unet_checkpoint if role == "unet" else convert_ldm_vae_checkpoint
    return dict(convert(weights, config))


def _empty(thing: Any, config: Path) -> Any:
    """The architecture in a folder, no memory taken for its weights."""
    import torch

    make = untrained(thing, config)
    with torch.device("meta"):
        return make()


def _fill(made: Any, weights: dict[str, Any], file: Path, role: str) -> None:
    import torch

    try:
        missing, _ = made.load_state_dict(weights, strict=False, assign=True)
    except RuntimeError as error:  # a weight of another shape
        raise DataError(f"{file}: not the {role} of Stable Diffusion v1 ({one_line(error)})") from error
    if missing:
        raise DataError(f"{file}: {len(missing)} weights of the {role} are not in it, {missing[0]} the first")
    for module in made.modules():  # a table, not in the file
        if isinstance(ids := getattr(module, "position_ids", None), torch.Tensor):
            module.position_ids = torch.arange(ids.shape[-1])[None]
