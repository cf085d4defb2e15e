"""The command ``fcbench make-stack``, which chains others."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from fcbench.cli.arguments import OUT, Device
from fcbench.cli.reports import report
from fcbench.cli.verbs import run
from fcbench.errors import UsageError


def make_stack(
    name: Annotated[str, typer.Argument(help="mini: the only one that is trained here.")] = "mini",
    minutes: Annotated[
        float,
        typer.Option(min=0, help="Stop after so long, at the next step of a training; the same command goes on."),
    ] = 120,
    device: Device = "auto",
    out: Annotated[Path, typer.Option(help="Folder of the stack.")] = OUT / "stack",
) -> None:
    """Train the miniature stack from nothing.

    Judges, codec and base, then FastComposer on built data. Writes OUT/stack.yaml with a folder per role, and a card of
    scores on people that no training saw. The face judges, the base and FastComposer train on --device, the other
    roles on the processor.
    """
    from fcbench import build, make_stack, store
    from fcbench.config import Recipe, load_suites, load_yaml
    from fcbench.fastcomposer.checkpoint import MODELS
    from fcbench.fastcomposer.train import train
    from fcbench.files import locked
    from fcbench.loop import Clock
    from fcbench.report import leaderboard
    from fcbench.stacks import find_device, load_stack

    if name != "mini":
        raise UsageError(f"no stack {name!r} is trained here: known: mini")
    clock, work, description, device = Clock(minutes), out / "work", str(out / "stack.yaml"), find_device(device)
    with locked(work / ".lock", f"{work}: another make-stack is at work there; wait for it, or end it"):
        make_stack.make_base(out, work, clock, device=device)
        stack = load_stack(description, device=device, unrounded=MODELS)
        for data, (photos, seed) in make_stack.DATASETS.items():
            clock.check(f"the photos of {data} are built")
            build.build_data(work, name=data, photos=photos, seed=seed, stack=stack)
        start = ""
        for recipe, data in make_stack.RECIPES.items():
            last = recipe == list(make_stack.RECIPES)[-1]
            checkpoint = out / "fastcomposer" if last else store.checkpoint_folder(work, recipe)
            asked = load_yaml(recipe, Recipe, "recipes").model_copy(update={"start": start})
            train(store.data_folder(work, data).path, checkpoint, stack, asked, clock)
            start = str(checkpoint)
        boards = {}
        for suite in [suite for known in ("mini-single", "mini-pair") for suite in load_suites(known)]:
            clock.check(f"{suite.name} is drawn")
            run(suite=[suite.name], stack=description, device=device, out=work)
            run(suite=[suite.name], stack=description, device=device, out=work, sanity=True)
            report(suite=[suite.name], stack=description, device=device, out=work)
            boards[suite.name] = leaderboard(work, suite.name)
        make_stack.write_card(out, load_stack(description), work, boards)
    print(f"{out / 'README.md'}: the card; draw with it: fcbench run --stack {description}")
