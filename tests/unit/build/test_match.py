from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from random import Random

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fcbench.build.accuracy import matching_accuracy
from fcbench.build.match import _overlap, _pairs, assign, assign_best, margin, match
from fcbench.build.records import Photo, Phrase, Planted, Reject, Segment, Sidecar
from fcbench.files import write_image
from fcbench.masks import box_of, decode_mask, encode_mask, on_grey
from fcbench.types import Image

pairs = st.dictionaries(
    st.tuples(st.integers(1, 4), st.integers(0, 4)), st.sampled_from([0.0, 0.25, 0.5, 0.75, 1.0]), min_size=1
)


RED, BLUE = (220, 20, 20), (20, 20, 220)


@settings(max_examples=50, deadline=None)
@given(pairs, st.integers(0, 100))
def test_the_matching_is_one_to_one_whole_and_blind_to_order(scores: dict[tuple[int, int], float], seed: int) -> None:
    found = assign(scores)
    assert len(set(found.values())) == len(found)
    assert all(pair in scores for pair in found.items())
    assert not [pair for pair in scores if pair[0] not in found and pair[1] not in found.values()]
    order = list(scores)
    Random(seed).shuffle(order)
    assert assign({pair: scores[pair] for pair in order}) == found


@settings(max_examples=50, deadline=None)
@given(pairs)
def test_a_matching_takes_the_best_pair_there_is(scores: dict[tuple[int, int], float]) -> None:
    found = assign(scores)
    assert max(scores[pair] for pair in found.items()) == max(scores.values())


def test_equal_scores_go_to_the_lower_segment_and_the_earlier_phrase() -> None:
    assert assign({(2, 5): 0.5, (2, 0): 0.5, (1, 5): 0.5, (1, 0): 0.5}) == {1: 0, 2: 5}


@pytest.mark.parametrize(
    ("scores", "expected"),
    [
        pytest.param({(1, 0): 0.9}, None, id="nothing could be otherwise"),
        pytest.param({(1, 0): 0.9, (1, 5): 0.6}, 0.3, id="a free phrase"),
        pytest.param({(1, 0): 0.9, (2, 0): 0.8}, 0.1, id="a free segment"),
        pytest.param({(1, 0): 0.9, (1, 5): 0.2, (2, 0): 0.3, (2, 5): 0.8}, 1.2, id="an exchange"),
        pytest.param({(1, 0): 0.9, (1, 5): 0.9, (2, 0): 0.3, (2, 5): 0.3}, 0.0, id="phrases that say the same"),
    ],
)
def test_the_margin_is_the_distance_to_the_next_best_matching(
    scores: dict[tuple[int, int], float], expected: float | None
) -> None:
    assert margin(scores, assign(scores), 1) == (expected if expected is None else pytest.approx(expected))


class ColourMatcher:
    """Knows that a man is red and a woman blue, and that both are persons."""

    def image_features(self, images: Sequence[Image]) -> npt.NDArray[np.float32]:
        shown = [image.reshape(-1, 3) for image in images]
        redder = [bool((pixels[:, 0] > 200).any()) for pixels in shown]
        return np.array([[1, 0] if red else [0, 1] for red in redder], np.float32)

    def text_features(self, texts: Sequence[str]) -> npt.NDArray[np.float32]:
        known = {"a man": (1.0, 0.0), "a woman": (0.0, 1.0)}
        return np.array([known.get(text, (0.7, 0.7)) for text in texts], np.float32)


def picture(tmp_path: Path, caption: str, colours: Sequence[tuple[int, int, int]], label: str = "person") -> Photo:
    """A photo of bars of colours, one segment each; the phrases are the caption's "a <noun>" pairs."""
    image = np.zeros((16, 8 * len(colours), 3), np.uint8)
    segments = []
    for number, colour in enumerate(colours, 1):
        mask = np.zeros(image.shape[:2], bool)
        mask[2:14, 8 * number - 6 : 8 * number - 1] = True
        image[mask] = colour
        segments.append(Segment(number, label, 1.0, int(mask.sum()), box_of(mask), encode_mask(mask)))
    write_image(tmp_path / "photo.png", image)
    found = re.finditer(r"a (\w+)", caption)
    phrases = tuple(Phrase(hit[0], hit[1], *hit.span()) for hit in found)
    return Photo(
        "photo", tmp_path / "photo.png", image.shape[1], 16, Sidecar(), caption, phrases, segments=tuple(segments)
    )


