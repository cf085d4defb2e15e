"""Models of the Hugging Face hub: out of its local cache where they are there, else over the network."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Any

from fcbench.errors import MissingError


def fetch(
    hub: str, revision: str | None, subfolder: str | None, thing: Any, *, weights: bool = True
) -> tuple[Path, str]:
    """The local folder that holds what the class or callable ``thing`` reads of a hub id, and the commit it is of.

    Fetches these files alone, and only where the cache lacks one; without ``weights`` what is small. MissingError names
    the command that fetches them.
    """
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HFValidationError, RevisionResolutionError

    patterns = _patterns(thing, subfolder, weights)
    failure: Exception | None = None
    for local in (True, False):
        try:
            found = snapshot_download(hub, revision=revision, allow_patterns=patterns, local_files_only=local)
        except (OSError, HFValidationError, RevisionResolutionError) as error:
            failure = error
            continue
        folder = Path(found) / (subfolder or "")
        if _is_whole(folder, thing, weights):
            return folder, Path(found).name
    raise MissingError(
        f"{hub}: not whole in the Hugging Face cache, and cannot be fetched; where there is a network: "
        f"{download_command(hub, revision, patterns)}"
    ) from failure


def commit_of(hub: str, revision: str | None) -> str:
    """The commit of a branch or tag: the cached one, else the hub's, cached now; its name where neither knows it."""
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HFValidationError, RevisionResolutionError

    for local in (True, False):
        try:
            return HfApi().resolve_revision(hub, revision=revision, local_files_only=local).resolved
        except (OSError, HFValidationError, RevisionResolutionError):
            continue  # not cached; then no network, or no such repository, of which fetching it tells more
    return revision or "main"


def download_command(hub: str, revision: str | None, patterns: list[str]) -> str:
    """The shell command that puts these files of a hub id into the cache."""
    words = ["hf", "download", hub, *(["--revision", revision] if revision else [])]
    return shlex.join([*words, *(word for pattern in patterns for word in ("--include", pattern))])


def _patterns(thing: Any, subfolder: str | None, weights: bool) -> list[str]:
    """Of a model its configuration and float32 safetensors, of a tokenizer or schedule its text files; else both."""
    names = []
    if _is_model(thing) and not weights:
        names += ["config.json"]
    elif _is_model(thing) or not hasattr(thing, "from_pretrained"):
        stem = _stem(thing)
        names += ["config.json", f"{stem}.safetensors", f"{stem}.safetensors.index.json", f"{stem}-0*.safetensors"]
    if not _is_model(thing):
        names += ["*.json", "*.txt"]
    return [f"{subfolder}/{name}" if subfolder else name for name in names]


def _is_whole(folder: Path, thing: Any, weights: bool) -> bool:
    """Whether what cannot be done without is there: the cache may hold a part of a repository."""
    if hasattr(thing, "from_pretrained") and not _is_model(thing):
        return any(folder.glob("*.json"))
    files = (folder / f"{_stem(thing)}.safetensors{end}" for end in ("", ".index.json"))
    return (folder / "config.json").is_file() and (not weights or any(file.is_file() for file in files))


def _is_model(thing: Any) -> bool:
    return hasattr(thing, "from_pretrained") and hasattr(thing, "state_dict")


def _stem(thing: Any) -> str:
    """The name of a library's weight files."""
    return "diffusion_pytorch_model" if thing.__module__.startswith("diffusers") else "model"
