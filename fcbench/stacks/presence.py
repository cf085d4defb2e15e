"""What a stack names for a role, and whether it is on this machine: in a folder, in a cache, or installed."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Self

from huggingface_hub.constants import HF_HUB_CACHE
from pydantic import ConfigDict, Field, model_validator

from fcbench.config import Closed
from fcbench.errors import MissingError
from fcbench.stacks.facenet import INSTALL, WEIGHTS, download, weights_file
from fcbench.stacks.faces import PACKS
from fcbench.stacks.hub import download_command, patterns_of
from fcbench.stacks.loading import find_class
from fcbench.stacks.whole import lacking
from fcbench.weights import is_commit


class RoleSpec(Closed):
    """Where a role's model comes from; keys beyond these are arguments of ``class``."""

    model_config = ConfigDict(extra="allow", frozen=True, populate_by_name=True)

    class_: Annotated[str, Field(alias="class")]
    path: Path | None = None
    hub: str | None = None
    revision: str | None = None
    subfolder: str | None = None

    @model_validator(mode="after")
    def _one_place(self) -> Self:
        if self.path is not None and self.hub is not None:
            raise ValueError("a path and a hub id: name one of them")
        return self


def joined(mends: Iterable[str]) -> list[str]:
    """Commands, each once; what several fetch from one repository in one.

    >>> joined(["hf download a/b --include unet/*", "make it", "hf download a/b --include vae/*", "make it"])
    ['hf download a/b --include unet/* --include vae/*', 'make it']
    """
    asked: dict[str, dict[str, None]] = {}
    for mend in mends:
        command, *files = mend.split(" --include ")
        asked.setdefault(command, {}).update(dict.fromkeys(files))
    return [" --include ".join([command, *files]) for command, files in asked.items()]


@dataclass(frozen=True)
class RoleFacts:
    """The place of a role's weights, the class that makes the model, and the command that gets what is absent.

    ``bytes``: of the files that are here; None where there are none. ``mend`` is empty where nothing is absent.
    """

    place: str
    made_by: str
    bytes: int | None
    mend: str = ""


def facts_of(role: str, part: RoleSpec, folder: Path) -> RoleFacts:
    """Facts about a role of a stack whose YAML file lies in ``folder``."""
    place, here, mend = _find(role, part, folder)
    there = here is not None and here.exists() and (part.hub is None or _is_whole(here, part))
    return RoleFacts(place, part.class_, _bytes(here) if here and there else None, "" if there or not place else mend)


def _find(role: str, part: RoleSpec, folder: Path) -> tuple[str, Path | None, str]:
    """A role's place by name, its path on this machine if any, and what gets it."""
    if part.path is not None:
        return str(folder / part.path), folder / part.path, f"fcbench make-stack {folder.name}"
    place = part.hub or str((part.model_extra or {}).get("place", ""))
    if part.hub is None and (place.startswith(("/", ".")) or ("/" in place and Path(place).exists())):
        return place, Path(place), "correct its path"
    if "/" in place:
        return place, _snapshot(place, part), download_command(place, part.revision, _patterns(part))
    if role == "facenet":
        if not (_package("facenet_pytorch") and _package("torchvision")):
            return "facenet_pytorch", None, INSTALL
        return WEIGHTS, weights_file(), download(weights_file())
    if role == "faces":
        return place, pack_of(part), f"insightface-cli model.download {place}"
    return place, _package(place), f"python -m spacy download {place}"


def pack_of(part: RoleSpec) -> Path | None:
    """Where insightface keeps the pack of faces that a role names; None for a role that names none."""
    place = str((part.model_extra or {}).get("place", ""))
    return PACKS.expanduser() / place if place and part.class_.endswith(".load_faces") else None


def _snapshot(hub: str, part: RoleSpec) -> Path | None:
    """Where the cache has the revision and subfolder that a role asks for; None where it knows no such branch."""
    cached = Path(HF_HUB_CACHE) / f"models--{hub.replace('/', '--')}"
    revision = part.revision or "main"
    try:
        commit = revision if is_commit(revision) else (cached / "refs" / revision).read_text().strip()
    except OSError:
        return None
    return cached / "snapshots" / commit / (part.subfolder or "")


def _variant(part: RoleSpec) -> str:
    return str((part.model_extra or {}).get("variant", ""))


def _patterns(part: RoleSpec) -> list[str]:
    """Which files of a hub id a role reads; all where that is not known."""
    try:
        return patterns_of(find_class(part.class_), part.subfolder, variant=_variant(part)) if part.hub else []
    except MissingError:
        return []


def _is_whole(here: Path, part: RoleSpec) -> bool:
    try:
        return not lacking(here, find_class(part.class_), variant=_variant(part))
    except MissingError:  # it is the class's package that is not here
        return True


def _package(name: str) -> Path | None:
    found = find_spec(name) if name.isidentifier() else None
    return Path(found.origin).parent if found is not None and found.origin else None


def _bytes(place: Path) -> int:
    files = place.rglob("*") if place.is_dir() else [place]
    return sum(file.stat().st_size for file in files if file.is_file())
