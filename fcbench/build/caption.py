"""A caption for each photo: the one beside it, else the captioner's; or the captioner's for all."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace

from fcbench.build.records import Item, Photo, Reject, batches
from fcbench.images import read_image
from fcbench.types import Captioner

BATCH = 32


def caption(items: Iterable[Item], captioner: Captioner | None = None, *, recaption: bool = False) -> Iterator[Item]:
    """Give each photo its sidecar's caption, or, where there is none, what ``captioner`` says of it.

    ``recaption``: the captioner is asked about all of them. ``caption_empty`` where there is no caption then. A
    sidecar's text stays as it is: spans count its characters.
    """
    for batch in batches(items, BATCH):
        asked = [photo for photo in lacking(batch, recaption=recaption) if captioner]
        told = captioner.captions([read_image(photo.path) for photo in asked]) if captioner and asked else []
        captions = {photo.id: text for photo, text in zip(asked, told, strict=True)}
        for item in batch:
            yield _with_caption(item, captions.get(item.id)) if isinstance(item, Photo) else item


def lacking(items: Iterable[Item], *, recaption: bool = False) -> list[Photo]:
    """The photos that a captioner is asked about: those without a caption of their own, or all."""
    return [i for i in items if isinstance(i, Photo) and (recaption or not i.sidecar.caption.strip())]


def _with_caption(photo: Photo, told: str | None) -> Item:
    text = photo.sidecar.caption if told is None else told
    if not text.strip():
        who = "no caption beside the picture" if told is None else "the captioner says nothing"
        return Reject(photo.id, "caption_empty", "caption", who)
    return replace(photo, caption=text, captioned=told is not None)
