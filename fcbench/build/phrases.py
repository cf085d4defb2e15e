"""Noun phrases of the captions, with their places."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import Any

from fcbench.build.records import Item, Photo, Phrase, Reject, batches

BATCH = 256


def phrases(items: Iterable[Item], parser: Any) -> Iterator[Item]:
    """Find each caption's noun chunks with a spaCy pipeline; ``no_phrase`` where there is none."""
    for batch in batches(items, BATCH):
        photos = [item for item in batch if isinstance(item, Photo)]
        docs = parser.pipe([photo.caption for photo in photos], batch_size=BATCH)
        found = {photo.id: _chunks(doc) for photo, doc in zip(photos, docs, strict=True)}
        for item in batch:
            yield _with_phrases(item, found[item.id]) if isinstance(item, Photo) else item


def _with_phrases(photo: Photo, found: tuple[Phrase, ...]) -> Item:
    if not found:
        return Reject(photo.id, "no_phrase", "phrases", f"no noun phrase in {photo.caption!r}")
    return replace(photo, phrases=found)


def _chunks(doc: Any) -> tuple[Phrase, ...]:
    return tuple(
        Phrase(chunk.text, chunk.root.text.lower(), chunk.start_char, chunk.end_char)
        for chunk in doc.noun_chunks
        if any(map(str.isalpha, chunk.root.text))  # a small parser may take "!!" for a noun
    )
