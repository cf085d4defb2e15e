"""From a class's name and a place to a model on its device, in evaluation mode; float32 on a CPU, float16 on a GPU."""

from __future__ import annotations

import importlib
import inspect
import re
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from fcbench.errors import DataError, FcbenchError, MissingError, UsageError, one_line
from fcbench.stacks.initial import initialising, untrained
from fcbench.stacks.single_file import load_single_file
from fcbench.stacks.whole import is_tokenizer, lacking_vocabulary
from fcbench.weights import quiet


def from_path(
    role: str, class_name: str, place: Path, device: str, options: dict[str, Any], *, unrounded: bool = False
) -> Any:
    """A model from a folder or a single file (or, for a callable of ours, whatever it makes of it).

    ``unrounded``: in float32 on any device, for what is to be trained.
    """
    thing, dtype = find_class(class_name), precision("cpu" if unrounded else device)
    quiet()
    if not hasattr(thing, "from_pretrained"):
        return build(class_name, device, {"place": place, **options})
    if _is_model(thing) and place.is_file():
        return _place(load_single_file(role, thing, place, dtype), device)
    if is_tokenizer(thing) and (absent := lacking_vocabulary(place, thing)):
        raise DataError(f"{place}: {class_name} needs {absent}")
    try:
        if not _is_model(thing):
            return thing.from_pretrained(place, local_files_only=True, **options)
        name = "torch_dtype" if thing.__module__.startswith("diffusers") else "dtype"
        model = read_whole(thing, place, local_files_only=True, use_safetensors=True, **{name: dtype}, **options)
    except DataError:
        raise
    except Exception as error:  # safetensors, JSON and each library have errors of their own
        raise DataError(f"{place}: cannot be loaded as {class_name} ({one_line(error)})") from error
    return _place(model, device)


def read_whole(thing: Any, place: Path | str, *, without: Sequence[str] = (), **options: Any) -> Any:
    """A library's model as ``from_pretrained`` reads it, in evaluation mode; raises what that raises.

    DataError where weights are absent, which the library would fill at random. These may be absent: what a pattern in
    ``without`` finds, what the library lets a part of the model do without, and integers, such as positions of tokens,
    which are no weights.
    """
    model, report = thing.from_pretrained(place, output_loading_info=True, **options)
    spared = (getattr(part, "_keys_to_ignore_on_load_missing", None) or () for part in model.modules())
    absent = re.compile("|".join({"(?!)", *without, *(pattern for few in spared for pattern in few)}))
    state = model.state_dict()
    missing = sorted(
        name
        for name in report["missing_keys"]
        if not absent.search(name) and (name not in state or state[name].is_floating_point())
    )
    if missing:
        name = f"{type(model).__module__.partition('.')[0]}.{type(model).__name__}"
        raise DataError(f"{place}: {len(missing)} weights of {name} are not there, {missing[0]} the first")
    return model.eval()


def from_nothing(class_name: str, place: Path | None, device: str, options: dict[str, Any]) -> Any:
    """An untrained model of the architecture in a folder; what has no weights is read from there as usual."""
    thing = find_class(class_name)
    quiet()
    if place is None:
        make: Callable[[], Any] = partial(build, class_name, device, options)
    elif _is_model(thing) or hasattr(thing, "load_config"):
        make = untrained(thing, place)
    else:
        return from_path("", class_name, place, device, options)
    if not _is_module(thing):
        return make()
    with initialising(device, precision(device)):
        model = make()
    return _place(model, device)


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


def precision(device: str) -> Any:
    """The type that weights are kept in on a device."""
    import torch

    return torch.float32 if device == "cpu" else torch.float16


def refuse_nan(values: Any, what: str) -> None:
    """FcbenchError if a labeller's output, a tensor, holds NaN, which compares as if nothing had been found."""
    if bool(values.isnan().any()):
        raise FcbenchError(f"the {what} gave NaN for this picture, as float16 may where numbers grow too large")


def _is_module(thing: Any) -> bool:
    import torch

    return inspect.isclass(thing) and issubclass(thing, torch.nn.Module)


def _is_model(thing: Any) -> bool:
    return _is_module(thing) and hasattr(thing, "from_pretrained")


def _place(model: Any, device: str) -> Any:
    return model.to(device).eval() if hasattr(model, "eval") else model
