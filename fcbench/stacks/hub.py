"""Models of the Hugging Face hub: from its local cache if they are there, else over the network."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Any

from fcbench.errors import MissingError
from fcbench.stacks.whole import files_of, is_model, lacking
from fcbench.weights import hub_errors, why_not_fetched


def fetch(
    hub: str, revision: str | None, subfolder: str | None, thing: Any, *, weights: bool = True, variant: str = ""
) -> tuple[Path, str]:
    """The local folder that holds what the class or callable ``thing`` reads of a hub id, and its commit.

    Fetches only these files, and only if the cache lacks one; without ``weights`` the small ones; ``variant``: of the
    weights, such as ``fp16``. MissingError says why they cannot be had, and the command that fetches them.
    """
    from huggingface_hub import snapshot_download

    patterns = patterns_of(thing, subfolder, weights=weights, variant=variant)
    failure: Exception | None = None
    why = ""
    for local in (True, False):
        try:
            found = snapshot_download(hub, revision=revision, allow_patterns=patterns, local_files_only=local)
        except hub_errors() as error:
            failure, why = error, why_not_fetched(error)
            continue
        folder = Path(found) / (subfolder or "")
        if not (absent := lacking(folder, thing, weights=weights, variant=variant)):
            return folder, Path(found).name
        failure, why = None, f"{folder} lacks {absent}"
    raise MissingError(
        f"{hub}: not whole in the Hugging Face cache, and cannot be fetched ({why}); where there is a network: "
        f"{download_command(hub, revision, patterns)}"
    ) from failure


def commit_of(hub: str, revision: str | None) -> str:
    """The commit of a branch or tag: the cached one, else the hub's, cached now; its name where neither knows it."""
    from huggingface_hub import HfApi

    for local in (True, False):
        try:
            return HfApi().resolve_revision(hub, revision=revision, local_files_only=local).resolved
        except hub_errors():
            continue  # not cached; then no network, or no such repository: fetching it tells more
    return revision or "main"


def download_command(hub: str, revision: str | None, patterns: list[str]) -> str:
    """The shell command that puts these files of a hub id into the cache."""
    words = ["hf", "download", hub, *(["--revision", revision] if revision else [])]
    return shlex.join([*words, *(word for pattern in patterns for word in ("--include", pattern))])


def patterns_of(thing: Any, subfolder: str | None, *, weights: bool = True, variant: str = "") -> list[str]:
    """A model's configuration and safetensors, a tokenizer's or schedule's text files; for others both."""
    name, index = files_of(thing, variant)
    whole = [name, name.replace(".safetensors", "-0*.safetensors")]
    if is_model(thing):
        names = ["config.json", *([*whole, index] if weights else [])]
    else:
        names = ["*.json", "*.txt", *([] if hasattr(thing, "from_pretrained") else whole)]
    return [f"{subfolder}/{name}" if subfolder else name for name in names]
