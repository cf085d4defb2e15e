"""Scenes in words: varied wording, people in random order, each noun chunk's span kept."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from random import Random

from fcbench.world.people import HAIR_COLOURS
from fcbench.world.scenes import Figure, Scene
from fcbench.world.vocabulary import COLOURS, CONTEXTS, HATS, HOLDINGS, STYLES


@dataclass(frozen=True)
class Caption:
    """A caption; ``spans[i]`` is [start, end) of figure ``i``'s noun chunk ("a bald man") in ``text``."""

    text: str
    spans: tuple[tuple[int, int], ...]


def describe(scene: Scene, seed: int, *, detail: float = 1.0) -> Caption:
    """One of many ways to say what a scene shows; ``detail`` (0-1) scales how often it tells how people look."""
    random = Random(seed * 1_000_033 + 5)
    order = list(range(len(scene.figures)))
    random.shuffle(order)
    shared = _shared(scene.figures) if random.random() < 0.5 else ""
    wordy = random.random() < detail * (0.75, 0.6, 0.4)[len(order) - 1]
    text = random.choice(STYLES[scene.style])
    spans: dict[int, tuple[int, int]] = {}
    for place, index in enumerate(order):
        if place:
            text += " and " if place == len(order) - 1 else ", "
        chunk, rest = _person(random, scene.figures[index], wordy, room=4 - len(order), bare=bool(shared))
        spans[index] = (len(text), len(text) + len(chunk))
        text += chunk + rest
    text += shared
    if CONTEXTS[scene.context]:
        text += " " + CONTEXTS[scene.context]
    return Caption(text, tuple(spans[index] for index in range(len(order))))


def _shared(figures: tuple[Figure, ...]) -> str:
    first = figures[0]
    if len(figures) < 2:
        return ""
    if first.holding and all(f.holding == first.holding for f in figures):
        return " holding " + HOLDINGS[first.holding]
    if first.hat and all(f.hat == first.hat for f in figures):
        return " wearing " + _hat(first.hat)
    return ""


def _person(random: Random, figure: Figure, wordy: bool, *, room: int, bare: bool) -> tuple[str, str]:
    """A person's noun chunk and what follows it, with at most ``room`` traits and ``room`` things worn."""
    adjective, traits = _looks(random, figure) if wordy else ("", [])
    chunk = f"a {adjective}{figure.person.noun}"
    rest = (" with " + _list(traits[:room])) if traits else ""
    if bare:
        return chunk, rest
    worn = [_hat(figure.hat)] if figure.hat else []
    worn += [f"a {figure.scarf} scarf"] if figure.scarf else []
    worn += [f"{figure.shades} glasses"] if figure.shades else []
    if random.random() < 0.35 or (not worn and random.random() < 0.4):
        worn.append(f"{_article(figure.shirt)} {figure.shirt} shirt")
    if worn:
        rest += random.choice((" wearing ", " wearing ", " in ")) + _list(worn[:room])
    if figure.holding:
        rest += " holding " + HOLDINGS[figure.holding]
    return chunk, rest


def _looks(random: Random, figure: Figure) -> tuple[str, list[str]]:
    """An adjective ("bald ") or nothing, and traits in random order."""
    p = figure.person
    adjective = ""
    traits: list[str] = []
    if p.hair_style == "bald":
        adjective = "bald "
    else:
        traits.append(_hair(figure))
    if random.random() < 0.6:
        traits.append(f"{p.skin_word} skin")
    if p.beard in ("full", "goatee", "moustache"):
        traits.append({"full": "a beard"}.get(p.beard, f"a {p.beard}"))
    if p.glasses != "none" and not figure.shades:
        traits.append("glasses")
    random.shuffle(traits)
    return adjective, traits


def _hat(hat: tuple[str, str]) -> str:
    kind, colour = hat
    if kind in ("crown", "santa hat"):
        return f"a {kind}"
    return f"{_article(colour)} {colour} {kind}"


def _article(word: str) -> str:
    return "an" if word[0] in "aeiou" else "a"


def _list(words: list[str]) -> str:
    return words[0] if len(words) == 1 else ", ".join(words[:-1]) + " and " + words[-1]


