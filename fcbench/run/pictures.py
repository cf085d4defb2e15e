"""Run folders of pictures that no method drew here: somebody else's, or photos. Their cost is unknown."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from fcbench import store
from fcbench.config import Suite
from fcbench.errors import UsageError, did_you_mean
from fcbench.files import atomic_folder, read_json, remove_temporaries, write_image, write_json
from fcbench.images import FORMATS, read_image
from fcbench.run.cases import cases_of, photo_digests, subject_groups, subjects_of, suite_digest
from fcbench.run.label import refuse_label
from fcbench.run.measure import MEASURED, versions
from fcbench.run.record import refuse_other_versions, where_stack
from fcbench.stacks import load_stack
from fcbench.types import Case, Generation, Image, Subject

OFFICIAL = re.compile(r"subject_(\d{4})_prompt_(\d{4})_instance_(\d{4})")
"""How the official evaluation of FastComposer names its pictures, people by ascending id."""


def adopt(
    suite: Suite,
    pictures: Path,
    *,
    out: Path,
    label: str,
    images_per_subject: int = 1,
    sees: Sequence[str] = (),
    note: str = "",
    stack_name: str | None = None,
) -> store.RunFolder:
    """Take over a folder of pictures, named by case, as a run of ``suite``; docs/pictures.md has the contract.

    ``sees`` is what their method used besides prompt and photos, ``note`` what else a reader should know,
    ``stack_name`` the stack that judges them, if it is not the suite's. A case without a picture becomes a failure.
    Raises UsageError for a label that cannot name a folder, for a picture that belongs to no case, or if the run
    there was made in another way; DataError for a picture that cannot be read.
    """
    refuse_label(label)
    subjects = subjects_of(suite, out)
    cases = cases_of(suite, subjects)
    if not pictures.is_dir():
        raise UsageError(f"{pictures}: no such folder of pictures")
    files = _by_case(pictures, suite, subjects, cases)

    def draw(case: Case) -> Image | str:
        return read_image(files[case.id]) if case.id in files else f"no picture in {pictures}"

    facts = {
        "images_per_subject": images_per_subject,
        "sees": list(sees),
        "note": note,
        "pictures": str(pictures.resolve()),
    }
    return write_run(suite, subjects, out=out, label=label, stack_name=stack_name, draw=draw, facts=facts)


def write_run(
    suite: Suite,
    subjects: Sequence[Subject],
    *,
    out: Path,
    label: str,
    stack_name: str | None,
    draw: Callable[[Case], Image | str],
    facts: Mapping[str, Any],
) -> store.RunFolder:
    """Commit what ``draw`` gives for every case, a picture or the reason why there is none; ``facts`` go on record.

    A run that is there is made anew, as pictures may have changed, and replaced whole: never half old, half new.
    """
    folder, cases = store.run_folder(out, suite.name, label), cases_of(suite, subjects)
    record = _record(suite, subjects, label, len(cases), stack_name or suite.stack) | dict(facts)
    refuse_other_versions(out, suite.name, record["suite_digest"])
    _refuse_another(folder, record)
    remove_temporaries(folder.path.parent, f".{label}.*.tmp")
    with atomic_folder(folder.path) as temporary:
        made = store.RunFolder(temporary)
        write_json(made.config, record)
        if (scores := folder.path / "scores").is_dir():  # they say which pictures they are of
            shutil.copytree(scores, temporary / "scores")
        for case in cases:
            picture = draw(case)
            if isinstance(picture, str):
                made.fail(case, picture)
                continue
            write_image(made.image(case.id), picture, flush=False)
            made.commit(Generation(case, made.image(case.id), 0.0, 0.0, 0, 0))
    return folder


def _refuse_another(folder: store.RunFolder, record: Mapping[str, Any]) -> None:
    """UsageError if what is there was drawn here, is no run, or only one of the two is a yardstick."""
    if not folder.config.exists():
        if folder.path.exists() and any(folder.path.iterdir()):
            raise UsageError(f"{folder.path}: there are files that are no run; move them, they would be in its way")
        return
    earlier = read_json(folder.config)
    if earlier.get("costs_measured", True):
        raise UsageError(f"{folder.path} was drawn by {earlier['method']}: give these pictures another --name")
    if bool(earlier.get("sanity")) != bool(record.get("sanity")):
        kinds = ("pictures made elsewhere", "a yardstick")[:: -1 if earlier.get("sanity") else 1]
        raise UsageError(f"{folder.path} holds {kinds[0]}, not {kinds[1]}: call the pictures otherwise with --name")


def _record(suite: Suite, subjects: Sequence[Subject], label: str, cases: int, stack_file: str) -> dict[str, Any]:
    """``run.json`` of pictures from elsewhere: what was not measured is null, and ``costs_measured`` says so.

    The stack is the one that judges: no stack drew them.
    """
    method, _, variant = label.partition("@")
    unknown = dict.fromkeys(("device", "memory_kind", "capabilities", *MEASURED))
    return {
        "method": method,
        "label": label,
        "variant": variant or None,
        "options": {},
        "suite": suite.name,
        "suite_file": suite.asked_as,
        "suite_digest": suite_digest(suite, subjects),
        "subject_groups": subject_groups(suite, subjects),
        "photos": photo_digests(subjects),
        "cases": cases,
        "stack": load_stack(stack_file).name,
        **where_stack(stack_file),
        "random_weights": False,
        "costs_measured": False,
        "versions": versions(),
        **unknown,
    }


def _by_case(folder: Path, suite: Suite, subjects: Sequence[Subject], cases: Sequence[Case]) -> dict[str, Path]:
    """The folder's pictures by the case that each is named after."""
    known = {case.id: case.id for case in cases} | _official_names(suite, subjects)
    files: dict[str, Path] = {}
    for path in sorted(path for path in folder.iterdir() if path.suffix.lower() in FORMATS):
        match = OFFICIAL.fullmatch(path.stem)
        name = match[0] if match else path.stem
        if name not in known:
            raise UsageError(f"{path}: no case of {suite.name} is called {name!r}: {did_you_mean(name, _few(known))}")
        if known[name] in files:
            raise UsageError(f"{path} and {files[known[name]]}: two pictures of one case")
        files[known[name]] = path
    if not files:
        raise UsageError(f"{folder}: no picture in it; they are named by case, as {cases[0].id}.png")
    return files


def _few(known: Mapping[str, str]) -> list[str]:
    """Names to suggest: all of a small suite, a sample of one with thousands."""
    names = list(known)
    return names[:: max(1, len(names) // 500)] if len(names) < 50_000 else names[:3]


def _official_names(suite: Suite, subjects: Sequence[Subject]) -> dict[str, str]:
    """Official name -> case id, for single subjects: only these does it number plainly."""
    if suite.group != 1:
        return {}
    people = sorted(subjects, key=lambda subject: subject.id)
    return {
        f"subject_{i:04d}_prompt_{j:04d}_instance_{k:04d}": Case((subject,), prompt, seed).id
        for i, subject in enumerate(people)
        for j, prompt in enumerate(suite.prompts)
        for k, seed in enumerate(suite.seeds)
    }
