"""The regions of a photo, from its sidecar."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace

from fcbench.build.records import Item, Photo, Planted, Reject, Segment, each
from fcbench.errors import DataError
from fcbench.masks import box_of, decode_mask


def segment(items: Iterable[Item]) -> Iterator[Item]:
    """Take each photo's planted segments, numbered from 1; ``no_segment`` where none has a pixel."""
    return each(_segment, items)


def _segment(photo: Photo) -> Item:
    try:
        found = [_measured(number, planted) for number, planted in enumerate(photo.sidecar.people, 1)]
    except DataError as error:
        return Reject(photo.id, "sidecar_error", "segment", str(error))
    visible = tuple(segment for segment in found if segment.area)
    if not visible:
        return Reject(photo.id, "no_segment", "segment", "no segment with a pixel beside the picture")
    return replace(photo, segments=visible)


def _measured(number: int, planted: Planted) -> Segment:
    mask = decode_mask(planted.mask)
    return Segment(
        id=number,
        label=planted.label,
        score=planted.score,
        area=int(mask.sum()),
        bbox=box_of(mask),
        rle=planted.mask,
        person_id=planted.person_id,
        truth=planted.span,
    )
