"""Mistakes in a stack's YAML file that a library would silently accept."""

from __future__ import annotations

import inspect
from difflib import get_close_matches
from typing import Any

from fcbench.errors import UsageError, did_you_mean
from fcbench.stacks.presence import RoleSpec
from fcbench.stacks.whole import is_model, is_tokenizer

OURS = ("path", "hub", "revision", "subfolder")
LIBRARY = ("variant", "low_cpu_mem_usage", "attn_implementation")
"""Arguments of ``from_pretrained`` that are no class's own."""


def refuse_misdescribed(role: str, part: RoleSpec, thing: Any) -> None:
    """Raise UsageError where a library's class has no place to come from, or a key that nothing reads.

    diffusers ignores what it does not know, so there every key must be known; elsewhere one that is nearly ours is
    refused. A schedule may be made of its arguments alone.
    """
    if not hasattr(thing, "from_pretrained"):
        return
    options = part.model_extra or {}
    if part.path is None and part.hub is None and (is_model(thing) or is_tokenizer(thing) or not options):
        raise UsageError(f"role {role}: {part.class_} comes from nowhere: name a path or a hub id")
    known = {*OURS, *LIBRARY, *inspect.signature(thing.__init__).parameters} - {"self"}
    for key in options:
        if key not in known and (thing.__module__.startswith("diffusers") or get_close_matches(key, OURS)):
            raise UsageError(f"role {role}: unknown key {key!r}: {did_you_mean(key, known)}")
