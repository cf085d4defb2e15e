"""Do the judges agree with the eye? Pictures with a known defect beside the same pictures without it.

A judge is right if the picture without the defect scores higher; a tie is wrong. Each defect has a score that is meant
to show it; what others make of it stands beside. Rendered pairs differ in nothing but the defect. Drawn ones come from
the stack's generator: it is asked for the defect, or the picture is spoiled afterwards; what it draws without being
asked counts against the judge, so these rows say less. It cannot be asked to swap two people: given each other's
photos, it follows the photos and draws the same picture. So it draws over rendered pictures, noised up to a time.

Run: python benchmarks/known_defects.py [--count 100] [--no-drawn]
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
from identity_limits import draw_over
from PIL import Image as Pillow
from PIL import ImageFilter

from baselines.stable_diffusion import StableDiffusion
from fcbench.fastcomposer.method import FastComposer
from fcbench.files import write_image
from fcbench.metrics.attributes import Attributes
from fcbench.metrics.blending import Blending
from fcbench.metrics.identity import Identity
from fcbench.metrics.prompt import PromptConsistency
from fcbench.metrics.sharpness import Sharpness
from fcbench.stacks import load_stack
from fcbench.types import Case, Generation, Image, Prompt, Stack, Subject
from fcbench.world import PROMPTS, TEST_PEOPLE, Figure, Person, Scene, draw_person, draw_scene, portrait, render
from fcbench.world.people import HAIR_COLOURS, mix

FIRST = TEST_PEOPLE[960_000]
PHOTOS = 3
TARGET = 0.95
ACCESSORIES = ("red-hat", "blue-cap", "crown", "pink-glasses", "rainbow-scarf", "yellow-shirt", "book", "cake")
PLACES = ("snow", "beach", "jungle", "city", "library", "night")
BLUR_PIXELS = 2.5
SWAP_TIMES = (250, 500)
"""The times, of 1000, from which the generator draws over two people."""

# Columns by kind of defect: first the one meant to show it, then others.
PERSON = ("identity",)
PAIR = ("margin", "identity", "both_right")
WORDS = ("attributes_probability", "attributes", "prompt")
FOCUS = ("sharpness", "identity", "prompt")


@dataclass(frozen=True)
class Trial:
    """A case without (``good``) and with (``bad``) a defect; of ``judges``, columns, the first is meant to show it."""

    defect: str
    source: str
    judges: tuple[str, ...]
    case: Case
    good: Image
    bad: Image


def rendered(count: int, folder: Path) -> Iterator[Trial]:
    """Trials that the renderer draws: ``count`` of each defect."""
    for number in range(count):
        random = Random(f"defects {number}")
        one, two = _people(number)
        alone = [_subject(one, folder)]
        pair = [_subject(one, folder), _subject(two, folder)]
        yield from _of_one_person(alone, one, number, random)
        yield from _of_words(alone, one, number, random)
        yield from _of_two_people(pair, (one, two), number, random)


def drawn(count: int, folder: Path, stack: Stack) -> Iterator[Trial]:
    """Trials that the stack's generator draws: ``count`` of each defect."""
    for number in range(count):
        random = Random(f"drawn {number}")
        one, two = _people(number)
        subject, other = _subject(one, folder), _subject(two, folder)
        recoloured = Subject(f"{subject.id}-hair", subject.noun, (_photo(_other_hair(one, random), folder, "hair"),))
        snow = _prompt("snow")

        def draw(people: Sequence[Subject], prompt: Prompt, seed: int = number) -> Image:
            return FastComposer().fit(stack, people, seed=0, workdir=folder)([prompt], [seed])[0]

        alone, good = Case((subject,), snow, 0), draw([subject], snow)
        if _has_hair(one):
            yield Trial("wrong hair colour", "drawn", PERSON, alone, good, draw([recoloured], snow))
        yield Trial("other person", "drawn", PERSON, alone, good, draw([_as(other, subject)], snow))
        yield Trial("blurred", "drawn", FOCUS, alone, good, blur(good))
        yield from _drawn_over((one, two), (subject, other), number, folder, stack)
        name = random.choice(ACCESSORIES)
        sampler = StableDiffusion().fit(stack, [subject], seed=0, workdir=folder)
        worn, bare = sampler([_prompt(name), Prompt("bare", "{}", "accessory")], [number, number])
        yield Trial("missing accessory", "drawn", WORDS, Case((subject,), _prompt(name), 0), worn, bare)


