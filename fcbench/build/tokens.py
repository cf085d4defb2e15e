"""The tokenizer that a dataset's captions are counted with."""

from __future__ import annotations

from typing import Any

from fcbench.errors import UsageError
from fcbench.files import read_json
from fcbench.stacks import load_stack, names
from fcbench.store import DataFolder

ELSEWHERE = "sd15"
"""The stack whose tokenizer counts for a dataset that does not say what made it: captions of people are for CLIP."""


def tokenizer_of(folder: DataFolder, stack: str | None = None) -> Any:
    """The tokenizer of ``stack``, else of the stack that made the dataset. No weights are loaded.

    UsageError where that is a user's own stack, known only by its file.
    """
    made_by = str(read_json(folder.recipe)["stack"]) if folder.recipe.exists() else ELSEWHERE
    if stack is None and made_by not in names():
        raise UsageError(f"{folder.path} was made with the stack {made_by!r}: name its file with --stack")
    return load_stack(stack or made_by, random_weights=True).role("tokenizer")
