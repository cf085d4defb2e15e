"""The verb ``doctor``: what is installed, which stacks can be used, on which device; and what mends what is missing."""

from __future__ import annotations

import os
import platform
import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import requires

from fcbench import packages, plugins, stacks
from fcbench.config import read_yaml, validate
from fcbench.errors import FcbenchError
from fcbench.stacks.presence import facts_of, joined

DEFAULT_STACK = "mini"


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at. ``mend`` says how to put it right, and is empty where nothing is wrong."""

    topic: str
    text: str
    mend: str = ""
    needed: bool = True
    """Whether the default commands need it."""

    def __str__(self) -> str:
        state = "ok" if not self.mend else "MISSING" if self.needed else "absent"
        return f"{state:8}{self.topic:10}{self.text}" + (f"\n{'':18}{self.mend}" if self.mend else "")


def examine() -> list[Finding]:
    """Look at everything that the verbs rest on; loads no model."""
    return [
        Finding("python", f"{platform.python_version()} on {platform.platform(terse=True)}"),
        Finding("device", _device()),
        *_faces(),
        *_packages(),
        *_stacks(),
        *_plugins(),
    ]


def _device() -> str:
    import psutil
    import torch

    memory = psutil.virtual_memory().total / 2**30
    cpu = f"CPU, {os.cpu_count()} cores, {memory:.0f} GiB"
    if not torch.cuda.is_available():
        return cpu
    gpu = torch.cuda.get_device_properties(0)
    return f"{gpu.name}, {gpu.total_memory / 2**30:.0f} GiB; {cpu}"


def _faces() -> Iterator[Finding]:
    """Whether a GPU, if there is one, judges faces too; nothing where their package is absent: other lines say that."""
    import torch

    try:
        from onnxruntime import get_available_providers
    except ImportError:
        return
    if torch.cuda.is_available():
        here = "CUDAExecutionProvider" in get_available_providers()
        mend = "" if here else "pip install --no-deps onnxruntime-gpu"
        yield Finding("faces", f"judged on the {'GPU' if here else 'processor'}", mend, needed=False)


def _packages() -> Iterator[Finding]:
    """Our requirements as our own metadata names them: the core's in one line, then each extra."""
    groups: dict[str, list[str]] = {"": []}
    for line in requires("fcbench") or []:
        requirement, _, marker = line.partition(";")
        named = re.search(r"extra == ['\"](\w+)", marker)
        groups.setdefault(named[1] if named else "", []).append(requirement.strip())
    for extra, requirements in groups.items():
        installed = {line: _version(line) for line in requirements}
        absent = [shlex.quote(line) for line, found in installed.items() if not found]
        yield Finding(
            f"[{extra}]" if extra else "packages",
            ", ".join(found for found in installed.values() if found) or "none installed",
            mend=f"pip install {' '.join(absent)}" if absent else "",
            needed=not extra,
        )


def _version(requirement: str) -> str:
    """``numpy 2.4.6`` for ``numpy>=2``; empty when it is not installed."""
    package = re.split(r"[^\w.-]", requirement, maxsplit=1)[0]
    found = packages.installed(package)
    return f"{package} {found}" if found else ""


def _stacks() -> Iterator[Finding]:
    for name in stacks.names():
        file = stacks.find_stack(name)
        spec = validate(read_yaml(file), stacks.StackSpec, file)
        mends = {role: facts_of(role, part, file.parent).mend for role, part in spec.roles.items()}
        absent = [role for role, mend in mends.items() if mend]
        yield Finding(
            "stack",
            f"{name}: {len(mends) - len(absent)} of {len(mends)} roles"
            + (f", not {', '.join(absent)}" if absent else ""),
            mend="; ".join(joined(sorted(mend for mend in mends.values() if mend))),
            needed=name == DEFAULT_STACK,
        )


def _plugins() -> Iterator[Finding]:
    for kind in ("methods", "metrics"):
        try:
            yield Finding(kind, ", ".join(plugins.names(kind)))
        except FcbenchError as error:
            yield Finding(kind, "not usable", mend=str(error))
