"""Search learning rate and steps of the tuned methods on people that no suite has, for the presets of a stack.

Every setting is a run of the same small suite, through the same runner and judges as any other, so the search can be
stopped and continued. Prints, for each method, identity, prompt and seconds of every setting; the best is the one with
the highest sum of identity and prompt, both in [-1, 1].
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from itertools import product
from pathlib import Path
from statistics import fmean

from fcbench import plugins
from fcbench.config import Suite
from fcbench.run import run_suite
from fcbench.score import score_run
from fcbench.stacks import load_stack
from fcbench.store import RunFolder

RATES = {
    "dreambooth": (5e-5, 1e-4, 3e-4),
    "dreambooth-lora": (1e-3, 2e-3, 5e-3),
    "textual-inversion": (1e-3, 3e-3, 1e-2),
    "custom-diffusion": (1e-3, 3e-3, 1e-2),
}
"""As the presets give them, before ``scale_lr``."""

STEPS = (150, 400)

PROMPTS = (
    ("red-hat", "accessory", "{} wearing a red hat"),
    ("yellow-shirt", "accessory", "{} wearing a yellow shirt"),
    ("watercolor", "style", "a watercolor painting of {}"),
    ("snow", "context", "{} in the snow"),
    ("beach", "context", "{} on the beach"),
    ("book", "action", "{} holding a book"),
)


def suite(options: argparse.Namespace) -> Suite:
    """Held-out people under six prompts, one or two per picture."""
    pairs = {"group": 2, "pairs": options.people // 2} if options.group == 2 else {}
    return Suite.model_validate(
        {
            "name": "recipe-search-pairs" if pairs else "recipe-search",
            "stack": options.stack,
            "subjects": {"source": "world", "first": options.first, "count": options.people, "photos": 5},
            **pairs,
            "prompts": [dict(zip(("id", "kind", "text"), prompt, strict=True)) for prompt in PROMPTS],
            "seeds": list(range(options.seeds)),
        }
    )


def settings(method: str, options: argparse.Namespace) -> Iterator[tuple[str, dict[str, str]]]:
    """Labels and options of a method's settings."""
    if method not in RATES:
        yield method, {}
        return
    for rate, steps in product(RATES[method], options.steps):
        chosen = {"learning_rate": str(rate), "tuning_steps": str(steps), "prior_images": str(options.prior_images)}
        if method == "textual-inversion":
            del chosen["prior_images"]
        yield f"{method}@{rate:g}-{steps}", {"preset": options.preset, **chosen}


def figures(folder: RunFolder) -> tuple[float, float, float]:
    """Mean identity and prompt, and mean seconds of a fit."""
    means = []
    for metric in ("identity", "prompt"):
        scores = [row[metric].value for row in folder.read_scores(metric)[1].values()]
        means.append(fmean(score for score in scores if score is not None))
    return means[0], means[1], fmean(row.fit_seconds for row in folder.generations())


def main() -> None:
    """Run, score and print every setting."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--stack", default="mini")
    parser.add_argument("--preset", default="mini")
    parser.add_argument("--methods", nargs="+", default=["stable-diffusion", "fastcomposer", *RATES])
    parser.add_argument("--steps", nargs="+", type=int, default=list(STEPS))
    parser.add_argument("--first", type=int, default=1_500_000)
    parser.add_argument("--people", type=int, default=2)
    parser.add_argument("--group", type=int, default=1, choices=(1, 2), help="people a picture")
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--prior-images", type=int, default=16)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--out", type=Path, default=Path("out/recipe-search"))
    options = parser.parse_args()
    plan, judge = suite(options), load_stack(options.stack, device=options.device)
    metrics = {name: plugins.load("metrics", name) for name in ("identity", "prompt")}
    for method in options.methods:
        found = []
        for label, chosen in settings(method, options):
            done = run_suite(plan, method, out=options.out, label=label, options=chosen, device=options.device)
            if done.failed:
                print(f"{label:34} {done.failed} of {done.cases} failed: {min(done.folder.failures().values())}")
            if done.failed == done.cases:
                continue
            score_run(done.folder, judge, metrics)
            identity, prompt, seconds = figures(done.folder)
            found.append((identity + prompt, label))
            told = f"identity {identity:6.3f}  prompt {prompt:6.3f}  sum {identity + prompt:6.3f}"
            print(f"{label:34} {told}  fit {seconds:7.1f} s", flush=True)
        if len(found) > 1:
            print(f"best of {method}: {max(found)[1]}", flush=True)


if __name__ == "__main__":
    main()
