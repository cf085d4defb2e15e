"""A model out of one of Stable Diffusion v1's single files (``v1-5-pruned-emaonly.safetensors``)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from fcbench.errors import DataError, UsageError

_SD15 = Path(__file__).parent / "sd15"
_TEXT = "cond_stage_model.transformer.text_model."


def load_single_file(role: str, thing: Any, file: Path, dtype: Any) -> Any:
    """The text encoder, VAE or U-Net in ``file``, with Stable Diffusion v1's configuration.

    UsageError for another role or kind of file, DataError for a file that is broken or holds no such model.
    """
    if role not in ("text_encoder", "vae", "unet"):
        raise UsageError(f"{file}: a single file holds no {role}: name a folder or a hub id")
    if file.suffix != ".safetensors":
        raise UsageError(f"{file}: only .safetensors is read; a pickled file runs what it likes")
    config = str(_SD15 / role)
    try:
        if role == "text_encoder":
            return _text_encoder(thing, file, config, dtype)
        made = thing.from_single_file(str(file), config=config, torch_dtype=dtype, local_files_only=True)
    except DataError:
        raise
    except Exception as error:  # safetensors and diffusers have errors of their own
        raise DataError(f"{file}: no {role} can be read from it ({' '.join(str(error).split())[:200]})") from error
    _refuse_unread(file, role, [name for name, value in made.state_dict().items() if value.is_meta])
    return made


def _text_encoder(thing: Any, file: Path, config: str, dtype: Any) -> Any:
    import torch
    from safetensors import safe_open

    with torch.device("meta"):
        made = thing(thing.config_class.from_pretrained(config))
    with safe_open(file, "pt") as opened:
        names = [name for name in opened.keys() if name.startswith(_TEXT)]  # noqa: SIM118 (it is no mapping)
        weights = {name.removeprefix(_TEXT): opened.get_tensor(name).to(dtype) for name in names}
    missing, _ = made.load_state_dict(weights, strict=False, assign=True)
    _refuse_unread(file, "text_encoder", missing)
    for module in made.modules():  # it is not in the file
        if isinstance(ids := getattr(module, "position_ids", None), torch.Tensor):
            module.position_ids = torch.arange(ids.shape[-1])[None]
    return made


def _refuse_unread(file: Path, role: str, missing: list[str]) -> None:
    if missing:
        raise DataError(f"{file}: {len(missing)} weights of the {role} are not in it, {missing[0]} the first")
