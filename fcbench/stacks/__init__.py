"""Stacks: what fills each model role. A YAML file names them; four kinds of place can hold a role's weights.

::

    roles:
      unet:  {class: diffusers.UNet2DConditionModel, path: unet}                  a folder beside the YAML file
      unet:  {class: diffusers.UNet2DConditionModel, path: v1-5.safetensors}      a single file of Stable Diffusion v1
      unet:  {class: diffusers.UNet2DConditionModel, hub: owner/name, subfolder: unet, revision: main}
      faces: {class: fcbench.stacks.faces.load_faces, place: buffalo_l, det_size: [640, 640]}  any callable's arguments
    random:                                                                       what --random-weights builds instead
      unet:  {class: diffusers.UNet2DConditionModel, path: unet}                  its configuration is enough

Instead of a stack, a diffusers folder or single file of Stable Diffusion v1 can be named: ``sd15`` with its weights.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any

from pydantic import Field

from fcbench.config import Closed, Name, Share, read_yaml, validate
from fcbench.errors import MissingError, UsageError, did_you_mean
from fcbench.files import digest_file, digest_json, digest_place
from fcbench.memory import spare
from fcbench.packages import installed
from fcbench.stacks.hub import commit_of
from fcbench.stacks.presence import RoleFacts, RoleSpec, facts_of, pack_of
from fcbench.types import GENERATING, ROLES, Stack

_SHIPPED = Path(__file__).parent


class SamplingSpec(Closed):
    """Defaults of the denoising loop, and of delayed subject conditioning."""

    steps: int = Field(default=50, ge=1)
    guidance: float = Field(default=5.0, ge=0)
    alpha: Share = 0.5


class StackSpec(Closed):
    """A stack's YAML file."""

    name: Name
    image_size: int = Field(ge=8)
    sampling: SamplingSpec = SamplingSpec()
    checkpoint: str | None = None
    """A FastComposer checkpoint: a folder beside the YAML file, else a hub id."""
    roles: dict[str, RoleSpec]
    random: dict[str, RoleSpec] = Field(default_factory=dict)
    """Roles that are built from something else when no weights are loaded."""


def names() -> list[str]:
    """The stacks that ship, sorted."""
    return sorted(path.parent.name for path in _SHIPPED.glob("*/stack.yaml"))


def load_stack(
    name_or_path: str,
    *,
    device: str = "cpu",
    random_weights: bool = False,
    low_memory: bool = False,
    unrounded: Collection[str] = (),
) -> Stack:
    """The stack of that name, of a YAML file, or on Stable Diffusion v1 weights; its models load on first use.

    On such weights it is called "sd15 on NAME", so that pictures of two base models are not ranked as one's.

    ``device``: ``auto`` takes a GPU if there is one. ``random_weights``: the generating roles alone, untrained, from
    their configurations; nothing is loaded. ``low_memory``: see :mod:`fcbench.memory`. ``unrounded``: roles that a
    training starts from, float32 even on a GPU. Raises UsageError for an unknown stack or role.
    """
    spec, folder = _read(name_or_path)
    roles = spec.roles
    if random_weights:
        roles = {role: part for role, part in (roles | spec.random).items() if role in GENERATING}
    device = find_device(device)
    digests = {role: _digest(part, folder) for role, part in roles.items()}
    if random_weights:
        digests = {role: f"untrained {digest}" for role, digest in digests.items()}
    make = _build if random_weights else functools.partial(_load, digests=digests, unrounded=unrounded)
    return Stack(
        name=spec.name,
        load={
            role: _loader(role, functools.partial(make, role, part, folder, device), low_memory)
            for role, part in roles.items()
        },
        image_size=spec.image_size,
        device=device,
        digests=digests,
        checkpoint=None if random_weights else _checkpoint(spec, folder),
        sampling=spec.sampling.model_dump(),
        random_weights=random_weights,
        low_memory=low_memory,
    )


def describe_role(name_or_path: str, role: str) -> RoleFacts | None:
    """What a stack names for a role, and whether it is here; None where it has none. Nothing is loaded or fetched."""
    spec, folder = _read(name_or_path)
    return facts_of(role, spec.roles[role], folder) if role in spec.roles else None


def find_device(name: str) -> str:
    """A device as torch calls it; ``auto`` is a GPU if there is one. UsageError for one that is not here."""
    if name == "cpu":
        return name
    import torch

    gpus = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if name == "auto":
        return "cuda" if gpus else "cpu"
    try:
        device = torch.device(name)
    except RuntimeError:
        raise UsageError(f"--device {name}: expected auto, cpu, cuda or cuda:1") from None
    if device.type == "cuda" and (device.index or 0) >= gpus:
        raise UsageError(f"--device {name}: torch finds {gpus} GPUs here; fcbench doctor says with what it was built")
    return name


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


def _read(name_or_path: str) -> tuple[StackSpec, Path]:
    """A stack's description, and the folder that its paths start from."""
    weights = Path(name_or_path)
    is_weights = weights.suffix in (".safetensors", ".ckpt") or (weights / "model_index.json").is_file()
    file = find_stack("sd15" if is_weights else name_or_path)
    spec = validate(read_yaml(file), StackSpec, file)
    for role in (*spec.roles, *spec.random):
        if role not in ROLES:
            raise UsageError(f"{file}: unknown role {role!r}: {did_you_mean(role, ROLES)}")
    if is_weights:
        roles = {**spec.roles, **_on_weights(spec, weights.absolute())}
        spec = spec.model_copy(update={"name": f"{spec.name} on {weights.absolute().name}", "roles": roles})
    return spec, file.parent


