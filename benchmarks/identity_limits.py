"""Where does identity get lost? The same people under the same prompts, ever further from the truth.

Real renders; the same through the codec; the same noised up to some time and denoised again by FastComposer (the more
noise, the more the photo must tell); pictures drawn from noise alone; and those of people in the training photos, which
tells learning by heart from learning to look. Prints the identity judge's mean over people, with its 95 % interval; for
pairs that of the worse of the two, and how often both are right.

    python benchmarks/identity_limits.py [--people 24] [--checkpoint DIR]
    python benchmarks/identity_limits.py --pairs                            # 24 people in 12 pairs
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from statistics import fmean

import torch

from fcbench import sampling
from fcbench.build.cast import SIZES, world_scene
from fcbench.fastcomposer.method import FastComposer, FastComposerSampler
from fcbench.files import write_image
from fcbench.images import to_images, to_tensor
from fcbench.metrics.blending import Blending
from fcbench.metrics.identity import Identity
from fcbench.report.runs import group_of
from fcbench.report.statistics import mean
from fcbench.run import case_seed
from fcbench.stacks import load_stack
from fcbench.types import Case, Generation, Image, Prompt, Stack, Subject, subject_phrase
from fcbench.world import PROMPTS, TEST_PEOPLE, Person, draw_person, draw_scene, portrait, render

FIRST = TEST_PEOPLE[970_000]
PROMPTS_OF = {1: ("yellow-shirt", "snow", "beach", "book"), 2: ("snow", "beach", "jungle", "book")}
"""Prompts that leave a face's colours alone, by number of people in the picture."""
TIMES = (250, 500, 750)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--people", type=int, default=24)
    parser.add_argument("--pairs", action="store_true", help="two people a picture")
    parser.add_argument("--checkpoint", help="another FastComposer checkpoint than the stack's")
    options = parser.parse_args()
    size = 2 if options.pairs else 1
    if options.people < size or options.people % size:
        parser.error(f"--people {options.people}: {'pairs need an even number' if options.pairs else 'at least 1'}")
    stack = load_stack("mini", device="cpu")
    stack.checkpoint = options.checkpoint or stack.checkpoint
    right = " both right |" if options.pairs else ""
    print(f"| pictures | identity | 95 % interval |{right}\n| --- | --: | --: |{' --: |' if right else ''}")
    with tempfile.TemporaryDirectory() as folder:
        for name, first, make in ways(stack, PROMPTS_OF[size]):
            people = [draw_person(first + k) for k in range(options.people)]
            groups = [people[k : k + size] for k in range(0, len(people), size)]
            print(line(name, groups, make, stack, Path(folder)), flush=True)


Make = Callable[[Sequence[Person], FastComposerSampler, Sequence[Case]], Sequence[Image]]
"""Makes one person's or pair's pictures, one per case."""


def ways(stack: Stack, names: Sequence[str]) -> Iterator[tuple[str, int, Make]]:
    """Name, first person, and how the pictures are made."""

    def real(people: Sequence[Person], *_: object) -> Sequence[Image]:
        return [render(draw_scene(list(people), k, prompt=name)).image for k, name in enumerate(names)]

    def coded(people: Sequence[Person], *_: object) -> Sequence[Image]:
        return to_images(sampling.decode_latents(stack.role("vae"), latents(real(people), stack)))

    def drawn(_: Sequence[Person], sampler: FastComposerSampler, cases: Sequence[Case]) -> Sequence[Image]:
        return sampler([case.prompt for case in cases], [case_seed(case) for case in cases])

    def denoised_from(time: int) -> Make:
        def make(people: Sequence[Person], sampler: FastComposerSampler, cases: Sequence[Case]) -> Sequence[Image]:
            prompts, seeds = [case.prompt for case in cases], [case_seed(case) for case in cases]
            return draw_over(real(people), prompts, seeds, time, sampler)

        return make

    yield "real", FIRST, real
    yield "through the codec", FIRST, coded
    for time in TIMES:
        yield f"noised to {time} of 1000 and denoised", FIRST, denoised_from(time)
    yield "drawn", FIRST, drawn
    yield "drawn, people of the training photos", first_trained(), drawn