def phrases_of(photo: object) -> list[str | None]:
    assert isinstance(photo, Photo)
    return [None if s.phrase is None else photo.phrases[s.phrase].text for s in photo.segments]


def test_people_get_the_phrase_that_looks_like_them(tmp_path: Path) -> None:
    (found,) = match([picture(tmp_path, "a photo of a woman and a man", [RED, BLUE])], ColourMatcher())
    assert phrases_of(found) == ["a man", "a woman"]
    assert isinstance(found, Photo)
    assert found.flags == ()


def test_two_of_one_noun_are_matched_and_flagged_ambiguous(tmp_path: Path) -> None:
    (found,) = match([picture(tmp_path, "a man and a man", [RED, RED])], ColourMatcher())
    assert isinstance(found, Photo)
    assert [found.phrases[s.phrase or 0].start for s in found.segments] == [0, 10]
    assert found.flags == ("ambiguous",)


def test_a_person_never_gets_the_phrase_of_a_thing(tmp_path: Path) -> None:
    (found,) = match([picture(tmp_path, "a photo of a man", [BLUE, BLUE])], ColourMatcher())
    assert isinstance(found, Photo)
    assert sorted(map(str, phrases_of(found))) == ["None", "a man"]
    assert "unmatched" in found.flags


@pytest.mark.parametrize("label", ["object", "man"])
def test_whom_a_phrase_names_is_labelled_a_person_for_trainings_look_for_that_word(tmp_path: Path, label: str) -> None:
    (found,) = match([picture(tmp_path, "a photo of a woman and a man", [RED, BLUE], label)], ColourMatcher())
    assert isinstance(found, Photo)
    assert [(s.label, s.phrase is not None) for s in found.segments] == [("person", True)] * 2
    (thing,) = match([picture(tmp_path, "a photo of a dog", [RED, RED], "object")], ColourMatcher())
    assert isinstance(thing, Photo)
    assert [s.label for s in thing.segments] == ["object"] * 2


@pytest.mark.parametrize(("caption", "label"), [("a hat", "person"), ("a man", "hat")])
def test_a_photo_without_any_match_is_rejected(tmp_path: Path, caption: str, label: str) -> None:
    (found,) = match([picture(tmp_path, caption, [RED], label)], ColourMatcher())
    assert isinstance(found, Reject)
    assert found.reason == "no_match"


class Lexicon:
    """A sentence encoder to which a phrase means the label that ends it."""

    def text_features(self, texts: Sequence[str]) -> npt.NDArray[np.float32]:
        return np.stack([np.eye(2, dtype=np.float32)[int(text.endswith("dog"))] for text in texts])


def test_labels_and_phrases_are_compared_by_the_sentence_encoder_where_there_is_one(tmp_path: Path) -> None:
    photo = picture(tmp_path, "a cat and a dog", [BLUE, BLUE], label="dog")
    photo = replace(photo, segments=(replace(photo.segments[0], label="cat"), photo.segments[1]))
    (alone,) = match([photo], ColourMatcher())
    assert isinstance(alone, Photo)
    assert alone.flags == ("ambiguous",)
    (found,) = match([photo], ColourMatcher(), sentences=Lexicon())
    assert phrases_of(found) == ["a cat", "a dog"]
    assert isinstance(found, Photo)
    assert found.flags == ()


@pytest.mark.parametrize(("margin", "flags"), [(0.009, ("ambiguous",)), (0.011, ())])
def test_a_margin_below_a_hundredth_is_flagged_ambiguous(margin: float, flags: tuple[str, ...], tmp_path: Path) -> None:
    class Near(ColourMatcher):
        def text_features(self, texts: Sequence[str]) -> npt.NDArray[np.float32]:
            return np.array([[1 - 2 * margin * (text == "a woman"), 0] for text in texts], np.float32)

    class Same:
        def text_features(self, texts: Sequence[str]) -> npt.NDArray[np.float32]:
            return np.array([[1, 0] for _ in texts], np.float32)

    (found,) = match([picture(tmp_path, "a man and a woman", [RED])], Near(), sentences=Same())
    assert isinstance(found, Photo)
    assert found.segments[0].margin == pytest.approx(margin)
    assert found.flags == flags