def _on_weights(spec: StackSpec, weights: Path) -> dict[str, RoleSpec]:
    """The roles that a pipeline's folder or single file fills; a single file leaves tokenizer and schedule to us."""
    if not weights.exists():
        raise UsageError(f"{weights}: no such file")
    classes = {role: spec.roles[role].class_ for role in ("text_encoder", "vae", "unet", "tokenizer", "scheduler")}
    if weights.is_dir():
        return {role: _in_folder(name, weights / role) for role, name in classes.items()}
    ours = {role: spec.random[role] for role in ("tokenizer", "scheduler")}
    return {role: RoleSpec(class_=name, path=weights) for role, name in classes.items()} | ours


def _in_folder(class_name: str, place: Path) -> RoleSpec:
    """A role from a pipeline's folder, which may hold its weights in float16 alone."""
    files = [file.name for file in place.glob("*.safetensors")]
    halved = bool(files) and all(".fp16." in name for name in files)
    return RoleSpec(class_=class_name, path=place, **({"variant": "fp16"} if halved else {}))


def _checkpoint(spec: StackSpec, folder: Path) -> str | None:
    if spec.checkpoint is None:
        return None
    beside = folder / spec.checkpoint
    return str(beside) if beside.exists() or "/" not in spec.checkpoint else spec.checkpoint


def _digest(part: RoleSpec, folder: Path) -> str:
    """What identifies a role's model: the sha256 of its files (a face pack's too) or a hub id's commit; the arguments.

    The hub is asked for a branch's or tag's commit unless it is in the cache; with no network its name stands for it.
    """
    if part.path is not None:
        place = folder / part.path
        if place.is_file():
            weights = _file_digest(place, place.stat().st_mtime_ns)
        else:
            files = sorted(p for p in place.rglob("*") if p.is_file())
            weights = digest_json([[p.name, digest_file(p)] for p in files])
        return _with_arguments(weights, part) + _detector_digest(part, place.parent)
    if part.hub is not None:
        return _hub_digest(part, commit_of(part.hub, part.revision))
    told, pack = part.model_dump(mode="json"), pack_of(part)
    if (package := told.get("place")) and (release := installed(str(package))):  # a spaCy pipeline is a package
        told["release"] = release
    networks = sorted(pack.glob("*.onnx")) if pack is not None else []
    inside = [[network.name, _file_digest(network, network.stat().st_mtime_ns)] for network in networks]
    return digest_json([told, *inside] if inside else told)


def _detector_digest(part: RoleSpec, beside: Path) -> str:
    """What to add for the detector that prompts SAM, a folder; empty if there is none."""
    name = (part.model_extra or {}).get("detector")
    place = next((found for found in (beside / name, Path(name)) if found.is_dir()), None) if name else None
    return f" with {digest_place(str(place))}" if place is not None else ""


def _hub_digest(part: RoleSpec, commit: str) -> str:
    return _with_arguments(f"{part.hub}@{commit}", part) + _detector_digest(part, Path())


def _with_arguments(weights: str, part: RoleSpec) -> str:
    """With the arguments: others make another model of the same files."""
    return " ".join([weights, *(f"{key}={value}" for key, value in (part.model_extra or {}).items())])


def _commit(digest: str) -> str:
    return digest.partition("@")[2].partition(" ")[0]


@functools.lru_cache
def _file_digest(file: Path, changed: int) -> str:
    """A file of gigabytes that several roles read is digested once; ``changed`` tells one state from another."""
    return digest_file(file)


def _loader(role: str, load: Callable[[], Any], low_memory: bool) -> Callable[[], Any]:
    return (lambda: spare(role, load())) if low_memory else load


def _load(
    role: str, part: RoleSpec, folder: Path, device: str, *, digests: dict[str, str], unrounded: Collection[str]
) -> Any:
    """A role's model; the commit that a hub id turned out to be is noted in ``digests``."""
    from fcbench.stacks.hub import fetch
    from fcbench.stacks.loading import build, find_class, from_path
    from fcbench.stacks.misdescribed import refuse_misdescribed

    thing = find_class(part.class_)
    refuse_misdescribed(role, part, thing)
    options, whole = dict(part.model_extra or {}), role in unrounded
    if part.path is not None:
        place = folder / part.path
        if not place.exists():
            raise MissingError(f"{place}: the {role} weights are not there; {_mend(place)}")
        return from_path(role, part.class_, place, device, options, unrounded=whole)
    if part.hub is not None:
        known = _commit(digests[role])  # what was written down is loaded, wherever the branch is by now
        place, commit = fetch(part.hub, known, part.subfolder, thing, variant=str(options.get("variant", "")))
        digests[role] = _hub_digest(part, commit)
        return from_path(role, part.class_, place, device, options, unrounded=whole)
    return build(part.class_, device, options)


def _build(role: str, part: RoleSpec, folder: Path, device: str) -> Any:
    """An untrained model for a role, from a configuration beside the YAML file or in the cache."""
    from fcbench.stacks.hub import fetch
    from fcbench.stacks.loading import find_class, from_nothing

    place = folder / part.path if part.path is not None else None
    if part.hub is not None:
        place, _ = fetch(part.hub, part.revision, part.subfolder, find_class(part.class_), weights=False)
    if place is not None and not place.exists():
        raise MissingError(f"{place}: the {role} configuration is not there; {_mend(place)}")
    return from_nothing(part.class_, place, device, dict(part.model_extra or {}))


def _mend(place: Path) -> str:
    if not place.is_relative_to(_SHIPPED):
        return "correct its path"
    return "make them with: fcbench make-stack mini" if "mini" in place.parts else "install fcbench again"
