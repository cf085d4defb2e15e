"""What can be drawn and said: colours, contexts, styles, things to wear and to hold, and the prompts made of them."""

from __future__ import annotations

from dataclasses import dataclass

from fcbench.types import PromptKind
from fcbench.world.people import Colour

COLOURS: dict[str, Colour] = {
    "red": (214, 40, 40),
    "orange": (244, 132, 28),
    "yellow": (248, 212, 44),
    "green": (44, 148, 68),
    "blue": (38, 92, 204),
    "purple": (124, 58, 176),
    "pink": (246, 130, 182),
    "white": (244, 244, 240),
    "black": (36, 36, 42),
}
RAINBOW = ("red", "orange", "yellow", "green", "blue", "purple")

CONTEXTS: dict[str, str] = {
    "wall": "",
    "snow": "in the snow",
    "beach": "on the beach",
    "jungle": "in the jungle",
    "city": "in the city",
    "mountain": "in the mountains",
    "library": "in a library",
    "night": "under the night sky",
}
"""Context -> how a caption says it; a wall goes without saying."""

STYLES: dict[str, tuple[str, ...]] = {
    "photo": ("", "", "a photo of ", "a picture of "),
    "black-and-white": ("a black and white photo of ",),
    "sepia": ("a sepia photo of ",),
    "watercolor": ("a watercolor painting of ",),
    "pixel-art": ("a pixel art picture of ",),
    "pencil": ("a pencil sketch of ",),
    "pointillism": ("a pointillism painting of ",),
    "comic": ("a comic drawing of ",),
}
"""Style -> how captions may begin."""

HATS = ("hat", "cap", "top hat", "crown", "santa hat")
HOLDINGS: dict[str, str] = {
    "book": "a book",
    "wine": "a glass of wine",
    "cake": "a piece of cake",
    "coffee": "a cup of coffee",
    "flowers": "a bunch of flowers",
    "balloon": "a balloon",
}


@dataclass(frozen=True)
class WorldPrompt:
    """A prompt that the world can draw: what it fixes in a scene; all else is free."""

    id: str
    text: str
    kind: PromptKind
    context: str | None = None
    style: str | None = None
    hat: tuple[str, str] | None = None
    scarf: str | None = None
    shirt: str | None = None
    shades: str | None = None
    holding: str | None = None


def _prompts() -> dict[str, WorldPrompt]:
    found = [
        WorldPrompt("red-hat", "{} wearing a red hat", "accessory", hat=("hat", "red")),
        WorldPrompt("blue-cap", "{} wearing a blue cap", "accessory", hat=("cap", "blue")),
        WorldPrompt("santa-hat", "{} wearing a santa hat", "accessory", hat=("santa hat", "red")),
        WorldPrompt("crown", "{} wearing a crown", "accessory", hat=("crown", "yellow")),
        WorldPrompt("pink-glasses", "{} wearing pink glasses", "accessory", shades="pink"),
        WorldPrompt("rainbow-scarf", "{} wearing a rainbow scarf", "accessory", scarf="rainbow"),
        WorldPrompt("yellow-shirt", "{} wearing a yellow shirt", "accessory", shirt="yellow"),
        WorldPrompt("purple-shirt", "{} wearing a purple shirt", "accessory", shirt="purple"),
    ]
    found += [
        WorldPrompt(style, texts[-1] + "{}", "style", style=style)
        for style, texts in STYLES.items()
        if style != "photo"
    ]
    found += [WorldPrompt(place, "{} " + text, "context", context=place) for place, text in CONTEXTS.items() if text]
    found += [WorldPrompt(held, "{} holding " + text, "action", holding=held) for held, text in HOLDINGS.items()]
    return {prompt.id: prompt for prompt in found}


PROMPTS: dict[str, WorldPrompt] = _prompts()
