"""Captions, plurals, descriptions and segments: what each step takes from the sidecar, and what it asks a model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fcbench.build.caption import caption
from fcbench.build.match import assign, assign_best, match
from fcbench.build.phrases import phrases
from fcbench.build.plurals import singular
from fcbench.build.quality import brightness, columns_of, holds_face, quality, sharpness
from fcbench.build.records import Face, Photo, Phrase, Planted, Reject, Segment, Sidecar
from fcbench.build.segment import segment
from fcbench.files import write_image
from fcbench.masks import box_of, encode_mask
from fcbench.stacks.text import load_parser
from fcbench.types import Image, Region
from tests.unit.build.conftest import PARSER

LEFT = np.zeros((8, 8), bool)
LEFT[2:8, 0:3] = True
RIGHT = np.zeros((8, 8), bool)
RIGHT[2:8, 5:8] = True


@pytest.fixture(scope="module")
def parser() -> Any:
    return load_parser(PARSER)


def photo_of(tmp_path: Path, **sidecar: Any) -> Photo:
    path = tmp_path / "photo.png"
    write_image(path, np.full((8, 8, 3), 90, np.uint8))
    return Photo("photo", path, 8, 8, Sidecar(**sidecar))


class Talker:
    def __init__(self, text: str) -> None:
        self.text, self.asked = text, 0

    def captions(self, images: Sequence[Image]) -> list[str]:
        self.asked += len(images)
        return [self.text] * len(images)


class Cutter:
    def __init__(self, *regions: Region) -> None:
        self._regions = list(regions)

    def regions(self, images: Sequence[Image]) -> list[list[Region]]:
        return [self._regions for _ in images]


def test_a_caption_beside_the_picture_is_kept_and_the_captioner_not_asked(tmp_path: Path) -> None:
    talker = Talker("a cat")
    (item,) = caption([photo_of(tmp_path, caption="a man ")], talker)
    assert isinstance(item, Photo)
    assert (item.caption, item.captioned, talker.asked) == ("a man ", False, 0)


def test_the_captioner_is_asked_where_no_caption_is_or_for_all(tmp_path: Path) -> None:
    for recaption, sidecar in ((False, {}), (True, {"caption": "the truth", "planted": True})):
        (item,) = caption([photo_of(tmp_path, **sidecar)], Talker("a man"), recaption=recaption)
        assert isinstance(item, Photo)
        assert (item.caption, item.captioned) == ("a man", True)
    (item,) = caption([photo_of(tmp_path, caption="the truth", planted=True)], Talker("a man"))
    assert isinstance(item, Photo)
    assert (item.caption, item.captioned) == ("the truth", False)
    (item,) = caption([photo_of(tmp_path)], Talker("  "))
    assert isinstance(item, Reject)
    assert (item.reason, item.message) == ("caption_empty", "the captioner says nothing")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("two women in the snow", "a woman and a woman in the snow"),
        ("a photo of three men", "a photo of a man, a man and a man"),
        ("two old men and a woman", "an old man and an old man and a woman"),
        ("men in the snow", "men in the snow"),
    ],
)
def test_numbered_plurals_are_expanded_and_the_caption_kept(
    tmp_path: Path, parser: Any, text: str, expected: str
) -> None:
    (item,) = phrases([replace(photo_of(tmp_path), caption=text)], parser)
    assert isinstance(item, Photo)
    assert item.caption == expected
    assert item.original_caption == ("" if text == expected else text)
    assert all(item.caption[p.start : p.end] == p.text for p in item.phrases)
    ends = [phrase.end for phrase in item.phrases]
    assert len(set(ends)) == len(ends)


def test_a_noun_that_is_no_plural_stays() -> None:
    words = ("woman", "dress", "People", "toddlers")
    assert [singular(word) for word in words] == ["woman", "dress", "person", "toddler"]


def test_a_phrase_s_description_ends_where_somebody_else_begins(tmp_path: Path, parser: Any) -> None:
    text = "a man with red hair wearing a blue shirt and a woman holding a book in the snow"
    (item,) = phrases([replace(photo_of(tmp_path), caption=text)], parser)
    assert isinstance(item, Photo)
    told = {phrase.text: phrase.description for phrase in item.phrases}
    assert told["a man"] == "a man with red hair wearing a blue shirt"
    assert told["a woman"].startswith("a woman holding a book")


def test_regions_of_a_drawn_world_are_known_by_their_overlap_with_the_truth(tmp_path: Path) -> None:
    people = (
        Planted(mask=encode_mask(LEFT), person_id="ann", span=(0, 5)),
        Planted(mask=encode_mask(RIGHT), person_id="ben", span=(6, 9)),
    )
    photo = replace(photo_of(tmp_path, caption="truth", people=people, planted=True), caption="truth")
    cutter = Cutter(Region(RIGHT, "person", 0.9), Region(~(LEFT | RIGHT), "wall", 0.8, False))
    (item,) = segment([photo], cutter)
    assert isinstance(item, Photo)
    assert [(s.id, s.label, s.person_id, s.truth, s.is_thing) for s in item.segments] == [
        (1, "person", "ben", (6, 9), True),
        (2, "wall", None, None, False),
    ]
    (item,) = segment([photo])
    assert isinstance(item, Photo)
    assert [s.person_id for s in item.segments] == ["ann", "ben"]
    (item,) = segment([photo], Cutter())
    assert isinstance(item, Reject)
    assert item.reason == "no_segment"


def test_a_captioner_that_hits_upon_the_truth_s_own_words_leaves_no_truth_to_measure_by(tmp_path: Path) -> None:
    people = (Planted(mask=encode_mask(LEFT), span=(0, 5)),)
    photo = replace(photo_of(tmp_path, caption="a man", people=people, planted=True), caption="a man")
    for captioned, truth in ((False, (0, 5)), (True, None)):
        (item,) = segment([replace(photo, captioned=captioned)])
        assert isinstance(item, Photo)
        assert [s.truth for s in item.segments] == [truth]


def test_the_best_matching_beats_the_greedy_one_where_they_differ() -> None:
    scores = {(1, 0): 0.9, (1, 8): 0.8, (2, 0): 0.85, (2, 8): 0.1}
    assert (assign(scores), assign_best(scores)) == ({1: 0, 2: 8}, {1: 8, 2: 0})
    assert assign_best({(1, 0): 0.2}) == {1: 0}
    assert assign_best({}) == {}


class Pointer:
    """Grounds every phrase in the picture's left half, surely, and in the right, less so, in the order of phrases."""

    def ground(
        self, images: Sequence[Image], captions: Sequence[str], spans: Sequence[Sequence[tuple[int, int]]]
    ) -> list[list[list[tuple[tuple[float, float, float, float], float]]]]:
        halves = ((0.0, 2.0, 3.0, 8.0), (5.0, 2.0, 8.0, 8.0))
        return [[[(halves[k % 2], 0.9)] for k in range(len(there))] for there in spans]


