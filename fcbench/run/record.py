"""What a run was made with: ``run.json``, and the refusal to continue it with anything else."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fcbench import store
from fcbench.changes import changes, short
from fcbench.errors import UsageError
from fcbench.files import digest_place, read_json
from fcbench.plugins import code_of
from fcbench.run.measure import Meter, versions
from fcbench.types import JUDGING, LABELLING, Method, Resolving, Stack

SETTINGS = (
    *("method", "code", "options", "recipe", "suite_digest"),
    *("stack", "stack_digests", "random_weights", "low_memory", "sampling"),
)
"""What decides a picture: a run folder holds one of each."""

SURROUNDINGS = ("device", "memory_kind", "versions")
"""What may change a picture's last bits, and the costs: fixed until a run is finished."""


def describe_method(method: Method) -> dict[str, Any]:
    """Its code if it is not fcbench's own, its options (its dataclass's fields) and what it says of itself."""
    plugin: Any = method
    fields = dataclasses.fields(plugin) if dataclasses.is_dataclass(plugin) else ()
    return {
        "code": code_of("methods", method),
        "options": {field.name: getattr(plugin, field.name) for field in fields if field.init},
        "capabilities": dataclasses.asdict(method.capabilities),
        "images_per_subject": method.capabilities.images_per_subject,
        "sees": list(method.capabilities.sees),
    }


def describe_recipe(method: Method, stack: Stack) -> dict[str, Any] | None:
    """What the method's options come to on the stack; None if the options say it all."""
    return dataclasses.asdict(method.recipe(stack)) if isinstance(method, Resolving) else None


def describe_stack(stack: Stack) -> dict[str, Any]:
    """Its name, the digests of its weights (the FastComposer checkpoint's too) and its settings."""
    return {
        "stack": stack.name,
        "stack_digests": {**stack.digests, "checkpoint": digest_place(stack.checkpoint)},
        "random_weights": stack.random_weights,
        "low_memory": stack.low_memory,
        "sampling": dict(stack.sampling),
    }


def where_stack(stack: str) -> dict[str, str | None]:
    """A stack as it was asked for, and its file's absolute path here, for use from other folders.

    >>> where_stack("mini")
    {'stack_file': 'mini', 'stack_place': None}
    """
    path = Path(stack)
    is_file = path.suffix in (".yaml", ".yml", ".safetensors", ".ckpt") or (path / "model_index.json").is_file()
    return {"stack_file": stack, "stack_place": str(path.absolute()) if is_file else None}


def describe_surroundings(meter: Meter) -> dict[str, Any]:
    """The device, what is measured on it, and the packages at work."""
    return {"device": meter.device, "memory_kind": meter.kind, "versions": versions()}


def refuse_changes(folder: store.RunFolder, record: Mapping[str, Any], *, finished: bool) -> None:
    """Raise UsageError, naming what differs, when the folder holds a run made with other settings."""
    if not folder.config.exists():
        return
    earlier = read_json(folder.config)
    now = json.loads(json.dumps(record, default=str))
    # runs of earlier versions did not record their code, or not that of packages
    keys = [key for key in SETTINGS + (() if finished else SURROUNDINGS) if key != "code" or earlier.get("code")]
    for facts in (earlier, now):
        facts["stack_digests"] = drawing_digests(facts.get("stack_digests", {}))
    found = [change for key in keys for change in changes(key, earlier.get(key), now[key])]
    if found:
        raise UsageError(
            f"{folder.path} was made with other settings ({'; '.join(found)}): "
            "give this run a name of its own with --variant, or delete the folder"
        )


def drawing_digests(digests: Mapping[str, str | None]) -> dict[str, str | None]:
    """Those of what draws: judges and labellers do not change a picture."""
    return {role: digest for role, digest in digests.items() if role not in JUDGING + LABELLING}


def refuse_other_versions(out: Path, suite: str, digest: str) -> None:
    """Raise UsageError if a run there was made with another version of the suite of this name."""
    for folder in store.runs_of(out, suite):
        there = read_json(folder.config).get("suite_digest")
        if there != digest:
            raise UsageError(
                f"suite {suite}, or a photo of its people, has changed since {folder.path} was made "
                f"(version {short(there)} there, {short(digest)} now): suites are never edited; give it another "
                "name, or use another --out"
            )
