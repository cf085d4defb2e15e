"""A gold parse for caption-like English, by rule: exact on the world's captions, whose words are all known.

Labels are those of spaCy's English pipelines, as far as its noun chunks need them.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field

from fcbench.make_stack.lexicon import ACTIONS, DEPICTIONS, Lexicon, tag_of

NOUN, BEFORE_NOUN = ("NN", "NNS"), ("DT", "CD", "JJ", "PRP$")
_LABELS = {"DT": "det", "CD": "nummod", "JJ": "amod", "PRP$": "poss", "NN": "compound", "NNS": "compound"}


@dataclass
class Parse:
    """Tags, head positions (a root is its own head) and dependency labels, one a word."""

    words: Sequence[str]
    tags: list[str]
    heads: list[int]
    deps: list[str]


def annotate(words: Sequence[str], lexicon: Lexicon, people: Collection[str]) -> Parse:
    """Parse a caption or a simple sentence; ``people`` are the nouns that a picture can be of."""
    return _Annotator(words, [tag_of(word, lexicon) for word in words], people).parse()


@dataclass
class _Annotator:
    words: Sequence[str]
    tags: list[str]
    people: Collection[str]
    heads: list[int] = field(default_factory=list)
    deps: list[str] = field(default_factory=list)
    verb: int | None = None
    """The finite clause's main verb; None in a caption that is a noun phrase."""
    owner: int | None = None
    """What later modifiers belong to: the last person, then the verb."""
    listed: int | None = None
    """The last noun of the current list."""
    governor: int | None = None
    """The preposition or verb that waits for its object."""
    joints: list[int] = field(default_factory=list)
    """Commas and conjunctions that wait for what they join."""
    participle: int | None = None

    def parse(self) -> Parse:
        count = len(self.words)
        self.heads, self.deps = list(range(count)), [""] * count
        self.verb = self._main_verb()
        at = 0
        while at < count:
            end = self._phrase_end(at)
            if end is not None:
                self._inside(at, end)
                self._noun(end - 1)
                at = end
            else:
                self._word(at)
                at += 1
        return Parse(self.words, self.tags, self.heads, self.deps)

    def _main_verb(self) -> int | None:
        for at, tag in enumerate(self.tags):
            if tag == "VB":
                return at
            if tag in ("VBZ", "VBP"):
                return next(k for k in range(at, len(self.tags)) if self.tags[k] == "VBG")
        return None

    def _phrase_end(self, at: int) -> int | None:
        """Where the noun phrase that begins at ``at`` ends; None if none does."""
        end = at
        while end < len(self.tags) and (self.tags[end] in BEFORE_NOUN or self._joins_adjectives(end, at)):
            end += 1
        if end == len(self.tags) or self.tags[end] not in NOUN:
            return None
        while end < len(self.tags) and self.tags[end] in NOUN:
            end += 1
        return end

    def _joins_adjectives(self, at: int, start: int) -> bool:
        return at > start and self.tags[at - 1 : at + 2] == ["JJ", "CC", "JJ"]

    def _inside(self, start: int, end: int) -> None:
        for at in range(start, end - 1):
            if self.tags[at] == "CC":
                self._attach(at, at - 1, "cc")
                self._attach(at + 1, at - 1, "conj")
            elif not self.deps[at]:
                self._attach(at, end - 1, _LABELS[self.tags[at]])

    def _noun(self, noun: int) -> None:
        governor, self.governor = self.governor, None
        if governor is not None:
            self._attach(noun, governor, "pobj" if self.tags[governor] == "IN" else "dobj")
            self.listed = noun
            if self.words[governor] == "of" and self.words[self.heads[governor]] in DEPICTIONS:
                self._own(noun)
        elif self.joints:
            self._join(noun)
        else:
            if self.verb is None:
                self._attach(noun, noun, "ROOT")
            else:
                self._attach(noun, self.verb, "nsubj")
            self._own(noun)

    def _own(self, noun: int) -> None:
        self.owner, self.listed, self.participle = noun, None, None

    def _join(self, noun: int) -> None:
        is_person = self.words[noun] in self.people and self.owner is not None and self.owner != self.verb
        first = self.owner if is_person or self.listed is None else self.listed
        assert first is not None
        for joint in self.joints:
            self._attach(joint, first, "cc" if self.tags[joint] == "CC" else "punct")
        self.joints = []
        self._attach(noun, first, "conj")
        if first == self.owner:
            self._own(noun)
        else:
            self.listed = noun

    def _word(self, at: int) -> None:
        tag = self.tags[at]
        if at == self.verb:
            self._attach(at, at, "ROOT")
            self.owner, self.listed, self.governor = at, None, at
        elif tag in ("VBZ", "VBP"):
            assert self.verb is not None
            self._attach(at, self.verb, "aux")
        elif tag == "IN":
            self._preposition(at)
        elif tag == "RB":
            self._attach(at, self._modified(), "advmod")
        elif tag == "VBG":
            self._participle(at)
        elif tag == ".":
            self._attach(at, self.deps.index("ROOT"), "punct")
        else:
            self.joints.append(at)

    def _preposition(self, at: int) -> None:
        beside = self.words[at] == "of" or self.tags[at - 1] == "RB"
        self._attach(at, at - 1 if beside else self._modified(), "prep")
        self.governor, self.listed = at, None

    def _participle(self, at: int) -> None:
        if self.joints and self.participle is not None:
            for joint in self.joints:
                self._attach(joint, self.participle, "cc" if self.tags[joint] == "CC" else "punct")
            self.joints = []
            self._attach(at, self.participle, "conj")
        else:
            self._attach(at, self._modified(), "acl")
        self.participle = at
        self.governor = None if self.words[at] in ACTIONS else at

    def _modified(self) -> int:
        assert self.owner is not None
        return self.owner

    def _attach(self, at: int, head: int, dep: str) -> None:
        self.heads[at], self.deps[at] = head, dep
