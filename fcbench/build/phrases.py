"""Noun phrases of the captions, with their places, and what the captions say of each."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import Any

from fcbench.build.plurals import plural_edits, rewrite
from fcbench.build.records import Item, Photo, Phrase, Reject, batches

BATCH = 256
_OTHERS = frozenset(("conj", "cc", "punct", "appos", "relcl"))
"""Children of a noun that begin something of their own."""


def phrases(items: Iterable[Item], parser: Any) -> Iterator[Item]:
    """Find each caption's noun chunks with a spaCy pipeline; ``no_phrase`` where there is none.

    Numbered plurals are expanded first ("two women"), so that each person has a phrase; the original caption is kept.
    """
    for batch in batches(items, BATCH):
        photos = [item for item in batch if isinstance(item, Photo)]
        parsed = {photo.id: doc for photo, doc in zip(photos, _parse(photos, parser), strict=True)}
        photos = [_expanded(photo, parsed[photo.id]) for photo in photos]
        changed = [photo for photo in photos if photo.original_caption]
        parsed |= {photo.id: doc for photo, doc in zip(changed, _parse(changed, parser), strict=True)}
        done = {photo.id: _with_phrases(photo, _chunks(parsed[photo.id])) for photo in photos}
        for item in batch:
            yield done[item.id] if isinstance(item, Photo) else item


def _parse(photos: list[Photo], parser: Any) -> Iterator[Any]:
    docs: Iterator[Any] = parser.pipe([photo.caption for photo in photos], batch_size=BATCH)
    return docs


def _expanded(photo: Photo, doc: Any) -> Photo:
    edits = plural_edits(doc)
    if not edits:
        return photo
    return replace(photo, caption=rewrite(photo.caption, edits), original_caption=photo.caption)


def _with_phrases(photo: Photo, found: tuple[Phrase, ...]) -> Item:
    if not found:
        return Reject(photo.id, "no_phrase", "phrases", f"no noun phrase in {photo.caption!r}")
    return replace(photo, phrases=found)


def _chunks(doc: Any) -> tuple[Phrase, ...]:
    return tuple(
        Phrase(chunk.text, chunk.root.text.lower(), chunk.start_char, chunk.end_char, _description(chunk))
        for chunk in doc.noun_chunks
        if any(map(str.isalpha, chunk.root.text))  # a small parser may take "!!" for a noun
    )


def _description(chunk: Any) -> str:
    """The chunk with what follows it directly and belongs to its noun; empty if nothing does."""
    root = chunk.root
    own = {root.i, *(token.i for child in root.children if child.dep_ not in _OTHERS for token in child.subtree)}
    # "a man is wearing a hat": what is said of him hangs on the verb that he is the subject of
    if root.dep_ in ("nsubj", "nsubjpass") and root.head.pos_ in ("VERB", "AUX"):
        own |= {root.head.i, *(token.i for child in root.head.children if child is not root for token in child.subtree)}
    end = chunk.end
    while end in own:
        end += 1
    return str(chunk.doc[chunk.start : end].text) if end > chunk.end else ""
