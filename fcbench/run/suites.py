"""The verb ``suite``: what a suite asks for, what its people lack, and a suite of one's own people."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

import yaml
from pydantic import Field

from fcbench.config import Closed, FolderPeople, Suite, load_yaml, names, validate
from fcbench.errors import DataError, UsageError
from fcbench.files import write_text
from fcbench.images import read_image
from fcbench.run.cases import cases_of, photos_in, subjects_of, suite_digest
from fcbench.run.remarks import remarks
from fcbench.types import PromptKind

ID = 60
"""How many characters of a prompt's words its id keeps; ids are parts of file names."""


class OwnPrompts(Closed):
    """What ``suite new`` reads: people by folder with their class words, and prompts by kind."""

    people: dict[str, str] = Field(min_length=1)
    prompts: dict[PromptKind, tuple[str, ...]] = Field(min_length=1)


def describe(suite: Suite, out: Path) -> str:
    """A suite in lines for a person: people, prompts by kind, cases, version, what is missing, and remarks."""
    missing = missing_people(suite)
    subjects = [] if missing else subjects_of(suite, out)
    kinds = Counter(prompt.kind for prompt in suite.prompts)
    people = suite.subjects
    words = list(people.nouns.values()) if isinstance(people, FolderPeople) else [s.noun for s in subjects]
    nouns = Counter(words)
    lines = [
        f"{suite.name}: {_count(suite.groups, ('subject', 'pair', 'trio')[suite.group - 1])}"
        f" x {_count(len(suite.prompts), 'prompt')} x {_count(len(suite.seeds), 'seed')}"
        f" = {suite.groups * len(suite.prompts) * len(suite.seeds)} cases, stack {suite.stack}",
        f"version   {suite_digest(suite, subjects)[:12] if subjects else 'known when its people are there'}",
        f"people    {', '.join(f'{count} {noun}' for noun, count in sorted(nouns.items()))}"
        + (f" in {people.path}" if isinstance(people, FolderPeople) else ", drawn by the world"),
        f"prompts   {', '.join(f'{count} {kind}' for kind, count in sorted(kinds.items()))}",
    ]
    lines += [f"  {prompt.kind:10}{prompt.id:32}{prompt.text}" for prompt in suite.prompts]
    lines += [f"missing   {line}" for line in missing] + [f"note      {line}" for line in remarks(suite)]
    return "\n".join(lines)


def case_table(suite: Suite, out: Path) -> str:
    """All cases as CSV: the name that a picture must have, the words, the seed, and all that it is drawn from.

    ``subjects``, ``nouns`` and ``photos`` are JSON lists in the order of the words; ``photos`` has a list of paths for
    each subject, the reference first. ``template`` is the prompt with its slot.
    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["case", "prompt", "kind", "seed", "references", "subjects", "nouns", "template", "photos"])
    for case in cases_of(suite, subjects_of(suite, out)):
        references = " ".join(str(subject.reference) for subject in case.subjects)
        photos = _cell([[str(photo) for photo in subject.images] for subject in case.subjects])
        people = [_cell([subject.id for subject in case.subjects]), _cell([subject.noun for subject in case.subjects])]
        shown = [case.id, case.text, case.prompt.kind, case.seed, references]
        writer.writerow([*shown, *people, case.prompt.text, photos])
    return text.getvalue().rstrip("\n")


def missing_people(suite: Suite) -> list[str]:
    """Everything that keeps a suite of photographed people from being run, a line each; empty if nothing does."""
    return list(_faults(suite.subjects)) if isinstance(suite.subjects, FolderPeople) else []


def new_suite(
    name: str, people: Path, prompts: Path, *, stack: str, pairs: int = 0, seeds: int = 1, folder: Path = Path()
) -> Path:
    """Write ``folder/NAME.yaml``: the people photographed in ``people`` with the prompts in a YAML file.

    Raises UsageError if the file is there and says something else (a suite is never edited), if a suite that ships
    has the name, or if a prompt is there twice; DataError if people or photos are missing.
    """
    own = load_yaml(prompts, OwnPrompts)
    if name in names("suites"):
        raise UsageError(f"{name}: a suite that ships is called so; choose another name")
    texts = [(kind, text) for kind, texts in own.prompts.items() for text in texts]
    if twice := [text for text, count in Counter(text for _, text in texts).items() if count > 1]:
        raise UsageError(f"{prompts}: the prompt {twice[0]!r} is there twice")
    ids = _ids_of([text for _, text in texts])
    data = {
        "name": name,
        "stack": stack,
        "subjects": {"source": "folder", "path": str(people.resolve()), "nouns": own.people},
        "group": 2 if pairs else 1,
        **({"pairs": pairs} if pairs else {}),
        "prompts": [{"id": found, "kind": kind, "text": text} for found, (kind, text) in zip(ids, texts, strict=True)],
        "seeds": list(range(seeds)),
    }
    path = folder / f"{name}.yaml"
    suite = validate(data, Suite, path)
    if faults := missing_people(suite):
        raise DataError("; ".join(faults))
    written = yaml.safe_dump(data, sort_keys=False, allow_unicode=True, width=120)
    if path.exists() and path.read_text(encoding="utf-8") != written:
        raise UsageError(f"{path} is there and differs: a suite is never edited; choose another name")
    write_text(path, written)
    return path


def _faults(people: FolderPeople) -> Iterator[str]:
    if not people.path.is_dir():
        wanted = ", ".join(list(people.nouns)[:3])
        yield f"{people.path}: no such folder; in it one folder a person ({wanted}, ...), the reference photo first"
        return
    for name in people.nouns:
        folder = people.path / name
        photos = photos_in(folder)
        if not photos:
            yield f"{folder}: {'no photo in it' if folder.is_dir() else 'no such folder'}"
        for photo in photos:
            try:
                read_image(photo)
            except DataError as error:
                yield str(error)


def _cell(value: list[str] | list[list[str]]) -> str:
    return json.dumps(value, ensure_ascii=False)


def _ids_of(texts: Sequence[str]) -> list[str]:
    """The prompts' ids, with a digest where several differ only in letters beyond a to z, signs or the slot.

    >>> _ids_of(["{} in the snow", "in the snow, {}", "{} at home"])
    ['in-the-snow-0aea8e4c', 'in-the-snow-3938c9b9', 'at-home']
    """
    ids = [_id_of(text) for text in texts]
    shared = {found for found, count in Counter(ids).items() if count > 1}
    return [f"{found}-{_digest(text)}" if found in shared else found for found, text in zip(ids, texts, strict=True)]


def _id_of(text: str) -> str:
    """A prompt's id from its words in a to z and 0 to 9; with a digest if there are none, or over ``ID`` characters.

    >>> _id_of("a photo of {} in the Snow!"), _id_of("{} в снегу")
    ('a-photo-of-in-the-snow', 'prompt-9f7e7340')
    """
    words = "-".join(re.findall(r"[a-z0-9]+", text.replace("{}", " ").lower()))
    if words and len(words) <= ID:
        return words
    return f"{words[:ID].strip('-') or 'prompt'}-{_digest(text)}"


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:8]


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"
