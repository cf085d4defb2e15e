from __future__ import annotations

from random import Random

import pytest

from fcbench.errors import FcbenchError
from fcbench.make_stack.annotate import annotate
from fcbench.make_stack.lexicon import PEOPLE, common_lexicon
from fcbench.make_stack.sentences import Writer, world_caption


def words_of(text: str) -> list[str]:
    return text.replace(",", " ,").replace(".", " .").split()


def test_heads_and_labels_are_those_of_english_pipelines() -> None:
    words = words_of("a photo of a bald man with a beard and light skin and a woman")
    parse = annotate(words, common_lexicon(), PEOPLE)
    told = [f"{word} {dep} {words[head]}" for word, dep, head in zip(words, parse.deps, parse.heads, strict=True)]
    assert told == [
        "a det photo",
        "photo ROOT photo",
        "of prep photo",
        "a det man",
        "bald amod man",
        "man pobj of",
        "with prep man",
        "a det beard",
        "beard pobj with",
        "and cc beard",
        "light amod skin",
        "skin conj beard",
        "and cc man",
        "a det woman",
        "woman conj man",
    ]


def test_every_word_has_a_label_and_every_sentence_one_root() -> None:
    writer = Writer(Random(0), common_lexicon())
    texts = [world_caption(k).text for k in range(200)] + [writer.sentence() for _ in range(400)]
    for text in texts:
        parse = annotate(words_of(text), writer.lexicon, writer.people)
        assert all(parse.deps), text
        assert [k for k, head in enumerate(parse.heads) if head == k] == [parse.deps.index("ROOT")], text


def test_a_word_without_a_tag_is_named() -> None:
    with pytest.raises(FcbenchError, match="'zeppelin'"):
        annotate(["a", "zeppelin"], common_lexicon(), PEOPLE)


def test_an_adverb_belongs_to_whom_it_is_said_of_and_ends_the_noun_phrase() -> None:
    words = words_of("a man smiling outdoors and a woman holding a cup indoors")
    parse = annotate(words, common_lexicon(), PEOPLE)
    told = {word: f"{dep} {words[head]}" for word, dep, head in zip(words, parse.deps, parse.heads, strict=True)}
    assert told["outdoors"] == "advmod man"
    assert told["indoors"] == "advmod woman"
    assert told["woman"] == "conj man"
    assert told["cup"] == "dobj holding"