def test_a_grounding_matcher_gives_each_phrase_the_segment_where_it_points(tmp_path: Path) -> None:
    segments = tuple(
        Segment(number, "person", 1.0, int(mask.sum()), box_of(mask), encode_mask(mask))
        for number, mask in enumerate((RIGHT, LEFT), 1)
    )
    words = (Phrase("a man", "man", 0, 5), Phrase("a man", "man", 10, 15))
    photo = replace(photo_of(tmp_path), caption="a man and a man", phrases=words, segments=segments)
    (item,) = match([photo], Pointer())
    assert isinstance(item, Photo)
    assert [s.phrase for s in item.segments] == [1, 0]
    assert item.flags == ()


class Detector:
    """Faces at the given boxes, surer of each than of the one before."""

    def __init__(self, *boxes: tuple[float, float, float, float]) -> None:
        self._found = np.array([(*box, 0.5 + place / 10) for place, box in enumerate(boxes)])
        self.det_model = self

    def detect(self, image: Image, *, max_num: int, metric: str) -> tuple[Any, None]:
        return self._found, None


@pytest.mark.parametrize(
    ("middle", "sure"),
    [((2.9, 7.9), 0.5), ((0.0, 2.0), 0.5), ((3.0, 4.0), 0.0), ((1.0, 8.0), 0.0), ((1.0, 1.9), 0.0), ((2.0, 3.0), 0.0)],
)
def test_a_segment_s_face_is_one_whose_middle_lies_in_its_mask(
    tmp_path: Path, middle: tuple[float, float], sure: float
) -> None:
    mask = LEFT.copy()
    mask[3, 2] = False  # within the box: the last case
    own = Segment(1, "person", 1.0, int(mask.sum()), box_of(mask), encode_mask(mask))
    (x, y), photo = middle, replace(photo_of(tmp_path), segments=(own,))
    (item,) = quality([photo], Detector((x - 1, y - 2, x + 1, y + 2), (6, 0, 8, 2)))
    assert isinstance(item, Photo)
    assert (item.scores["faces"], item.segments[0].scores["face"]) == (2.0, sure)
    assert item.segments[0].scores["face_pixels"] == (2.0 if sure else 0.0)


def test_scores_tell_faces_sharpness_and_size(tmp_path: Path) -> None:
    mask = LEFT
    face = Face(box=(0, 2, 3, 5), landmarks=((1, 3), (2, 4), (7, 7)))
    own = Segment(1, "person", 1.0, int(mask.sum()), box_of(mask), encode_mask(mask), phrase=0, margin=0.25)
    photo = replace(photo_of(tmp_path, face=face), segments=(own,))
    (item,) = quality([photo])
    assert isinstance(item, Photo)
    assert item.segments[0].scores == {"share": 0.28125, "sharpness": 0.0, "touches_edge": 1.0, "known_face": 0.0}
    columns = columns_of(item)
    assert (columns["min_margin"], columns["people"], columns["known_face"]) == (0.25, 1.0, 0.0)
    assert holds_face(mask, Face(box=(0, 2, 3, 5), landmarks=((1, 3),)))
    chequered = np.indices((8, 8)).sum(0) % 2 * 255
    assert sharpness(brightness(np.repeat(chequered[..., None], 3, 2).astype(np.uint8))) > 1000
