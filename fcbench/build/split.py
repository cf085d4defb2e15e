"""Train, validation and test, so that nobody is in two of them: our own, or as the source has them."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Collection, Mapping, Sequence

SPLITS = ("train", "validation", "test")
TOGETHER = {"author": "an author's photos", "alike": "photos that look alike (`phash`)"}
"""What may be kept in one split beside people and source photos, by what ``--together`` calls it."""
ALIKE = "\0alike "
"""Prefix of the name that joins photos which look alike; no person's name has it, and no group is named by it."""
HELD_OUT = 0.05
"""The share of the photos that validation and test each get, on average."""
MOST_TEST = 1000
"""How many photos test takes from a source's own validation, at most."""


def split(photos: Mapping[str, Collection[str]]) -> dict[str, str]:
    """The split of each photo, given by its id with the people in it; photos that share a person stay together.

    A group goes where a hash of its name says, whatever else is there: photos that come or go move no others, unless
    they change who is together. Two exceptions: a group of more than half of the photos goes to train; and with three
    groups or more no split is empty, which for few groups takes a forced choice, made anew when groups are added.
    """
    groups = _groups(photos)
    if len(groups) < 3:
        return dict.fromkeys(photos, "train")
    half = len(photos) / 2
    chosen = {name: _by_place(name) if len(group) <= half else "train" for name, group in groups.items()}
    for empty in [name for name in SPLITS if name not in chosen.values()]:
        chosen[_spare(groups, chosen, from_below=empty == "test")] = empty
    found = {photo: chosen[name] for name, group in groups.items() for photo in group}
    return {photo: found[photo] for photo in photos}


def _spare(groups: Mapping[str, Sequence[str]], chosen: Mapping[str, str], *, from_below: bool) -> str:
    """A group to fill an empty split with, from a split with others: no larger than a split should be, or the smallest.

    Of several the one at the lowest place or, so that two choices do not clash, at the highest.
    """
    counts = Counter(chosen.values())
    most = max(1, round(HELD_OUT * sum(map(len, groups.values()))))

    def order(name: str) -> tuple[bool, int, float]:
        size = len(groups[name])
        return counts[chosen[name]] < 2, size if size > most else 0, _place(name) if from_below else -_place(name)

    return min(groups, key=order)


def _by_place(name: str) -> str:
    return "test" if _place(name) < HELD_OUT else "validation" if _place(name) < 2 * HELD_OUT else "train"


def _place(name: str) -> float:
    """A number in [0, 1) that depends on the name alone."""
    return int.from_bytes(hashlib.sha256(name.encode("utf-8", "surrogatepass")).digest()[:8], "big") / 2**64


def split_as_listed(photos: Mapping[str, Collection[str]], listed: Mapping[str, str]) -> dict[str, str]:
    """The split of each photo where the source has train and validation; ``photos`` as for :func:`split`.

    Photos that share a person stay together: in validation where the source has any of them outside train, whatever it
    calls that, so that training sees none of them. Test is a tenth of validation, at most ``MOST_TEST`` photos, chosen
    in the order of a hash.
    """
    groups = _groups(photos)
    held = {name for name, group in groups.items() if any(listed[photo] != "train" for photo in group)}
    found = {photo: "validation" if name in held else "train" for name, group in groups.items() for photo in group}
    left = min(MOST_TEST, sum(len(groups[name]) for name in held) // 10)
    for name in sorted(held, key=lambda name: _place(groups[name][0])):
        if len(groups[name]) <= left:
            left -= len(groups[name])
            found.update(dict.fromkeys(groups[name], "test"))
    return {photo: found[photo] for photo in photos}


def _groups(photos: Mapping[str, Collection[str]]) -> dict[str, list[str]]:
    """Photos joined by the people in them; a group is named by its alphabetically first person, else first photo."""
    parents: dict[str, str] = {}

    def find(name: str) -> str:
        while parents.setdefault(name, name) != name:
            parents[name] = name = parents[parents[name]]
        return name

    for photo, people in photos.items():
        for person in people:
            parents[find(f"person {person}")] = find(f"photo {photo}")
    roots: dict[str, list[str]] = {}
    for photo in photos:
        roots.setdefault(find(f"photo {photo}"), []).append(photo)
    found = {}
    for group in roots.values():
        people = {person for photo in group for person in photos[photo] if not person.startswith(ALIKE)}
        found[f"person {min(people)}" if people else f"photo {min(group)}"] = group
    return found
