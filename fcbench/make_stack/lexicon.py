"""Words with their tags: what the world's captions are made of, and ordinary and invented words beside them."""

from __future__ import annotations

from collections.abc import Iterable
from random import Random

from fcbench.errors import FcbenchError
from fcbench.world.people import HAIR_COLOURS, SKIN_WORDS
from fcbench.world.vocabulary import COLOURS

Lexicon = dict[str, str]
"""Word -> Penn Treebank tag."""

UNIVERSAL = {
    "CC": "CCONJ",
    "CD": "NUM",
    "DT": "DET",
    "IN": "ADP",
    "JJ": "ADJ",
    "NN": "NOUN",
    "NNS": "NOUN",
    "PRP$": "PRON",
    "RB": "ADV",
    "VBG": "VERB",
    "VBP": "AUX",
    "VBZ": "AUX",
    "VB": "VERB",
    ",": "PUNCT",
    ".": "PUNCT",
}
"""Penn Treebank tag -> universal part of speech. VBZ and VBP are forms of "to be" here, VB other finite verbs."""


def _words(text: str) -> tuple[str, ...]:
    return tuple(text.split())


DEPICTIONS = ("photo", "picture", "painting", "sketch", "drawing", "portrait", "image", "photograph", "cartoon")
PEOPLE = _words(
    "man woman boy girl person child kid lady guy baby teenager doctor player worker student friend couple dancer"
)
PEOPLE_PLURAL = _words("men women boys girls people children kids friends players students workers dancers")
THINGS = _words(
    "dog cat horse bike car ball phone guitar umbrella table chair bench plate pizza sandwich laptop camera bag jacket "
    "coat dress tie helmet necklace sweater mask surfboard skateboard kite frisbee racket cup bottle knife cake donut "
    "box basket lamp sign flag boat train bus truck bird sheep cow elephant tree flower window door"
)
THINGS_PLURAL = _words("dogs cats horses bikes cars balls phones books plates bags trees flowers balloons birds")
PLACES = _words(
    "street park kitchen room field river lake bridge garden forest beach city road wall house office restaurant "
    "market station hill stage sky stadium desert museum school church bar"
)
ADJECTIVES = _words(
    "tall young old small big happy little large beautiful handsome elderly wooden striped dark bright plain "
    "thin fat strong busy quiet empty colorful modern vintage golden silver leather woolen elegant fancy shiny"
)
PARTICIPLES = _words("wearing holding carrying riding eating using playing reading pushing throwing")
ACTIONS = _words("sitting standing walking running sleeping smiling cooking jumping skiing waiting dancing")
FINITE = _words("stands sits walks holds wears rides eats reads plays waits runs")
ADVERBS = _words(
    "outdoors indoors outside inside alone together away down up back here there left right ahead apart sideways "
    "happily quietly slowly today upstairs downtown"
)
PREPOSITIONS = _words("in on under near behind beside at by with")

_WORLD = {
    "NN": "hair skin beard goatee moustache bun ponytail scarf shirt hat cap top santa crown rainbow book glass wine "
    "piece cake cup coffee bunch balloon snow jungle night sky library beach city pixel art "
    "watercolor pencil pointillism",
    "NNS": "glasses braids flowers mountains",
    "JJ": "bald curly long short spiky comic sepia",
    "VBG": "wearing holding",
    "IN": "of with in on under",
}
_CLOSED = {"DT": "a an the this some", "CC": "and", "IN": "to", "RB": "next", "PRP$": "his her their"}
_CLOSED |= {"CD": "one two three", "VBZ": "is", "VBP": "are", ",": ",", ".": "."}


def common_lexicon() -> Lexicon:
    """The tags of all words that are not invented."""
    words = {
        **_tagged("JJ", ADJECTIVES),
        **_tagged("NN", PLACES, THINGS, PEOPLE, DEPICTIONS),
        **_tagged("NNS", THINGS_PLURAL, PEOPLE_PLURAL),
        **_tagged("VBG", ACTIONS, PARTICIPLES),
        **_tagged("VB", FINITE),
        **_tagged("RB", ADVERBS),
        **_tagged("IN", PREPOSITIONS),
    }
    for tag, text in (*_WORLD.items(), *_CLOSED.items()):
        words |= _tagged(tag, text.split())
    return words | _tagged("JJ", COLOURS, HAIR_COLOURS, SKIN_WORDS)


def tag_of(word: str, lexicon: Lexicon) -> str:
    """A word's tag; FcbenchError names one that the world says and this file lacks."""
    try:
        return lexicon[word.lower()]
    except KeyError:
        raise FcbenchError(f"{__file__}: no tag for {word!r}: add it to _WORLD") from None


def invent(random: Random, ending: str = "") -> str:
    """A word that nobody uses: two or three syllables."""
    syllables = (random.choice("bcdfgklmnprstvz") + random.choice("aeiou") for _ in range(random.choice((1, 2, 2))))
    return "".join(syllables) + random.choice("bdfgklmnprtz") + ending


def _tagged(tag: str, *groups: Iterable[str]) -> Lexicon:
    return {word: tag for group in groups for word in group}