def _drawn_over(
    people: tuple[Person, Person], pair: tuple[Subject, Subject], number: int, folder: Path, stack: Stack
) -> Iterator[Trial]:
    """Both as themselves, and swapped: noise is laid over the rendered picture, and the generator takes it away."""
    one, two = people
    crossed = (_looks_of(two, one), _looks_of(one, two))
    posing = tuple(
        Subject(f"{subject.id}-swapped", subject.noun, (_photo(person, folder, f"as-{subject.id}"),))
        for subject, person in zip(pair, crossed, strict=True)
    )
    snow = _prompt("snow")
    scene = draw_scene(list(people), number, prompt="snow")

    as_they_are = FastComposer().fit(stack, pair, seed=0, workdir=folder)
    as_the_other = FastComposer().fit(stack, posing, seed=0, workdir=folder)
    for time in SWAP_TIMES:
        (right,) = draw_over([render(scene).image], [snow], [number], time, as_they_are)
        (wrong,) = draw_over([render(_with_people(scene, crossed)).image], [snow], [number], time, as_the_other)
        yield Trial(f"swapped people, over from {time}", "drawn", PAIR, Case(pair, snow, 0), right, wrong)


def rank(trials: Sequence[Trial], stack: Stack, folder: Path) -> dict[tuple[str, str, str], tuple[int, int]]:
    """(defect, source, judge) -> how often the judge was right, of how many."""
    generations = []
    for number, trial in enumerate(trials):
        for name, image in (("good", trial.good), ("bad", trial.bad)):
            file = folder / "pictures" / f"{number}-{name}.png"
            write_image(file, image, flush=False)
            generations.append(Generation(trial.case, file, 0.0, 0.0, 0, 0))
    rows: list[dict[str, float | None]] = [{} for _ in generations]
    for metric in (Identity(), PromptConsistency(), Blending(), Attributes(), Sharpness()):
        for row, scores in zip(rows, metric(stack, generations), strict=True):
            row.update({name: score.value for name, score in scores.items()})
    right: dict[tuple[str, str, str], tuple[int, int]] = {}
    for trial, good, bad in zip(trials, rows[::2], rows[1::2], strict=True):
        for judge in trial.judges:
            key, values = (trial.defect, trial.source, judge), (good[judge], bad[judge])
            hits, of = right.get(key, (0, 0))
            seen = values[0] is not None and values[1] is not None and values[0] > values[1]
            right[key] = (hits + seen, of + 1)
    return right


def table(right: dict[tuple[str, str, str], tuple[int, int]]) -> str:
    """The figures as Markdown; scores that are meant to show a defect are marked if below the target."""
    lines = ["| defect | pictures | judge | ranked right | of |", "| --- | --- | --- | --: | --: |"]
    seen = set()
    for (defect, source, judge), (hits, of) in right.items():
        is_first = (defect, source) not in seen
        seen.add((defect, source))
        mark = " (below 95 %)" if is_first and hits / of < TARGET else ""
        shown = f"**{judge}**" if is_first else judge
        lines.append(f"| {defect} | {source} | {shown} | {100 * hits / of:.1f} %{mark} | {of} |")
    return "\n".join(lines)


def blur(image: Image) -> Image:
    """The picture out of focus."""
    return np.asarray(Pillow.fromarray(image).filter(ImageFilter.GaussianBlur(BLUR_PIXELS)))


def _of_one_person(alone: Sequence[Subject], person: Person, number: int, random: Random) -> Iterator[Trial]:
    scene = draw_scene([person], number, prompt="snow")
    case, good = Case(tuple(alone), _prompt("snow"), 0), render(scene).image
    if _has_hair(person):
        bad = render(_with_people(scene, [_other_hair(person, random)])).image
        yield Trial("wrong hair colour", "rendered", PERSON, case, good, bad)
    stranger = draw_person(FIRST + 30_000 + number)
    yield Trial("other person", "rendered", PERSON, case, good, render(_with_people(scene, [stranger])).image)
    yield Trial("blurred", "rendered", FOCUS, case, good, blur(good))


def _of_words(alone: Sequence[Subject], person: Person, number: int, random: Random) -> Iterator[Trial]:
    name, place = random.choice(ACCESSORIES), random.choice(PLACES)
    scene = draw_scene([person], number, prompt=name)
    case, good = Case(tuple(alone), _prompt(name), 0), render(scene).image
    bare = replace(scene.figures[0], hat=None, scarf=None, shades=None, holding=None)
    bare = replace(bare, shirt="green") if PROMPTS[name].shirt else bare
    yield Trial("missing accessory", "rendered", WORDS, case, good, render(replace(scene, figures=(bare,))).image)
    other = random.choice([prompt for prompt in ACCESSORIES if prompt != name])
    yield Trial("other accessory", "rendered", WORDS, case, good, render(_dressed(scene, other)).image)
    scene = draw_scene([person], number, prompt=place)
    wrong = replace(scene, context=random.choice([context for context in PLACES if context != place]))
    case = Case(tuple(alone), _prompt(place), 0)
    yield Trial("wrong place", "rendered", WORDS, case, render(scene).image, render(wrong).image)


