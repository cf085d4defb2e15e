"""Draws docs/samples.png: unseen people by FastComposer, and text only with the same prompts and noise."""

from pathlib import Path

from fcbench.config import load_suites
from fcbench.files import write_image
from fcbench.images import read_image
from fcbench.plugins import load
from fcbench.run import case_seed, cases_of, subjects_of
from fcbench.stacks import load_stack
from fcbench.types import Case, Image, Stack
from fcbench.world.sheet import grid

OUT = Path("out/samples")
PROMPTS = ("red-hat", "rainbow-scarf", "yellow-shirt", "snow", "beach", "jungle", "book", "cake", "watercolor")
PAIR_PROMPTS = ("snow", "beach", "jungle", "city", "book", "cake", "watercolor", "black-and-white")


def main() -> None:
    """Four people alone, then two pairs."""
    rows = []
    for name, groups, prompts in (("mini-single", 4, PROMPTS), ("mini-pair", 2, PAIR_PROMPTS)):
        suite = load_suites(name)[0]
        stack = load_stack("mini")
        cases = cases_of(suite, subjects_of(suite, OUT))
        for subjects in list(dict.fromkeys(case.subjects for case in cases))[:groups]:
            chosen = [c for p in prompts for c in cases if c.subjects == subjects and c.prompt.id == p]
            photos = [read_image(subject.reference) for subject in subjects]
            blank = [photos[0] * 0 + 255] * len(photos)
            rows.append([*photos, *_draw("fastcomposer", stack, chosen)])
            rows.append([*blank, *_draw("stable-diffusion", stack, chosen)])
    write_image(Path(__file__).with_name("samples.png"), grid(rows, scale=2))


def _draw(method: str, stack: Stack, cases: list[Case]) -> list[Image]:
    """The cases' pictures by a method, all in one batch."""
    sampler = load("methods", method).fit(stack, cases[0].subjects, seed=0, workdir=OUT)
    return sampler([case.prompt for case in cases], [case_seed(case) for case in cases])


if __name__ == "__main__":
    main()
