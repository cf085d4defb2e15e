"""What a stack names for a role, and whether it is on this machine: in a folder, in a cache, or installed."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated

from huggingface_hub.constants import HF_HUB_CACHE
from pydantic import ConfigDict, Field

from fcbench.config import Closed
from fcbench.stacks.facenet import INSTALL
from fcbench.stacks.faces import PACKS


class RoleSpec(Closed):
    """Where a role's model comes from; keys beyond these are arguments of ``class``."""

    model_config = ConfigDict(extra="allow", frozen=True, populate_by_name=True)

    class_: Annotated[str, Field(alias="class")]
    path: Path | None = None
    hub: str | None = None
    revision: str | None = None
    subfolder: str | None = None


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
    there = here is not None and here.exists()
    return RoleFacts(place, part.class_, _bytes(here) if here and there else None, "" if there or not place else mend)


def _find(role: str, part: RoleSpec, folder: Path) -> tuple[str, Path | None, str]:
    """A role's place by name, where it is on this machine if it is, and what gets it."""
    if part.path is not None:
        return str(folder / part.path), folder / part.path, f"fcbench make-stack {folder.name}"
    place = part.hub or str((part.model_extra or {}).get("place", ""))
    if "/" in place:
        pinned = f" --revision {part.revision}" if part.revision else ""
        cached = Path(HF_HUB_CACHE) / f"models--{place.replace('/', '--')}" / "snapshots"
        return place, cached, f"hf download {place}{pinned}"
    if role == "facenet":
        return "facenet_pytorch", _package("facenet_pytorch"), INSTALL
    if role == "faces":
        return place, PACKS.expanduser() / place, f"insightface-cli model.download {place}"
    return place, _package(place), f"python -m spacy download {place}"


def _package(name: str) -> Path | None:
    found = find_spec(name) if name.isidentifier() else None
    return Path(found.origin).parent if found is not None and found.origin else None


def _bytes(place: Path) -> int:
    files = place.rglob("*") if place.is_dir() else [place]
    return sum(file.stat().st_size for file in files if file.is_file())
