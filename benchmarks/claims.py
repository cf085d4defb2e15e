"""What the paper says of training, measured: without the localisation loss, without the masked loss, and with both.

Two more arms take none, or all, of the references from another photo of the person than the one drawn.

Each arm is a whole training: as many pictures as the others, from the same start, over several seeds; equal seeds see
equal batches and noise. Then pairs and single people are drawn, and every arm is compared with the first one named (by
default the whole recipe): by seed, over the seeds, and over the people. The attention is read on photos that
no training saw.

    python benchmarks/claims.py --data world --pictures 100000                           # one device, hours on a CPU
    python benchmarks/claims.py --data world --pictures 100000 --minutes 9               # in pieces: the same command
    python benchmarks/claims.py --data world --arms same-photo other-photo               # which photo to refer to

What is trained, drawn and scored stays under OUT and is not made again.
"""

from __future__ import annotations

import argparse
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from random import Random
from statistics import fmean, stdev

import torch
from scipy.stats import t as student

from fcbench import store
from fcbench.config import Recipe, load_suites, load_yaml
from fcbench.diffusion import noised, training_scheduler
from fcbench.errors import OutOfTimeError
from fcbench.fastcomposer.checkpoint import load_checkpoint
from fcbench.fastcomposer.data import Example, make_example, open_photos
from fcbench.fastcomposer.encoder import embed_subjects
from fcbench.fastcomposer.latents import photo_latents
from fcbench.fastcomposer.localize import Localizer, attention_inside
from fcbench.fastcomposer.model import subject_masks, token_mask
from fcbench.fastcomposer.photos import ParquetPhotos
from fcbench.fastcomposer.train import train
from fcbench.fastcomposer.transforms import fit_photo
from fcbench.images import to_tensor
from fcbench.loop import Clock
from fcbench.report.runs import group_of, read_run
from fcbench.report.statistics import difference
from fcbench.run import run_suite
from fcbench.sampling import encode_images
from fcbench.score import chosen_metrics, needs_scoring, score_run
from fcbench.stacks import load_stack
from fcbench.types import Stack

WHOLE = "whole"
ARMS: dict[str, dict[str, float]] = {
    WHOLE: {},
    "no-localization": {"localization_weight": 0.0},
    "no-mask": {"masked_loss": 0.0},
    "same-photo": {"other_photo": 0.0},
    "other-photo": {"other_photo": 1.0},
}
OF_THE_PAPER = (WHOLE, "no-localization", "no-mask")
COLUMNS = {
    "pair": ("identity", "both_right", "blended", "swapped", "cloned", "prompt"),
    "single": ("identity", "prompt"),
}
PHOTOS, TIMES = 64, (200, 400, 600, 800)
"""How many photos the attention is read on, and at which of 1000 times."""


def main() -> int:
    """Train what is not trained, draw and score what is not drawn, print the table; 3 when time is up."""
    options = arguments()
    clock = Clock(options.minutes)
    try:
        for seed in options.seeds:
            for arm in options.arms:
                make(arm, seed, options, clock)
    except OutOfTimeError as error:
        print(f"{error}; the same command goes on", file=sys.stderr)
        return 3
    for arm in options.arms:
        print(f"{arm}: share of attention inside the subject's mask by seed:", *shares(arm, options))
    for size, columns in COLUMNS.items():
        suite = getattr(options, size)
        print(f"\n{suite}\n| arm | score | {options.arms[0]} | difference by seed | over seeds | over people |")
        print("| --- | --- | --: | --- | --: | --: |")
        for arm in options.arms[1:]:
            for column in columns:
                print(line(suite, arm, column, options), flush=True)
    return 0


def make(arm: str, seed: int, options: argparse.Namespace, clock: Clock) -> None:
    """One arm of one seed: trained, drawn and scored."""
    label, recipe = f"{arm}-{seed}", plan(arm, seed, options)
    checkpoint = store.checkpoint_folder(options.out, label)
    stack = load_stack(recipe.stack, device=options.device)
    data = store.dataset_path(options.out, options.data)
    share_latents(data, store.TrainingFolder(checkpoint), stack, recipe, options.out / "claims-latents.npy")
    train(data, checkpoint, stack, recipe, clock)
    metrics = chosen_metrics(())
    for size in COLUMNS:
        for suite in load_suites(getattr(options, size)):
            folder = run_suite(
                suite,
                "fastcomposer",
                out=options.out,
                label=f"fastcomposer@{label}",
                checkpoint=str(checkpoint),
                device=options.device,
            ).folder
            if needs_scoring(folder, metrics, stack.digests):
                score_run(folder, stack, metrics)


def share_latents(data: Path, folder: store.TrainingFolder, stack: Stack, recipe: Recipe, file: Path) -> None:
    """Encode the photos once for all arms, which share them."""
    if not folder.finished.exists() and not folder.latents.exists():
        photo_latents(open_photos(data), stack, recipe, file)
        folder.latents.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(file, folder.latents)


