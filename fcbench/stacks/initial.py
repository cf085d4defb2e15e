"""Untrained models, for measuring time and memory where no weights are at hand."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any


def untrained(thing: Any, place: Path) -> Callable[[], Any]:
    """How to make a model or schedule of the class ``thing`` from its configuration in ``place``, read now."""
    if hasattr(thing, "load_config"):  # diffusers
        return partial(thing.from_config, thing.load_config(place))
    return partial(thing, thing.config_class.from_pretrained(place))


@contextmanager
def initialising(device: str, dtype: Any) -> Iterator[None]:
    """Models made in this block get their final device and type at once, so that nothing larger is ever held.

    Each library's own initialisation, seed 0; random states outside of the block stay as they were.
    """
    import torch

    usual = torch.get_default_dtype()
    gpus = [torch.device(device)] if device.startswith("cuda") else []  # fork_rng would start every GPU there is
    torch.set_default_dtype(dtype)
    try:
        with torch.random.fork_rng(gpus), torch.device(device):
            torch.manual_seed(0)
            yield
    finally:
        torch.set_default_dtype(usual)
