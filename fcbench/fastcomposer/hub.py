"""Checkpoints on the Hugging Face hub: ``owner/name`` or ``owner/name@revision``."""

from __future__ import annotations

import re
from pathlib import Path

from fcbench.errors import MissingError
from fcbench.weights import hub_errors, is_commit, why_not_fetched

_ID = re.compile(r"[\w.-]+/[\w.-]+(@[\w./-]+)?")
_FILES = ["fastcomposer.json", "fusion.safetensors", "frozen.safetensors", "unet/*", "image_encoder/*"]


def is_hub_id(place: str) -> bool:
    """Whether a place names a repository on the hub: it looks like one, and no file or folder has its name.

    >>> [is_hub_id(place) for place in ("owner/name", "owner/name@v1", "out/checkpoints/mine", "/name")]
    [True, True, False, False]
    """
    return _ID.fullmatch(place) is not None and not Path(place).exists()


def pin(place: str) -> str:
    """``owner/name`` as ``owner/name@commit``: what the hub says now, else what was fetched last.

    What is no hub id, or a hub id of which nothing is known, comes back unchanged.
    """
    if not is_hub_id(place):
        return place
    name, revision = _split(place)
    if is_commit(revision):
        return place
    commit = _online(name, revision) or _cached(name, revision)
    return f"{name}@{commit}" if commit else place


def is_branch_of(noted: str, place: str) -> bool:
    """Whether ``place`` is a hub id without a revision, and ``noted`` a commit of that repository.

    >>> is_branch_of("owner/name@" + "a" * 40, "owner/name"), is_branch_of("owner/name@" + "a" * 40, "owner/name@v1")
    (True, False)
    """
    name, _, commit = noted.partition("@")
    return is_hub_id(place) and place == name and is_commit(commit)


def fetch(place: str, file: str) -> Path:
    """The local folder of a hub id with our folder's files or ``file`` in it, fetched now if there is a network.

    MissingError says why there is none, and the command that fetches it elsewhere.
    """
    from huggingface_hub import snapshot_download

    name, revision = _split(place)
    try:
        folder = Path(snapshot_download(name, revision=revision, allow_patterns=[file, *_FILES]))
        if any((folder / known).is_file() for known in (file, "fastcomposer.json")):
            return folder
        raise FileNotFoundError(f"{folder}: neither {file} nor fastcomposer.json there")
    except hub_errors() as error:
        pinned = "" if revision == "main" else f" --revision {revision}"
        raise MissingError(
            f"{place}: no such file or folder, and no FastComposer checkpoint in the Hugging Face cache or within "
            f"reach ({why_not_fetched(error)}); where there is a network: hf download {name}{pinned}"
        ) from error


def _split(place: str) -> tuple[str, str]:
    name, _, revision = place.partition("@")
    return name, revision or "main"


def _online(name: str, revision: str) -> str | None:
    """The commit that the hub names, noted in the cache too: what is fetched by commit leaves no branch there."""
    from huggingface_hub import HfApi

    try:
        HfApi().model_info(name, revision=revision, timeout=10)  # resolving would wait for ever on a dead network
        return HfApi().resolve_revision(name, revision=revision).resolved
    except hub_errors():
        return None  # the cache may still know


def _cached(name: str, revision: str) -> str | None:
    """The commit that the cache has for a branch or tag; its snapshot may hold only some of the repository's files."""
    from huggingface_hub import HfApi

    try:
        return HfApi().resolve_revision(name, revision=revision, local_files_only=True).resolved
    except hub_errors():
        return None
