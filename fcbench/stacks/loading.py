"""From a class's name and a place to a model on its device, in evaluation mode; float32 on a CPU, float16 on a GPU."""

from __future__ import annotations

import importlib
import inspect
from pathlib import Path
from typing import Any

from fcbench.errors import DataError, MissingError, UsageError
from fcbench.weights import quiet


def from_path(class_name: str, place: Path, device: str, random_weights: bool, options: dict[str, Any]) -> Any:
    """A model from a folder (or, for a callable of ours, whatever it makes of it)."""
    thing = find_class(class_name)
    quiet()
    if not hasattr(thing, "from_pretrained"):
        return build(class_name, device, {"place": place, **options})
    if (random_weights and hasattr(thing, "config_class")) or (random_weights and hasattr(thing, "from_config")):
        return _place(_random(thing, str(place), {}), device)
    try:
        return _place(
            thing.from_pretrained(place, local_files_only=True, **_precision(thing, device), **options), device
        )
    except Exception as error:  # safetensors, JSON and each library have errors of their own
        raise DataError(f"{place}: cannot be loaded as {class_name} ({error})") from error


def from_hub(
    class_name: str,
    hub: str,
    subfolder: str | None,
    revision: str | None,
    device: str,
    random_weights: bool,
    options: dict[str, Any],
) -> Any:
    """A model from the Hugging Face hub or its local cache; MissingError says how to fetch it."""
    thing = find_class(class_name)
    where = {key: value for key, value in (("subfolder", subfolder), ("revision", revision)) if value}
    try:
        if random_weights and (hasattr(thing, "config_class") or hasattr(thing, "from_config")):
            return _place(_random(thing, hub, where), device)
        return _place(thing.from_pretrained(hub, **where, **_precision(thing, device), **options), device)
    except OSError as error:
        pinned = f" --revision {revision}" if revision else ""
        raise MissingError(
            f"{hub} is not in the Hugging Face cache and cannot be fetched; where there is a network: "
            f"hf download {hub}{pinned}"
        ) from error


def build(class_name: str, device: str, options: dict[str, Any]) -> Any:
    """Call a class or function with its arguments, ``place`` first, and with ``device`` if it takes one."""
    thing = find_class(class_name)
    options = dict(options)
    place = [options.pop("place")] if "place" in options else []
    if "device" in inspect.signature(thing).parameters:
        options = {**options, "device": device}
    try:
        return thing(*place, **options)
    except TypeError as error:
        raise UsageError(f"{class_name}: {error}") from error


def find_class(name: str) -> Any:
    """The class or function of a dotted name."""
    module, _, attribute = name.rpartition(".")
    try:
        return getattr(importlib.import_module(module), attribute)
    except (ImportError, AttributeError, ValueError) as error:
        raise MissingError(
            f"cannot import {name} ({error}); install it with: pip install {module.split('.')[0]}"
        ) from error


def _random(thing: Any, place: str, where: dict[str, str]) -> Any:
    import torch

    torch.manual_seed(0)
    if hasattr(thing, "load_config"):  # diffusers
        return thing.from_config(thing.load_config(place, **where))
    return thing(thing.config_class.from_pretrained(place, **where))


def _precision(thing: Any, device: str) -> dict[str, Any]:
    import torch

    if not inspect.isclass(thing) or not issubclass(thing, torch.nn.Module):
        return {}
    name = "torch_dtype" if thing.__module__.startswith("diffusers") else "dtype"
    return {name: torch.float32 if device == "cpu" else torch.float16}


def _place(model: Any, device: str) -> Any:
    return model.to(device).eval() if hasattr(model, "eval") else model