def tell(scene: Scene) -> Caption:
    """The one caption that tells people apart: from left to right, by what they wear and what they hold.

    It tells the hair only of people that share a noun with another, and leaves skin and faces to the picture:
    captioners seldom mention them, and who somebody is should not be learned from words.
    """
    order = sorted(range(len(scene.figures)), key=lambda index: scene.figures[index].x)
    nouns = [figure.person.noun for figure in scene.figures]
    text = STYLES[scene.style][-1] if scene.style != "photo" else ""
    spans: dict[int, tuple[int, int]] = {}
    for place, index in enumerate(order):
        if place:
            text += " and " if place == len(order) - 1 else ", "
        figure = scene.figures[index]
        chunk, rest = portray(figure, _kinds(figure, nouns.count(figure.person.noun) > 1, (4, 2, 1)[len(order) - 1]))
        spans[index] = (len(text), len(text) + len(chunk))
        text += chunk + rest
    if CONTEXTS[scene.context]:
        text += " " + CONTEXTS[scene.context]
    return Caption(text, tuple(spans[index] for index in range(len(order))))


def traits(figure: Figure) -> dict[str, str]:
    """Everything that ``tell`` may say of somebody, by kind: noun, hair, hat, scarf, shades, shirt, holding."""
    found = {"noun": figure.person.noun, "hair": _hair(figure), "shirt": f"{figure.shirt} shirt"}
    if figure.hat:
        found["hat"] = _hat(figure.hat).split(" ", 1)[1]
    if figure.scarf:
        found["scarf"] = f"{figure.scarf} scarf"
    if figure.shades:
        found["shades"] = f"{figure.shades} glasses"
    if figure.holding:
        found["holding"] = HOLDINGS[figure.holding]
    return found


def portray(figure: Figure, kinds: Collection[str]) -> tuple[str, str]:
    """Somebody's noun chunk and what follows it, with those of ``kinds`` (see ``traits``) that there are."""
    there = {kind: trait for kind, trait in traits(figure).items() if kind in kinds}
    hair = there.get("hair", "")
    worn = [_counted(there[kind]) for kind in ("hat", "scarf", "shades", "shirt") if kind in there]
    rest = f" with {hair}" if hair and hair != "bald" else ""
    rest += f" wearing {_list(worn)}" if worn else ""
    rest += f" holding {there['holding']}" if "holding" in there else ""
    return f"a {'bald ' * (hair == 'bald')}{figure.person.noun}", rest


def _kinds(figure: Figure, shared: bool, room: int) -> list[str]:
    worn = [kind for kind in ("hat", "scarf", "shades", "shirt") if kind in traits(figure)]
    return ["holding", *worn[:room], *["hair"] * shared]


def _counted(worn: str) -> str:
    return worn if worn.endswith("glasses") else f"{_article(worn)} {worn}"


def _hair(figure: Figure) -> str:
    """Colour and kind of somebody's hair, as ``describe`` says it; "bald" where there is none."""
    p = figure.person
    if p.hair_style == "bald":
        return "bald"
    if p.hair_style == "braids":
        return f"{p.hair_name} braids"
    if p.hair_style in ("bun", "ponytail"):
        return f"a {p.hair_name} {p.hair_style}"
    style = "" if p.hair_style in ("bob", "parted", "buzz") else p.hair_style + " "
    return f"{style}{p.hair_name} hair"


def _known_traits() -> dict[str, tuple[str, ...]]:
    hair = [f"a {colour} {kind}" for colour in HAIR_COLOURS for kind in ("bun", "ponytail")]
    hair += [f"{colour} braids" for colour in HAIR_COLOURS]
    hair += [f"{kind}{colour} hair" for colour in HAIR_COLOURS for kind in ("", "short ", "spiky ", "curly ", "long ")]
    return {
        "noun": ("man", "woman"),
        "hair": ("bald", *hair),
        "hat": tuple(_hat((kind, colour)).split(" ", 1)[1] for kind in HATS for colour in COLOURS),
        "scarf": tuple(f"{colour} scarf" for colour in (*COLOURS, "rainbow")),
        "shades": tuple(f"{colour} glasses" for colour in COLOURS),
        "shirt": tuple(f"{colour} shirt" for colour in COLOURS),
        "holding": tuple(HOLDINGS.values()),
    }


TRAITS: dict[str, tuple[str, ...]] = _known_traits()
"""All that ``traits`` can say, by kind."""


def traits_in(text: str) -> dict[str, str]:
    """The traits that a text about one person names, the longest of each kind.

    >>> traits_in("a man with curly red hair wearing a black top hat")
    {'noun': 'man', 'hair': 'curly red hair', 'hat': 'black top hat'}
    """
    words = f" {text.lower().replace(',', ' ')} "
    found = {}
    for kind, values in TRAITS.items():
        named = [value for value in values if f" {value} " in words]
        if named:
            found[kind] = max(named, key=len)
    return found