def first_trained() -> int:
    """The first person of the photos that FastComposer was trained on; those after that one are in them too."""
    photos = range(len(SIZES))
    return min(figure.person.number for index in photos for figure in world_scene(index, seed=0)[0].figures)


def draw_over(
    images: Sequence[Image], prompts: Sequence[Prompt], seeds: Sequence[int], time: int, sampler: FastComposerSampler
) -> list[Image]:
    """The pictures, noised to ``time`` of 1000 and denoised by FastComposer, with its subjects' photos and prompts."""
    stack = sampler.stack
    text = sampling.encode_text(stack, [prompt.fill(subject_phrase(sampler.nouns)) for prompt in prompts])
    clean = latents(images, stack)
    noise = sampling.initial_noise(seeds, clean.shape[1:])
    drawn = denoise_again(clean, noise, time, sampler.augment(text, prompts), sampler.parts.unet, stack)
    return to_images(sampling.decode_latents(stack.role("vae"), drawn))


def latents(images: Sequence[Image], stack: Stack) -> torch.Tensor:
    """Scaled latents of pictures."""
    with torch.no_grad():
        return sampling.encode_images(stack.role("vae"), to_tensor(list(images)))


@torch.no_grad()
def denoise_again(
    clean: torch.Tensor, noise: torch.Tensor, time: int, text: torch.Tensor, unet: torch.nn.Module, stack: Stack
) -> torch.Tensor:
    """Latents noised up to ``time``, then denoised by the rest of the stack's schedule."""
    scheduler = type(stack.role("scheduler")).from_config(stack.role("scheduler").config)
    scheduler.set_timesteps(stack.sampling["steps"])
    times = [t for t in scheduler.timesteps if t <= time]
    null = sampling.encode_text(stack, [""]).expand(len(clean), -1, -1)
    noisy = scheduler.add_noise(clean, noise, times[0].repeat(len(clean)))
    for t in times:
        both = scheduler.scale_model_input(torch.cat([noisy, noisy]), t)
        without, given = unet(both, t, torch.cat([null, text])).sample.chunk(2)
        noisy = scheduler.step(without + stack.sampling["guidance"] * (given - without), t, noisy).prev_sample
    return noisy


def line(name: str, groups: Sequence[Sequence[Person]], make: Make, stack: Stack, folder: Path) -> str:
    """One row: what the judge says of these pictures of these people."""
    method, generations = FastComposer(), []
    for people in groups:
        subjects = tuple(_subject(person, folder) for person in people)
        cases = [Case(subjects, _prompt(prompt), 0) for prompt in PROMPTS_OF[len(people)]]
        sampler = method.fit(stack, subjects, seed=0, workdir=folder)
        for case, image in zip(cases, make(people, sampler, cases), strict=True):
            file = folder / f"{len(generations)}.png"
            write_image(file, image, flush=False)
            generations.append(Generation(case, file, 0.0, 0.0, 0, 0))
    scores = [row["identity"].value or 0.0 for row in Identity()(stack, generations)]
    cases = [generation.case for generation in generations]
    found = mean(scores, [group_of(case) for case in cases], [case.prompt.id for case in cases])
    interval = "" if found.low is None or found.high is None else f"[{found.low:.3f}, {found.high:.3f}]"
    row = f"| {name} | {found.value:.3f} | {interval} |"
    if len(groups[0]) == 1:
        return row
    return f"{row} {fmean(row['both_right'].value or 0.0 for row in Blending()(stack, generations)):.1%} |"


def _subject(person: Person, folder: Path) -> Subject:
    """A person with five photos, the first of which is the reference; the others tell the judge how photos differ."""
    photos = tuple(folder / f"{person.id}-{k}.png" for k in range(5))
    for k, photo in enumerate(photos):
        write_image(photo, render(portrait(person, k)).image, flush=False)
    return Subject(person.id, person.noun, photos)


def _prompt(name: str) -> Prompt:
    known = PROMPTS[name]
    return Prompt(known.id, known.text, known.kind)


if __name__ == "__main__":
    main()
