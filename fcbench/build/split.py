"""Train, validation and test, so that nobody is in two of them: our own, or as the source has them."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Mapping

SPLITS = ("train", "validation", "test")
TOGETHER = {"author": "an author's photos", "alike": "photos that look alike (`phash`)"}
"""What may be kept in one split beside people and source photos, by what ``--together`` calls it."""
HELD_OUT = 0.05
"""The share of the photos that validation gets, and test."""


def split(photos: Mapping[str, Collection[str]]) -> dict[str, str]:
    """The split of each photo, given by its id with the people in it; photos that share a person stay together.

    The groups are taken in the order of a hash of their names, each to where it still fits; when there are three, test
    and validation get at least the smallest, and never the largest.
    """
    groups = _groups(photos)
    order = sorted(groups, key=lambda name: hashlib.sha256(name.encode()).digest())
    order.remove(max(order, key=lambda name: len(groups[name])))
    found = dict.fromkeys(photos, "train")
    quota = max(1, round(HELD_OUT * len(photos)))
    filled = dict.fromkeys(SPLITS, 0)
    wanted = ("test", "validation") if len(groups) >= 3 else ()
    for group in order:
        size = len(groups[group])
        chosen = next((s for s in wanted if filled[s] + size <= quota), "train")
        filled[chosen] += size
        found.update(dict.fromkeys(groups[group], chosen))
    for empty in [s for s in wanted if not filled[s]]:
        spare = [group for group in order if found[group] == "train"] or order  # else all small ones fitted the other
        found.update(dict.fromkeys(groups[min(spare, key=lambda group: len(groups[group]))], empty))
    return found


MOST_TEST = 1000


def split_as_listed(photos: Mapping[str, Collection[str]], listed: Mapping[str, str]) -> dict[str, str]:
    """The split of each photo where the source has train and validation, given as those of :func:`split`.

    Photos that share a person stay together: in validation where the source has any of them elsewhere than in train,
    whatever it calls that, so that training sees none. Test is a tenth of validation, at most ``MOST_TEST`` photos, in
    the order of a hash.
    """
    groups = _groups(photos)
    held = {name for name, group in groups.items() if any(listed[photo] != "train" for photo in group)}
    found = {photo: "validation" if name in held else "train" for name, group in groups.items() for photo in group}
    left = min(MOST_TEST, sum(len(groups[name]) for name in held) // 10)
    for name in sorted(held, key=lambda name: hashlib.sha256(name.encode()).digest()):
        if len(groups[name]) <= left:
            left -= len(groups[name])
            found.update(dict.fromkeys(groups[name], "test"))
    return {photo: found[photo] for photo in photos}


def _groups(photos: Mapping[str, Collection[str]]) -> dict[str, list[str]]:
    """Photos joined by the people in them, by the first photo's id; a photo of nobody known is a group."""
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
    return {group[0]: group for group in roots.values()}
