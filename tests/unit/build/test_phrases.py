from __future__ import annotations

from pathlib import Path

import pytest

from fcbench.build.phrases import phrases
from fcbench.build.plurals import Edit, rewrite
from fcbench.build.records import Photo, Reject, Sidecar
from fcbench.errors import MissingError
from fcbench.stacks.text import load_parser
from fcbench.types import Stack
from fcbench.world import TRAIN_PEOPLE, describe, draw_person, draw_scene


def photo(caption: str, photo_id: str = "photo") -> Photo:
    return Photo(photo_id, Path("photo.png"), 64, 64, Sidecar(), caption)


@pytest.mark.parametrize(
    ("caption", "expected"),
    [
        ("a man and a woman on the beach", ["a man", "a woman", "the beach"]),
        (
            "a black and white photo of a bald man with a beard and light skin in a red cap and a woman",
            ["a black and white photo", "a bald man", "a beard", "light skin", "a red cap", "a woman"],
        ),
        ("two tall girls holding a cup of coffee", ["a tall girl", "a tall girl", "a cup", "coffee"]),
        ("An old blorker is riding a horse near the lake.", ["An old blorker", "a horse", "the lake"]),
    ],
)
def test_noun_phrases_have_their_text_root_and_place(stack: Stack, caption: str, expected: list[str]) -> None:
    (found,) = phrases([photo(caption)], stack.role("parser"))
    assert isinstance(found, Photo)
    assert [phrase.text for phrase in found.phrases] == expected
    assert [found.caption[phrase.start : phrase.end] for phrase in found.phrases] == expected
    assert [phrase.root for phrase in found.phrases] == [text.split()[-1] for text in expected]


def test_the_shipped_parser_finds_the_worlds_people(stack: Stack) -> None:
    captions = {}
    for k in range(300):
        people = [draw_person(TRAIN_PEOPLE[3301 * k + j]) for j in range(k % 3 + 1)]
        captions[str(k)] = describe(draw_scene(people, 1_000_000 + k), k)
    photos = [photo(caption.text, key) for key, caption in captions.items()]
    missed = [
        found.caption
        for found in phrases(photos, stack.role("parser"))
        if isinstance(found, Photo)
        and not set(captions[found.id].spans) <= {(phrase.start, phrase.end) for phrase in found.phrases}
    ]
    assert len(missed) <= 1, missed


def test_a_caption_that_names_nothing_is_rejected_and_rejects_pass(stack: Stack) -> None:
    broken = Reject("broken", "decode_error", "ingest", "?")
    first, second = phrases([broken, photo("!!!")], stack.role("parser"))
    assert first is broken
    assert isinstance(second, Reject)
    assert second.reason == "no_phrase"


def test_an_absent_pipeline_says_how_to_get_it(tmp_path: Path) -> None:
    with pytest.raises(MissingError, match="python -m spacy download en_core_web_none"):
        load_parser("en_core_web_none")
    with pytest.raises(MissingError, match="make-stack"):
        load_parser(tmp_path / "parser")


def test_a_caption_is_rewritten_where_its_plurals_stand() -> None:
    edits = [Edit(0, 7, "a man and a man"), Edit(12, 20, "a dog and a dog")]
    assert rewrite("two men and two dogs", edits) == "a man and a man and a dog and a dog"
