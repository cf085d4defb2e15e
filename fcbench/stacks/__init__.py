"""Stacks: what fills each model role. A YAML file names them; three kinds of place can hold a role's weights.

::

    roles:
      unet:  {class: diffusers.UNet2DConditionModel, path: unet}                  a folder beside the YAML file
      unet:  {class: diffusers.UNet2DConditionModel, hub: owner/name, subfolder: unet, revision: main}
      faces: {class: fcbench.stacks.faces.load_faces, name: buffalo_l, det_size: [640, 640]}   any callable's arguments
"""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Annotated, Any

from pydantic import ConfigDict, Field

from fcbench.config import Closed, Name, read_yaml, validate
from fcbench.errors import MissingError, UsageError, did_you_mean
from fcbench.store import digest_file, digest_json
from fcbench.types import ROLES, Stack

_SHIPPED = Path(__file__).parent


class RoleSpec(Closed):
    """Where a role's model comes from; keys beyond these are arguments of ``class``."""

    model_config = ConfigDict(extra="allow", frozen=True, populate_by_name=True)

    class_: Annotated[str, Field(alias="class")]
    path: Path | None = None
    hub: str | None = None
    revision: str | None = None
    subfolder: str | None = None


class SamplingSpec(Closed):
    """Defaults of the denoising loop."""

    steps: int = Field(default=50, ge=1)
    guidance: float = Field(default=5.0, ge=0)


class StackSpec(Closed):
    """A stack's YAML file."""

    name: Name
    image_size: int = Field(ge=8)
    sampling: SamplingSpec = SamplingSpec()
    checkpoint: str | None = None
    """A FastComposer checkpoint: a folder beside the YAML file, else a hub id."""
    roles: dict[str, RoleSpec]


def names() -> list[str]:
    """The stacks that ship, sorted."""
    return sorted(path.parent.name for path in _SHIPPED.glob("*/stack.yaml"))


def load_stack(name_or_path: str, *, device: str = "cpu", random_weights: bool = False) -> Stack:
    """The stack of that name, or of a YAML file; its models load on first use.

    ``device``: ``auto`` takes a GPU if there is one. ``random_weights``: architectures from their configurations,
    nothing loaded. Raises UsageError for an unknown stack or role.
    """
    file = find_stack(name_or_path)
    spec = validate(read_yaml(file), StackSpec, file)
    for role in spec.roles:
        if role not in ROLES:
            raise UsageError(f"{file}: unknown role {role!r}: {did_you_mean(role, ROLES)}")
    device = _resolve(device)
    folder = file.parent
    return Stack(
        name=spec.name,
        load={
            role: functools.partial(_load, role, part, folder, device, random_weights)
            for role, part in spec.roles.items()
        },
        image_size=spec.image_size,
        device=device,
        digests={role: _digest(part, folder) for role, part in spec.roles.items()},
        checkpoint=_checkpoint(spec, folder),
        sampling=spec.sampling.model_dump(),
        random_weights=random_weights,
    )


def find_stack(name_or_path: str) -> Path:
    """The YAML file of a shipped stack or of the user's own."""
    if name_or_path.endswith((".yaml", ".yml")):
        path = Path(name_or_path)
        if not path.is_file():
            raise UsageError(f"{path}: no such stack file")
        return path
    if name_or_path not in names():
        raise UsageError(f"no stack is called {name_or_path!r}: {did_you_mean(name_or_path, names())}")
    return _SHIPPED / name_or_path / "stack.yaml"


def _resolve(device: str) -> str:
    if device != "auto":
        return device
    import torch

    return "cuda" if torch.cuda.is_available() else "cpu"


def _checkpoint(spec: StackSpec, folder: Path) -> str | None:
    if spec.checkpoint is None:
        return None
    beside = folder / spec.checkpoint
    return str(beside) if beside.exists() or "/" not in spec.checkpoint else spec.checkpoint


def _digest(part: RoleSpec, folder: Path) -> str:
    """What identifies a role's weights: of files their sha256, of a hub id its pinned revision, else the arguments."""
    if part.path is not None:
        files = sorted(p for p in (folder / part.path).rglob("*") if p.is_file())
        return digest_json([[p.name, digest_file(p)] for p in files])
    if part.hub is not None:
        return f"{part.hub}@{part.revision or 'main'}"
    return digest_json(part.model_dump(mode="json"))


def _load(role: str, part: RoleSpec, folder: Path, device: str, random_weights: bool) -> Any:
    from fcbench.stacks.loading import build, from_hub, from_path

    options = dict(part.model_extra or {})
    if part.path is not None:
        place = folder / part.path
        if not place.exists():
            raise MissingError(f"{place}: the {role} weights are not there; make them with: fcbench make-stack mini")
        return from_path(part.class_, place, device, random_weights, options)
    if part.hub is not None:
        return from_hub(part.class_, part.hub, part.subfolder, part.revision, device, random_weights, options)
    return build(part.class_, device, options)
