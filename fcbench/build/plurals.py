"""Numbered plurals, a phrase for each one: "two women" becomes "a woman and a woman" (FastComposer, section 5.1).

Two subjects whose phrases end at the same word would share one token: the official reader keeps only the first.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

NUMBERS = {"two": 2, "three": 3, "four": 4, "both": 2, "couple": 2, "2": 2, "3": 3, "4": 4}
"""Beyond four nobody can tell who is who, nor would so many phrases fit a prompt."""
IRREGULAR = {
    "men": "man",
    "women": "woman",
    "people": "person",
    "children": "child",
    "babies": "baby",
    "ladies": "lady",
    "wives": "wife",
    "feet": "foot",
    "mice": "mouse",
    "geese": "goose",
    "sheep": "sheep",
    "fish": "fish",
    "knives": "knife",
    "wolves": "wolf",
}
"""What the rules below do not give; the miniature's pipeline has no lemmatiser, and some others err on these."""


@dataclass(frozen=True)
class Edit:
    """Characters [start, end) of a caption, and what replaces them."""

    start: int
    end: int
    text: str


def plural_edits(doc: Any) -> list[Edit]:
    """What to rewrite in a parsed caption, from left to right."""
    return [edit for chunk in doc.noun_chunks if (edit := _edit(chunk)) is not None]


def rewrite(text: str, edits: list[Edit]) -> str:
    """The caption after its edits.

    >>> rewrite("two women in hats", [Edit(0, 9, "a woman and a woman")])
    'a woman and a woman in hats'
    """
    for edit in sorted(edits, key=lambda edit: -edit.start):
        text = text[: edit.start] + edit.text + text[edit.end :]
    return text


def singular(noun: str) -> str:
    """A plural noun's singular; a noun that is no plural stays as it is.

    >>> [singular(word) for word in ("women", "boys", "ladies", "churches", "glass", "schoolchildren")]
    ['woman', 'boy', 'lady', 'church', 'glass', 'schoolchild']
    """
    low = noun.lower()
    for plural, one in IRREGULAR.items():
        if low == plural or (low.endswith(plural) and plural in ("men", "women", "people", "children")):
            return noun[: len(noun) - len(plural)] + one
    for end, one in (("ies", "y"), ("ches", "ch"), ("shes", "sh"), ("sses", "ss"), ("xes", "x")):
        if low.endswith(end):
            return noun[: -len(end)] + one
    return noun[:-1] if low.endswith("s") and not low.endswith("ss") else noun


def _edit(chunk: Any) -> Edit | None:
    """The expansion of one noun chunk that begins with a number and ends with a plural."""
    words = chunk.text.split()
    if chunk.root.text != words[-1]:
        return None
    at = next((i for i, word in enumerate(words[:-1]) if word.lower() in NUMBERS), None)
    before = words[:at] if at is not None else []
    if at is None or any(word.lower() not in ("the", "these", "those", "a", "only", "just") for word in before):
        return None
    noun = singular(words[-1])
    if noun == words[-1] and noun.lower() not in ("sheep", "fish"):
        return None
    described = [word for word in words[at + 1 : -1] if word.lower() != "of"]
    one = " ".join((*described, noun))
    one = f"{'an' if re.match('[aeiou]', one.lower()) else 'a'} {one}"
    count = NUMBERS[words[at].lower()]
    several = [one] * count
    text = ", ".join(several[:-1]) + f" and {several[-1]}" if count > 2 else " and ".join(several)
    return Edit(chunk.start_char, chunk.end_char, text)
