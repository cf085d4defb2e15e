"""People: an identity is a number, and everything that makes a face follows from it.

Attributes are continuous and discrete, so that a person never drawn before is always one number away. Test people
are disjoint from training people by their numbers.
"""

from __future__ import annotations

import colorsys
from dataclasses import dataclass
from random import Random
from typing import Literal

Colour = tuple[int, int, int]

TRAIN_PEOPLE = range(0, 1_000_000)
TEST_PEOPLE = range(1_000_000, 2_000_000)

HAIR_COLOURS: dict[str, Colour] = {
    "black": (32, 28, 34),
    "brown": (104, 62, 34),
    "blond": (232, 190, 92),
    "red": (196, 74, 28),
    "grey": (158, 158, 164),
    "white": (236, 234, 228),
}
HAIR_STYLES = {
    "man": ("bald", "buzz", "short", "spiky", "curly", "long", "parted"),
    "woman": ("short", "bob", "long", "curly", "bun", "braids", "ponytail", "parted"),
}
BEARDS = ("none", "none", "none", "stubble", "goatee", "moustache", "full")
EYE_COLOURS: tuple[Colour, ...] = ((74, 44, 24), (40, 96, 168), (52, 128, 72), (98, 104, 112))
SKIN_WORDS = ("pale", "light", "tan", "brown", "dark")
_SKINS: tuple[Colour, ...] = ((252, 224, 206), (240, 198, 164), (214, 160, 116), (160, 104, 66), (98, 60, 40))


@dataclass(frozen=True)
class Person:
    """One identity. Lengths are in units of half a head's nominal width; ``skin_tone`` runs 0 (pale) to 1 (dark)."""

    number: int
    noun: Literal["man", "woman"]
    skin_tone: float
    skin: Colour
    hair_name: str
    hair: Colour
    hair_style: str
    hair_volume: float
    hair_length: float
    face_width: float
    face_height: float
    jaw: float
    eye: Colour
    eye_size: float
    eye_spacing: float
    eye_height: float
    brow_thickness: float
    brow_tilt: float
    nose_width: float
    nose_length: float
    mouth_width: float
    lip: float
    ears: float
    beard: str
    glasses: str
    freckles: bool
    blush: float

    @property
    def id(self) -> str:
        """The name that data and suites know the person by."""
        return f"p{self.number:07d}"

    @property
    def skin_word(self) -> str:
        """The skin tone in a word."""
        return SKIN_WORDS[min(int(self.skin_tone * len(SKIN_WORDS)), len(SKIN_WORDS) - 1)]


def draw_person(number: int) -> Person:
    """The person with this number; always the same one."""
    random = Random(number * 2_654_435_761 + 97)
    noun: Literal["man", "woman"] = "man" if random.random() < 0.5 else "woman"
    tone = random.random()
    hair_name = random.choice(tuple(HAIR_COLOURS))
    woman = noun == "woman"
    return Person(
        number=number,
        noun=noun,
        skin_tone=tone,
        skin=_jitter(random, _blend(_SKINS, tone), 0.012, 0.04, 0.02),
        hair_name=hair_name,
        hair=_jitter(random, HAIR_COLOURS[hair_name], 0.015, 0.08, 0.05),
        hair_style=random.choice(HAIR_STYLES[noun]),
        hair_volume=random.uniform(0.8, 1.25),
        hair_length=random.uniform(0.7, 1.3),
        face_width=random.uniform(0.84, 1.06),
        face_height=random.uniform(1.05, 1.32),
        jaw=random.uniform(0.05, 0.28) if not woman else random.uniform(0.2, 0.42),
        eye=_jitter(random, random.choice(EYE_COLOURS), 0.02, 0.1, 0.06),
        eye_size=random.uniform(0.82, 1.15) * (1.1 if woman else 1.0),
        eye_spacing=random.uniform(0.36, 0.5),
        eye_height=random.uniform(-0.12, 0.08),
        brow_thickness=random.uniform(0.05, 0.13) * (0.8 if woman else 1.2),
        brow_tilt=random.uniform(-0.12, 0.14),
        nose_width=random.uniform(0.1, 0.26),
        nose_length=random.uniform(0.24, 0.46),
        mouth_width=random.uniform(0.28, 0.5),
        lip=random.uniform(0.5, 1.0) if woman else random.uniform(0.0, 0.45),
        ears=random.uniform(0.14, 0.28),
        beard="none" if woman else random.choice(BEARDS),
        glasses=random.choice(("none", "none", "none", "none", "round", "square")),
        freckles=random.random() < 0.2,
        blush=random.uniform(0.0, 0.5) if woman else random.uniform(0.0, 0.2),
    )


def _blend(stops: tuple[Colour, ...], at: float) -> Colour:
    position = at * (len(stops) - 1)
    low = min(int(position), len(stops) - 2)
    return mix(stops[low], stops[low + 1], position - low)


def mix(first: Colour, second: Colour, share: float) -> Colour:
    """The colour ``share`` of the way from the first to the second."""
    return (
        round(first[0] + (second[0] - first[0]) * share),
        round(first[1] + (second[1] - first[1]) * share),
        round(first[2] + (second[2] - first[2]) * share),
    )


def _jitter(random: Random, colour: Colour, hue: float, saturation: float, value: float) -> Colour:
    h, s, v = colorsys.rgb_to_hsv(*(c / 255 for c in colour))
    h = (h + random.uniform(-hue, hue)) % 1
    s = min(max(s + random.uniform(-saturation, saturation), 0), 1)
    v = min(max(v + random.uniform(-value, value), 0), 1)
    r, g, b = colorsys.hsv_to_rgb(h, s, v)
    return round(r * 255), round(g * 255), round(b * 255)
