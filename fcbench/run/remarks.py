"""What of a suite may not be as it is meant, and keeps nothing from being run: ``suite check`` tells it."""

from __future__ import annotations

from collections.abc import Iterator

from fcbench.config import FolderPeople, Suite
from fcbench.errors import FcbenchError
from fcbench.images import left_aside
from fcbench.types import subject_phrase


def remarks(suite: Suite) -> list[str]:
    """Photos that are not read, and prompts that the text encoder sees the beginning of, a line each."""
    if not isinstance(suite.subjects, FolderPeople):
        return []
    return [*_aside(suite.subjects), *_cut(suite, list(suite.subjects.nouns.values()))]


def _aside(people: FolderPeople) -> Iterator[str]:
    for folder in (people.path / name for name in people.nouns):
        if folder.is_dir() and (told := left_aside(folder.iterdir())):
            yield f"{folder}: {told}"


def _cut(suite: Suite, nouns: list[str]) -> Iterator[str]:
    """The prompts that have more tokens than the stack's text encoder reads, filled with the longest class words."""
    phrase = subject_phrase(sorted(nouns, key=len)[-suite.group :])
    filled = {prompt.id: prompt.fill(phrase) for prompt in suite.prompts}
    # A token is a byte at least: where there are few, no tokenizer is loaded, which takes seconds.
    long = {name: text for name, text in filled.items() if len(text.encode()) > 75}
    if not long:
        return
    from fcbench.stacks import load_stack

    try:
        tokenizer = load_stack(suite.stack, random_weights=True).role("tokenizer")
    except FcbenchError:
        return
    most = tokenizer.model_max_length
    for name, text in long.items():
        if (count := len(tokenizer(text).input_ids)) > most:
            yield f"prompt {name!r} has {count} tokens, start and end counted: what is beyond {most} is not drawn"
