"""What in a suite may not be as meant, but does not keep it from being run: ``suite check`` tells it."""

from __future__ import annotations

from collections.abc import Iterator

from fcbench import plugins
from fcbench.config import FolderPeople, Suite
from fcbench.errors import FcbenchError
from fcbench.images import left_aside
from fcbench.run.cases import photos_in
from fcbench.types import subject_phrase


def remarks(suite: Suite) -> list[str]:
    """A line each: options that nothing takes, photos not read, references with no face or several, prompts cut off."""
    told = list(_untaken(suite))
    if not isinstance(suite.subjects, FolderPeople):
        return told
    people = suite.subjects
    return [*told, *_aside(people), *_faces(suite, people), *_cut(suite, list(people.nouns.values()))]


def _untaken(suite: Suite) -> Iterator[str]:
    """Options of methods that are not installed, or that the method does not have."""
    for method in suite.options:
        try:
            plugins.load("methods", method, suite.options_of(method, {}))
        except FcbenchError as error:
            yield f"options of {method}: {error}"


def _aside(people: FolderPeople) -> Iterator[str]:
    for folder in (people.path / name for name in people.nouns):
        if folder.is_dir() and (told := left_aside(folder.iterdir())):
            yield f"{folder}: {told}"


def _faces(suite: Suite, people: FolderPeople) -> Iterator[str]:
    """References in which the stack's detector sees nobody, or more than one; or why it did not look."""
    from fcbench.metrics.faces import find_faces
    from fcbench.stacks import load_stack

    references = [photos[0] for name in people.nouns if (photos := photos_in(people.path / name))]
    if not references:
        return
    try:
        found = find_faces(load_stack(suite.stack, device="cpu").role("faces"), references)
    except FcbenchError as error:
        yield f"nobody looked whether the references show a face: {error}"
        return
    for photo, faces in zip(references, found, strict=True):
        if not len(faces):
            yield f"{photo}: no face is found in the reference photo; identity will not be scored"
        elif len(faces) > 1:
            yield f"{photo}: {len(faces)} faces in the reference photo; the largest is taken for the person's"


def _cut(suite: Suite, nouns: list[str]) -> Iterator[str]:
    """The prompts that have more tokens than the stack's text encoder reads, filled with the longest class words."""
    phrase = subject_phrase(sorted(nouns, key=len)[-suite.group :])
    filled = {prompt.id: prompt.fill(phrase) for prompt in suite.prompts}
    # A token is at least a byte: for short prompts no tokenizer is loaded, which takes seconds.
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