def plan(arm: str, seed: int, options: argparse.Namespace) -> Recipe:
    """The recipe of an arm: the one named, cut to the pictures asked for, without what the arm lacks."""
    recipe = load_yaml(options.recipe, Recipe, "recipes")
    steps = -(-options.pictures // recipe.batch_size)
    given = {} if options.start is None else {"start": options.start}
    return recipe.model_copy(update={"steps": steps, "seed": seed, **given, **ARMS[arm]})


def line(suite: str, arm: str, column: str, options: argparse.Namespace) -> str:
    """One row of the table: the mean of the first arm, and what ``arm`` loses or gains against it."""
    values: list[dict[str, float]] = []
    by_seed, means = [], []
    for seed in options.seeds:
        base, other = (
            read_run(store.run_folder(options.out, suite, f"fastcomposer@{name}-{seed}"))
            for name in (options.arms[0], arm)
        )
        before, now = base.values(column), other.values(column)
        values.append({case: now[case] - before[case] for case in now.keys() & before.keys()})
        by_seed.append(fmean(values[-1].values()))
        means.append(fmean(before.values()))
        cases = base.cases
    shared = sorted(set.intersection(*(set(each) for each in values)))
    people = difference(
        [fmean(each[case] for each in values) for case in shared],
        [0.0] * len(shared),
        [group_of(cases[case]) for case in shared],
        [cases[case].prompt.id for case in shared],
    )
    e, told = people.estimate, " ".join(f"{value:+.3f}" for value in by_seed)
    over_people = f"{e.value:+.3f}" + ("" if e.low is None or e.high is None else f" [{e.low:.3f}, {e.high:.3f}]")
    return f"| {arm} | {column} | {fmean(means):.3f} | {told} | {over(by_seed)} | {over_people} |"


def over(values: Sequence[float]) -> str:
    """The mean over seeds with its 95 % interval (Student's t); none from one seed, nor where all seeds are alike."""
    if len(set(values)) < 2:
        return f"{values[0]:+.3f}"
    half = float(student.ppf(0.975, len(values) - 1)) * stdev(values) / len(values) ** 0.5
    middle = fmean(values)
    return f"{middle:+.3f} [{middle - half:.3f}, {middle + half:.3f}]"


def shares(arm: str, options: argparse.Namespace) -> list[str]:
    """The share of attention inside the subjects' masks of each seed's weights."""
    found = []
    for seed in options.seeds:
        stack = load_stack(plan(arm, seed, options).stack, device=options.device)
        place = str(store.checkpoint_folder(options.out, f"{arm}-{seed}"))
        share, area = share_inside(place, store.dataset_path(options.out, options.data), stack)
        found.append(f"{share:.3f}")
    return [*found, f"(the masks' share of the picture: {area:.3f})"]


@torch.no_grad()
def share_inside(checkpoint: str, data: Path, stack: Stack) -> tuple[float, float]:
    """The share of subjects' attention inside their masks, over layers, times and unseen photos of several people.

    And the masks' share of the picture, which attention that ignores them would reach.
    """
    parts = load_checkpoint(checkpoint, stack)
    photos = ParquetPhotos(store.DataFolder(data).shards("validation"), min_margin=0.01)
    rows = [row for row in range(len(photos)) if len(photos.segments[row]) > 1][:PHOTOS]
    sure = Recipe(name="plain", unconditional=0.0, text_only=0.0, subject_drop=0.0)
    sides = {"side": stack.image_size, "reference_side": parts.image_encoder.config.image_size}
    examples = [make_example(photos, row, stack.role("tokenizer"), sure, Random(row), **sides) for row in rows]
    pictures = [fit_photo(photos.image(example.row), stack.image_size) for example in examples]
    clean = encode_images(stack.role("vae"), to_tensor(pictures).to(stack.device))
    positions, masks = (each.to(stack.device) for each in subject_masks(examples, stack.image_size))
    text = conditioning(examples, parts.image_encoder, parts.fusion, positions, stack)
    noise = torch.randn(clean.shape, generator=torch.Generator().manual_seed(0)).to(clean)
    localizer, scheduler = Localizer(parts.unet, measure=attention_inside), training_scheduler(stack.role("scheduler"))
    found = []
    for time in TIMES:
        times = torch.full((len(clean),), time, device=clean.device)
        with localizer.watch(positions, masks):
            parts.unet(noised(scheduler, clean, noise, times)[0], times, text)
        found.append(float(localizer.loss()))
    there = positions >= 0
    return fmean(found), float(masks.mean(dim=(2, 3))[there].mean())


def conditioning(
    examples: Sequence[Example], image_encoder: torch.nn.Module, fusion: torch.nn.Module, at: torch.Tensor, stack: Stack
) -> torch.Tensor:
    """The augmented prompts (n, tokens, channels) of examples whose subjects' tokens are ``at`` (n, subjects)."""
    ids = torch.tensor([example.ids for example in examples], device=stack.device)
    text = stack.role("text_encoder")(ids).last_hidden_state.float()
    references = to_tensor([picture for example in examples for picture in example.references]).to(stack.device)
    made: torch.Tensor = fusion(text, embed_subjects(image_encoder, references), token_mask(at, text.shape[1]))
    return made


def arguments() -> argparse.Namespace:
    """What was asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", default="world", help="name of the dataset in OUT/data, or the path of one")
    parser.add_argument("--recipe", default="mini", help="the whole recipe, whose parts the arms lack")
    parser.add_argument("--start", default=None, help="a checkpoint to branch from, 'stack' for the stack's own")
    parser.add_argument("--pair", default="mini-pair", help="suite of two people a picture")
    parser.add_argument("--single", default="mini-single", help="suite of one person a picture")
    parser.add_argument(
        "--arms", nargs="+", default=list(OF_THE_PAPER), choices=list(ARMS), help="the others against the first"
    )
    parser.add_argument("--pictures", type=int, default=100_000, help="of each training")
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--minutes", type=float, default=float("inf"), help="of training, then stop")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--out", type=Path, default=Path("out"))
    return parser.parse_args()


if __name__ == "__main__":
    raise SystemExit(main())
