"""Training sentences: captions of the world, and others of their kind with ordinary and with invented words."""

from __future__ import annotations

import re
from collections.abc import Sequence
from random import Random

from fcbench.make_stack.lexicon import (
    ACTIONS,
    ADJECTIVES,
    ADVERBS,
    DEPICTIONS,
    FINITE,
    PARTICIPLES,
    PEOPLE,
    PEOPLE_PLURAL,
    PLACES,
    PREPOSITIONS,
    THINGS,
    THINGS_PLURAL,
    Lexicon,
    invent,
)
from fcbench.make_stack.pool import training_scene
from fcbench.world import Caption, describe
from fcbench.world.vocabulary import COLOURS

INVENTED = 0.25
"""How often a noun, adjective or participle is a word that nobody uses."""


def world_caption(number: int) -> Caption:
    """The caption of training scene ``number``."""
    return describe(training_scene(number), number)


class Writer:
    """Writes varied sentences; ``lexicon`` and ``people`` grow by the words it invents."""

    def __init__(self, random: Random, lexicon: Lexicon) -> None:
        self._random = random
        self.lexicon = lexicon
        self.people = {*PEOPLE, *PEOPLE_PLURAL}

    def sentence(self) -> str:
        """A caption, or a sentence with a verb."""
        return re.sub(r"\ba (?=[aeiou])", "an ", self._sentence())

    def _sentence(self) -> str:
        random = self._random
        count = random.choice((1, 1, 2, 2, 3))
        if random.random() < 0.35:
            subjects = self._join([self._person() for _ in range(count)])
            return f"{subjects} {self._predicate()}" + random.choice(("", "", "."))
        people = self._join([self._person() + self._details() for _ in range(count)])
        style = f"a {self._adjective()}{random.choice(DEPICTIONS)} of " if random.random() < 0.4 else ""
        place = f" {self._place()}" if random.random() < 0.5 else ""
        return style + people + place + random.choice(("", "", "", "."))

    def _predicate(self) -> str:
        random = self._random
        kind = random.randrange(3)
        if kind == 0:
            return f"{random.choice(('is', 'are'))} {self._doing()} {self._thing()}" + self._maybe_place()
        if kind == 1:
            return f"{random.choice(('is', 'are'))} {random.choice(ACTIONS)}{self._adverb(0.3)} {self._place()}"
        return f"{random.choice(FINITE)} {random.choice((self._thing(), self._place()))}"

    def _details(self) -> str:
        random = self._random
        text = ""
        if random.random() < 0.4:
            text += f" {random.choice(('with', 'with', 'in'))} " + self._join(self._things())
        if random.random() < 0.5:
            text += f" {self._doing()} " + self._join(self._things())
        elif random.random() < 0.2:
            text += f" {random.choice(ACTIONS)}"
        return text + self._adverb(0.15)

    def _adverb(self, share: float) -> str:
        """An adverb after what is told, at times: "a man outdoors"."""
        return f" {self._random.choice(ADVERBS)}" if self._random.random() < share else ""

    def _maybe_place(self) -> str:
        return f" {self._place()}" if self._random.random() < 0.4 else ""

    def _place(self) -> str:
        random = self._random
        before = random.choice((*PREPOSITIONS[:-1], "next to"))
        place = self._named("NN") if random.random() < INVENTED else random.choice(PLACES)
        return f"{before} {random.choice(('the', 'the', 'a'))} {self._adjective()}{place}"

    def _person(self) -> str:
        random = self._random
        plural = random.random() < 0.2
        if random.random() < INVENTED:
            noun = self._named("NNS" if plural else "NN")
        else:
            noun = random.choice(PEOPLE_PLURAL if plural else PEOPLE + ("man", "woman") * 6)
        if random.random() < 0.1:
            noun = random.choice(THINGS_PLURAL if plural else THINGS)
        self.people.add(noun)
        return self._phrase(noun, plural)

    def _thing(self) -> str:
        random = self._random
        plural = random.random() < 0.25
        noun = self._thing_noun(plural)
        while noun in self.people:
            noun = self._thing_noun(plural)
        compound = f"{random.choice(THINGS)} " if random.random() < 0.12 else ""
        part = random.choice(("piece of ", "bunch of ", "box of ", "glass of ")) if random.random() < 0.1 else ""
        return f"a {part}{noun}" if part else self._phrase(compound + noun, plural)

    def _thing_noun(self, plural: bool) -> str:
        if self._random.random() < INVENTED:
            return self._named("NNS" if plural else "NN")
        return self._random.choice(THINGS_PLURAL if plural else THINGS)

    def _things(self) -> list[str]:
        return [self._thing() for _ in range(self._random.choice((1, 1, 1, 2, 3)))]

    def _phrase(self, noun: str, plural: bool) -> str:
        random = self._random
        one, several = ("a",) * 5 + ("the", "this", "one", "her"), ("", "two", "three", "some", "the", "the", "his")
        article = random.choice(several if plural else one)
        return f"{article} {self._adjective()}{self._adjective()}{noun}".strip()

    def _adjective(self) -> str:
        random = self._random
        if random.random() < 0.65:
            return ""
        if random.random() < INVENTED:
            return self._new(invent(random, random.choice(("y", "ish", "al", "ous", "ful"))), "JJ") + " "
        return random.choice(ADJECTIVES + tuple(COLOURS)) + " "

    def _doing(self) -> str:
        random = self._random
        if random.random() < INVENTED:
            return self._new(invent(random, "ing"), "VBG")
        return random.choice(PARTICIPLES + ("wearing", "holding") * 3)

    def _named(self, tag: str) -> str:
        return self._new(invent(self._random, "s" if tag == "NNS" else self._random.choice(("", "", "er", "e"))), tag)

    def _new(self, word: str, tag: str) -> str:
        return word if self.lexicon.setdefault(word, tag) == tag else self._new(word + "a", tag)

    def _join(self, parts: Sequence[str]) -> str:
        return parts[0] if len(parts) == 1 else ", ".join(parts[:-1]) + " and " + parts[-1]