def _of_two_people(
    pair: Sequence[Subject], people: tuple[Person, Person], number: int, random: Random
) -> Iterator[Trial]:
    one, two = people
    scene = draw_scene(list(people), number, prompt="snow")
    case, good = Case(tuple(pair), _prompt("snow"), 0), render(scene).image
    stranger = draw_person(FIRST + 60_000 + number)
    middle = (_blend(one, two), _blend(two, one))
    wrongs: dict[str, tuple[Person, ...]] = {
        "swapped people": (_looks_of(two, one), _looks_of(one, two)),
        "one person twice": (one, one),
        "a stranger for one": (one, stranger),
        "two blends": middle,
    }
    for defect, wrong in wrongs.items():
        bad = render(_with_people(scene, wrong)).image
        yield Trial(defect, "rendered", PAIR, case, good, bad)
    single = render(replace(scene, figures=scene.figures[:1])).image
    yield Trial("missing person", "rendered", PAIR, case, good, single)


def _people(number: int) -> tuple[Person, Person]:
    """A man and a woman whom nothing was trained on."""
    people = [draw_person(FIRST + 20 * number + k) for k in range(20)]
    man, woman = (next(person for person in people if person.noun == noun) for noun in ("man", "woman"))
    return man, woman


def _subject(person: Person, folder: Path) -> Subject:
    photos = tuple(_photo(person, folder, str(view), view) for view in range(PHOTOS))
    return Subject(person.id, person.noun, photos)


def _photo(person: Person, folder: Path, name: str, view: int = 0) -> Path:
    file = folder / "photos" / f"{person.id}-{name}.png"
    if not file.exists():
        write_image(file, render(portrait(person, view)).image, flush=False)
    return file


def _as(photographed: Subject, named: Subject) -> Subject:
    """One person's photos under another's name and class word."""
    return replace(named, images=photographed.images)


def _prompt(name: str) -> Prompt:
    known = PROMPTS[name]
    return Prompt(known.id, known.text, known.kind)


def _with_people(scene: Scene, people: Sequence[Person]) -> Scene:
    return replace(
        scene, figures=tuple(replace(figure, person=p) for figure, p in zip(scene.figures, people, strict=True))
    )


def _dressed(scene: Scene, name: str) -> Scene:
    """The scene's people, wearing and holding what another prompt asks for."""
    asked = PROMPTS[name]
    put_on: Callable[[Figure], Figure] = lambda figure: replace(  # noqa: E731
        figure, hat=asked.hat, scarf=asked.scarf, shades=asked.shades, holding=asked.holding,
        shirt=asked.shirt or "green",
    )  # fmt: skip
    return replace(scene, figures=tuple(map(put_on, scene.figures)))


def _other_hair(person: Person, random: Random) -> Person:
    """The person with a visibly different hair colour."""
    far = [
        name for name, colour in HAIR_COLOURS.items()
        if sum(abs(a - b) for a, b in zip(colour, person.hair, strict=True)) > 200
    ]  # fmt: skip
    name = random.choice(far)
    return replace(person, hair_name=name, hair=HAIR_COLOURS[name])


def _looks_of(other: Person, person: Person) -> Person:
    """``person``'s body, jaw, lips, beard, brow thickness and haircut, else ``other``'s: what misbound words draw."""
    return replace(
        other,
        noun=person.noun,
        jaw=person.jaw,
        lip=person.lip,
        beard=person.beard,
        hair_style=person.hair_style,
        brow_thickness=person.brow_thickness,
    )


def _has_hair(person: Person) -> bool:
    """Whether the hair's colour can be seen."""
    return person.hair_style not in ("bald", "buzz")


def _blend(one: Person, two: Person) -> Person:
    """Halfway between two people in everything that has a middle; body and cut of hair are the first's."""
    middle: dict[str, Any] = {}
    for name, mine in vars(one).items():
        if isinstance(mine, float):
            middle[name] = (mine + getattr(two, name)) / 2
        elif isinstance(mine, tuple):
            middle[name] = mix(mine, getattr(two, name), 0.5)
    return replace(one, **middle)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=100, help="pictures of each defect")
    parser.add_argument("--no-drawn", action="store_true", help="rendered pictures only")
    parser.add_argument("--stack", default="mini")
    options = parser.parse_args()
    stack = load_stack(options.stack)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        trials = list(rendered(options.count, folder))
        if not options.no_drawn:
            trials += drawn(options.count, folder, stack)
        print(table(rank(trials, stack, folder)))


if __name__ == "__main__":
    main()
