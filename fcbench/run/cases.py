"""What a suite asks for: its subjects with their photos, its cases, and the batches they are drawn in.

All of it is a function of the suite alone, so a run that was killed continues to the same pictures.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from itertools import combinations, product
from math import comb
from pathlib import Path

from fcbench import store
from fcbench.config import FolderPeople, Suite, WorldPeople
from fcbench.errors import DataError, UsageError
from fcbench.files import digest_file, digest_json, write_image
from fcbench.images import FORMATS, left_aside
from fcbench.types import Case, Subject

BATCH_SIZE = 16
"""Cases of one group that are drawn in one call."""


@dataclass(frozen=True)
class Group:
    """The subjects that share a picture, and all their cases: a method is fitted once for them."""

    subjects: tuple[Subject, ...]
    cases: tuple[Case, ...]

    @property
    def id(self) -> str:
        """The subjects' ids, in order: ``ann+bo``."""
        return "+".join(subject.id for subject in self.subjects)

    @property
    def batches(self) -> list[tuple[Case, ...]]:
        """The cases in the fixed parts that are drawn, and drawn again, together."""
        return [self.cases[start : start + BATCH_SIZE] for start in range(0, len(self.cases), BATCH_SIZE)]


def subjects_of(suite: Suite, out: Path) -> list[Subject]:
    """The suite's subjects; photos of the miniature world are drawn under ``out`` unless they are there.

    Raises DataError for a subject's folder that is missing or empty, and for a broken photo.
    """
    people = suite.subjects
    if isinstance(people, WorldPeople):
        numbers = range(people.first, people.first + people.count)
        return [_from_world(number, people.photos, suite.name, out) for number in numbers]
    return [_from_folder(people, name) for name in people.nouns]


def cases_of(suite: Suite, subjects: Sequence[Subject]) -> list[Case]:
    """Groups x prompts x seeds, in that order."""
    return [case for group in groups_of(suite, subjects) for case in group.cases]


def groups_of(suite: Suite, subjects: Sequence[Subject]) -> list[Group]:
    """The suite's groups in the order they are drawn: every subject alone, or balanced groups of two or three."""
    chosen = [tuple(subjects[i] for i in group) for group in balanced(len(subjects), suite.group, suite.groups)]
    settings = list(product(suite.prompts, suite.seeds))
    return [Group(group, tuple(Case(group, prompt, seed) for prompt, seed in settings)) for group in chosen]


def balanced(count: int, size: int, wanted: int) -> list[tuple[int, ...]]:
    """``wanted`` different groups of ``size`` out of ``count``, each member in about equally many.

    Greedy: always the member used least; among equals, the one least often met by those already in the group; then
    the next in the circle. Raises UsageError where there are not that many groups.

    >>> balanced(5, 2, 5)
    [(0, 1), (2, 3), (4, 0), (1, 2), (3, 4)]
    """
    if wanted > comb(count, size):
        raise UsageError(f"{count} subjects make {comb(count, size)} groups of {size}, not {wanted}")
    uses: Counter[int] = Counter()
    met: Counter[frozenset[int]] = Counter()
    made: dict[frozenset[int], tuple[int, ...]] = {}
    while len(made) < wanted:
        group = _next_group(count, size, uses, met, made.keys())
        made[frozenset(group)] = group
        uses.update(group)
        met.update(map(frozenset, combinations(group, 2)))
    return list(made.values())


def case_seed(case: Case) -> int:
    """The seed of a case's noise, in [0, 2**63): the same for every method, different for every case.

    A stable hash of the subjects' ids, the prompt's id and the suite's seed.
    """
    return _hash([[subject.id for subject in case.subjects], case.prompt.id, case.seed])


def fit_seed(group: Group) -> int:
    """The seed of a group's fit, in [0, 2**63)."""
    return _hash(["fit", group.id])


def suite_digest(suite: Suite, subjects: Sequence[Subject]) -> str:
    """Sha256 over the suite and the bytes of its photos, wherever they lie; a run records options and stack itself."""
    plain = suite.model_dump(mode="json", exclude={"stack": True, "options": True, "note": True, "subjects": {"path"}})
    if suite.trios is None:  # the key came later: suites without it stay what they were
        del plain["trios"]
    return digest_json([plain, [[s.id, s.noun, [digest_file(p) for p in s.images]] for s in subjects]])


def photo_digests(subjects: Sequence[Subject]) -> dict[str, list[str]]:
    """Subject -> sha256 of each photo: a run's pictures are judged by the photos that they were drawn from."""
    return {subject.id: [digest_file(photo) for photo in subject.images] for subject in subjects}


def subject_groups(suite: Suite, subjects: Sequence[Subject]) -> dict[str, dict[str, str]]:
    """What each subject's figures can be broken down by: the class word, and in the world the skin tone in a word."""
    groups = {subject.id: {"noun": subject.noun} for subject in subjects}
    if isinstance(suite.subjects, WorldPeople):
        from fcbench.world import draw_person

        for number, subject in enumerate(subjects, suite.subjects.first):
            groups[subject.id]["skin"] = draw_person(number).skin_word
    return groups


def _hash(value: object) -> int:
    return int.from_bytes(hashlib.sha256(json.dumps(value).encode()).digest()[:8], "big") >> 1


def _next_group(
    count: int, size: int, uses: Counter[int], met: Counter[frozenset[int]], made: Collection[frozenset[int]]
) -> tuple[int, ...]:
    def extend(group: tuple[int, ...]) -> tuple[int, ...] | None:
        def preference(member: int) -> tuple[int, int, int]:
            last = group[-1] if group else len(made) * size // count
            return uses[member], sum(met[frozenset((member, other))] for other in group), (member - last) % count

        if len(group) == size:
            return None if frozenset(group) in made else group
        members = sorted(set(range(count)) - set(group), key=preference)
        return next((found for member in members if (found := extend((*group, member)))), None)

    group = extend(())
    assert group is not None, "balanced() has checked that a group is left"
    return group


def _from_world(number: int, views: int, suite: str, out: Path) -> Subject:
    from fcbench import world

    person = world.draw_person(number)
    folder = store.subject_folder(out, suite, person.id).resolve()
    photos = tuple(folder / f"{view}.png" for view in range(views))
    for view, photo in enumerate(photos):
        if not photo.exists():
            scene = world.snapshot(person, view) if view else world.portrait(person, view)
            write_image(photo, world.render(scene).image)
    return Subject(person.id, person.noun, photos)


def _from_folder(people: FolderPeople, name: str) -> Subject:
    from fcbench.images import read_image

    folder = (people.path / name).resolve()
    if not folder.is_dir():
        raise DataError(f"{folder}: no such folder; nouns: in the suite names it")
    photos = tuple(photos_in(folder))
    if not photos:
        told = left_aside(folder.iterdir())
        raise DataError(f"{folder}: no photo in it ({', '.join(sorted(FORMATS))}){told and '; ' + told}")
    for photo in photos:
        read_image(photo)
    return Subject(name, people.nouns[name], photos)


def photos_in(folder: Path) -> list[Path]:
    """The photos in a subject's folder, by their names, the reference first; none where there is no such folder."""
    files = folder.iterdir() if folder.is_dir() else ()
    return sorted(path for path in files if path.suffix.lower() in FORMATS and not path.name.startswith("."))
