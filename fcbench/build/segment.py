"""The regions of a photo: from its sidecar, else from the segmenter."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace

from fcbench.build.records import Item, Photo, Planted, Reject, Segment, batches
from fcbench.errors import DataError
from fcbench.images import read_image
from fcbench.masks import box_of, decode_mask, encode_mask, iou
from fcbench.types import Mask, Region, Segmenter

BATCH = 16
MOST = 255
"""Most segments of a photo: their numbers must fit the 8 bits of the official reader's map."""
SAME = 0.5
"""From this overlap (IoU) on, a found region and a planted person are one."""


def segment(items: Iterable[Item], segmenter: Segmenter | None = None) -> Iterator[Item]:
    """Give each photo its sidecar's segments, or, where there are none, what ``segmenter`` finds.

    Numbered from 1. The people of a drawn world are its truth: a segmenter, where there is one, is asked all the same,
    and who its regions are is read off the truth. ``no_segment`` where nothing has a pixel.
    """
    for batch in batches(items, BATCH):
        asked = [photo for photo in lacking(batch) if segmenter]
        found = segmenter.regions([read_image(photo.path) for photo in asked]) if segmenter and asked else []
        regions = {photo.id: parts for photo, parts in zip(asked, found, strict=True)}
        for item in batch:
            yield _segmented(item, regions.get(item.id)) if isinstance(item, Photo) else item


def lacking(items: Iterable[Item]) -> list[Photo]:
    """The photos that a segmenter is asked about: those without segments of their own, and those of a drawn world."""
    return [i for i in items if isinstance(i, Photo) and (i.sidecar.planted or not i.sidecar.people)]


def _segmented(photo: Photo, regions: Sequence[Region] | None) -> Item:
    try:
        planted = [(person, decode_mask(person.mask)) for person in photo.sidecar.people]
    except DataError as error:
        return Reject(photo.id, "sidecar_error", "segment", str(error))
    if regions is None:
        found = [_planted(photo, number, *person) for number, person in enumerate(planted, 1)]
    else:
        owners = owners_of([region.mask for region in regions], [mask for _, mask in planted])
        people = [None if owner is None else planted[owner][0] for owner in owners]
        found = [_found(photo, number, *pair) for number, pair in enumerate(zip(regions, people, strict=True), 1)]
    visible = tuple(segment for segment in found if segment.area)[:MOST]
    if not visible:
        beside = "no segment with a pixel beside the picture" if regions is None else "the segmenter finds nothing"
        return Reject(photo.id, "no_segment", "segment", beside)
    return replace(photo, segments=visible)


def owners_of(regions: Sequence[Mask], people: Sequence[Mask]) -> list[int | None]:
    """For each region the person that it overlaps by at least ``SAME``, the best pairs first, each person once.

    >>> import numpy as np
    >>> left, right = np.array([[True, False]]), np.array([[False, True]])
    >>> owners_of([right, left & right], [left, right])
    [1, None]
    """
    overlaps = [(iou(region, person), i, j) for i, region in enumerate(regions) for j, person in enumerate(people)]
    owners: list[int | None] = [None] * len(regions)
    for overlap, i, j in sorted(overlaps, key=lambda pair: (-pair[0], *pair[1:])):
        if overlap >= SAME and owners[i] is None and j not in owners:
            owners[i] = j
    return owners


def _planted(photo: Photo, number: int, person: Planted, mask: Mask) -> Segment:
    return Segment(
        id=number,
        label=person.label,
        score=person.score,
        area=int(mask.sum()),
        bbox=box_of(mask),
        rle=person.mask,
        person_id=person.person_id,
        truth=_truth(photo, person),
    )


def _found(photo: Photo, number: int, region: Region, person: Planted | None) -> Segment:
    return Segment(
        id=number,
        label=region.label,
        score=round(region.score, 4),
        area=int(region.mask.sum()),
        bbox=box_of(region.mask),
        rle=encode_mask(region.mask),
        is_thing=region.is_thing,
        person_id=person.person_id if person else None,
        truth=_truth(photo, person) if person else None,
    )


def _truth(photo: Photo, person: Planted) -> tuple[int, int] | None:
    """The span that names somebody, where the photo has the caption whose characters it counts.

    Not where a captioner found the same words: only its best captions would be measured then.
    """
    return None if photo.captioned or photo.caption != photo.sidecar.caption else person.span
