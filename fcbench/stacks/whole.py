"""Whether a folder holds all that a class or callable reads: a cache may hold a part of a repository.

A library does not always say so: without its vocabulary a tokenizer of transformers loads with two tokens, and a model
without some of its weights fills them at random.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

_WITH_WORDS = ("clip.load_clip", "captioner.load_blip", "sentences.load_sentences", "grounding.load_grounding_dino")
"""Callables of ours that read a tokenizer beside the weights."""
_WITH_PICTURES = (
    "captioner.load_blip",
    "mask2former.load_mask2former",
    "grounding.load_grounding_dino",
    "sam.load_sam",
)
"""Those that read how pictures are prepared."""

_VOCABULARIES: tuple[tuple[str, ...], ...] = (("tokenizer.json",), ("vocab.json", "merges.txt"), ("vocab.txt",))


def lacking(folder: Path, thing: Any, *, weights: bool = True, variant: str = "") -> str:
    """What ``thing`` needs and the folder lacks, in words; empty if the folder is whole.

    Without ``weights`` a model's configuration is enough. ``variant``: of the weights, such as ``fp16``.
    """
    if hasattr(thing, "from_pretrained") and not is_model(thing):
        if is_tokenizer(thing):
            return lacking_vocabulary(folder, thing)
        return "" if any(folder.glob("*.json")) else "its configuration, *.json"
    if not (folder / "config.json").is_file():
        return "config.json"
    if not weights:
        return ""
    name = f"{thing.__module__}.{thing.__name__}".removeprefix("fcbench.stacks.")
    return (
        _lacking_weights(folder, *files_of(thing, variant))
        or (lacking_vocabulary(folder) if name in _WITH_WORDS else "")
        or (_lacking_preparation(folder) if name in _WITH_PICTURES else "")
    )


def lacking_vocabulary(folder: Path, tokenizer: Any = None) -> str:
    """Which vocabulary files are wanted, in words, if a folder has none that ``tokenizer`` (None: any class) reads."""
    named = getattr(tokenizer, "vocab_files_names", {})
    own: tuple[str, ...] = tuple(file for name, file in named.items() if name != "tokenizer_file")
    known: tuple[tuple[str, ...], ...] = (("tokenizer.json",), own) if own else _VOCABULARIES
    if any(all((folder / file).is_file() for file in files) for files in known):
        return ""
    return f"a vocabulary: {', or '.join(' with '.join(files) for files in known)}"


def _lacking_preparation(folder: Path) -> str:
    names = ("preprocessor_config.json", "processor_config.json")
    return "" if any((folder / name).is_file() for name in names) else names[0]


def is_model(thing: Any) -> bool:
    """Whether it is a library's class of models with weights."""
    return hasattr(thing, "from_pretrained") and hasattr(thing, "state_dict")


def is_tokenizer(thing: Any) -> bool:
    """Whether it is a library's class of tokenizers."""
    return hasattr(thing, "vocab_files_names")


def files_of(thing: Any, variant: str = "") -> tuple[str, str]:
    """The names that a library gives a model's weights in one file, and the index of weights in several."""
    name = "diffusion_pytorch_model" if thing.__module__.startswith("diffusers") else "model"
    of = f".{variant}" if variant else ""
    return f"{name}{of}.safetensors", f"{name}.safetensors.index{of}.json"


def _lacking_weights(folder: Path, name: str, index: str) -> str:
    """The file of weights that is absent: the only one, or the first of those that an index names."""
    if (folder / name).is_file() or not (folder / index).is_file():
        return "" if (folder / name).is_file() else name
    try:
        parts: list[str] = sorted(set(json.loads((folder / index).read_bytes())["weight_map"].values()))
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return f"an index that can be read: {index}"
    absent = [part for part in parts if not (folder / part).is_file()]
    return absent[0] if absent else ""
