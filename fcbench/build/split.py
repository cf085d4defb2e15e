"""Train, validation and test, so that nobody is in two of them."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

from fcbench.build.records import Photo

SPLITS = ("train", "validation", "test")
HELD_OUT = 0.05
"""The share of the photos that validation gets, and test."""


def split(photos: Sequence[Photo]) -> dict[str, list[Photo]]:
    """Photos by split, in their order; photos that share a person stay together.

    The groups are taken in the order of a hash of their names; test and validation get at least one each when there
    are three, and never the largest.
    """
    groups = _groups(photos)
    order = sorted(groups, key=lambda name: hashlib.sha256(name.encode()).digest())
    order.remove(largest := max(order, key=lambda name: len(groups[name])))
    names = {photo.id: "train" for photo in groups[largest]}
    quota = max(1, round(HELD_OUT * len(photos)))
    filled = dict.fromkeys(SPLITS, 0)
    for group in order:
        size = len(groups[group])
        wanted = ("test", "validation") if len(groups) >= 3 else ()
        chosen = next((s for s in wanted if not filled[s] or filled[s] + size <= quota), "train")
        filled[chosen] += size
        names.update((photo.id, chosen) for photo in groups[group])
    return {name: found for name in SPLITS if (found := [photo for photo in photos if names[photo.id] == name])}


def _groups(photos: Sequence[Photo]) -> dict[str, list[Photo]]:
    """Photos joined by the people in them, by the first photo's id; a photo of nobody known is a group."""
    parents: dict[str, str] = {}

    def find(name: str) -> str:
        while parents.setdefault(name, name) != name:
            parents[name] = name = parents[parents[name]]
        return name

    for photo in photos:
        for segment in photo.segments:
            if segment.person_id is not None:
                parents[find(f"person {segment.person_id}")] = find(f"photo {photo.id}")
    roots: dict[str, list[Photo]] = {}
    for photo in photos:
        roots.setdefault(find(f"photo {photo.id}"), []).append(photo)
    return {group[0].id: group for group in roots.values()}