def test_rejects_pass_in_their_place(tmp_path: Path) -> None:
    reject = Reject("broken", "decode_error", "ingest", "?")
    photo = picture(tmp_path, "a man", [RED])
    assert [item.id for item in match([photo, reject, photo], ColourMatcher())] == ["photo", "broken", "photo"]


def test_a_masked_crop_shows_the_segment_alone_on_grey(tmp_path: Path) -> None:
    photo = picture(tmp_path, "a man", [RED, BLUE])
    image = np.full((16, 16, 3), 7, np.uint8)
    segment = photo.segments[1]
    crop = on_grey(image, decode_mask(segment.rle), segment.bbox)
    assert crop.shape == (12, 12, 3)
    assert (crop == 7).all(axis=2).sum() == photo.segments[1].area
    assert set(np.unique(crop)) == {7, 128}


def test_a_large_crop_is_shrunk_and_an_object_may_be_anybody() -> None:
    image, mask = np.full((700, 3000, 3), 7, np.uint8), np.zeros((700, 3000), bool)
    mask[100:600, :2048] = True
    crop = on_grey(image, mask, box_of(mask))
    assert crop.shape == (512, 512, 3)
    assert (crop == 7).all(axis=2).sum() == 512 * 125
    segments = tuple(
        Segment(k, label, 1.0, 1, (0, 0, 1, 1), encode_mask(mask))
        for k, label in enumerate(("person", "tie", "object"))
    )
    phrases = (Phrase("a soldier", "soldier", 0, 9), Phrase("a tie", "tie", 15, 20))
    pairs = _pairs(Photo("a", Path("a.png"), 1, 1, Sidecar(), phrases=phrases, segments=segments))
    assert [(s.label, p.root) for s, p in pairs] == [
        ("person", "soldier"),
        ("tie", "tie"),
        ("object", "soldier"),
        ("object", "tie"),
    ]


def test_accuracy_counts_exact_spans_apart_by_noun(tmp_path: Path) -> None:
    def planted(noun: str, span: tuple[int, int]) -> Planted:
        return Planted(mask=encode_mask(np.ones((1, 1), bool)), noun=noun, span=span)

    (found,) = match([picture(tmp_path, "a woman and a man", [RED, BLUE])], ColourMatcher())
    assert isinstance(found, Photo)
    right = found.phrases[1].start, found.phrases[1].end
    segments = replace(found.segments[0], truth=right), replace(found.segments[1], truth=(0, 1))
    sidecar = Sidecar(people=(planted("man", right), planted("woman", (0, 1))))
    measured = matching_accuracy([replace(found, segments=segments, sidecar=sidecar)])
    assert measured["pair_different_noun"] == {"segments": 2, "right": 1, "accuracy": 0.5}
    assert "pair_same_noun" not in measured


def test_two_of_one_noun_are_told_apart_by_what_else_is_said_of_them(tmp_path: Path) -> None:
    class Described(ColourMatcher):
        def text_features(self, texts: Sequence[str]) -> npt.NDArray[np.float32]:
            known = {"a man in red": (1.0, 0.0), "a man in blue": (0.0, 1.0)}
            return np.array([known.get(text, (0.7, 0.7)) for text in texts], np.float32)

    photo = picture(tmp_path, "a man in blue and a man in red", [RED, BLUE])
    first, second = photo.phrases
    told = (replace(first, description="a man in blue"), replace(second, description="a man in red"))
    (found,) = match([replace(photo, phrases=told)], Described())
    assert isinstance(found, Photo)
    assert [segment.phrase for segment in found.segments] == [1, 0]
    assert found.flags == ()


def test_more_pairs_go_before_a_higher_sum() -> None:
    assert assign_best({(1, 0): 0.9, (1, 8): 0.1, (2, 0): 0.2}) == {1: 8, 2: 0}


def test_boxes_overlap_by_what_they_share_of_both() -> None:
    assert _overlap((0, 0, 2, 2), (0, 0, 2, 2)) == 1.0
    assert _overlap((0, 0, 2, 2), (1, 0, 3, 2)) == pytest.approx(1 / 3)
    assert _overlap((0, 0, 1, 1), (1, 1, 2, 2)) == 0.0
