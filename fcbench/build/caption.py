"""A caption for each photo, from its sidecar."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace

from fcbench.build.records import Item, Photo, Reject, each


def caption(items: Iterable[Item]) -> Iterator[Item]:
    """Take each photo's caption from its sidecar; ``caption_empty`` where there is none.

    The text stays as it is: spans count its characters.
    """
    return each(_caption, items)


def _caption(photo: Photo) -> Item:
    text = photo.sidecar.caption
    if not text.strip():
        return Reject(photo.id, "caption_empty", "caption", "no caption beside the picture")
    return replace(photo, caption=text)
