"""The commands of ``fcbench suite``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from fcbench.cli.arguments import OUT, Out, StackName

app = typer.Typer(help="Look at suites, and make one of your own people.", rich_markup_mode=None)


@app.command("show")
def show_suite(
    suite: Annotated[str, typer.Argument(help="Name or YAML file.")],
    cases: Annotated[
        bool, typer.Option("--cases", help="All cases as CSV: name, words, seed, people, photos.")
    ] = False,
    out: Out = OUT,
) -> None:
    """Say what a suite asks for, and what of its people is missing."""
    from fcbench.config import load_suites
    from fcbench.run import suites

    for plan in load_suites(suite):
        print(suites.case_table(plan, out) if cases else suites.describe(plan, out))


@app.command("check")
def check_suite(suite: Annotated[str, typer.Argument(help="Name or YAML file.")]) -> None:
    """Name everything missing of a suite's people, say from your copy of CelebA; exit code 1 if anything is."""
    from fcbench.config import load_suites
    from fcbench.run.remarks import remarks
    from fcbench.run.suites import missing_people

    plans = load_suites(suite)
    found = [missing_people(plan) for plan in plans]
    for plan, missing in zip(plans, found, strict=True):
        told = f"{len(missing)} missing" if missing else "nothing is missing"
        print("\n".join([f"{plan.name}: {told}", *missing, *(f"note: {line}" for line in remarks(plan))]))
    if any(found):
        raise typer.Exit(1)


@app.command("new")
def new_suite(
    name: Annotated[str, typer.Argument(help="The suite's name, in-kebab-case.")],
    people: Annotated[Path, typer.Option(help="A folder with one folder of photos a person, the reference first.")],
    prompts: Annotated[Path, typer.Option(help="YAML: people: {ann: woman}, prompts: {context: ['{} in the snow']}.")],
    pairs: Annotated[int, typer.Option(min=0, help="Draw so many pairs instead of single people.")] = 0,
    seeds: Annotated[int, typer.Option(min=1, help="Pictures of each subject and prompt.")] = 4,
    stack: StackName = "sd15",
) -> None:
    """Make a suite of your own people and prompts: writes NAME.yaml here."""
    from fcbench.run import suites

    path = suites.new_suite(name, people, prompts, stack=stack, pairs=pairs, seeds=seeds)
    print(f"{path}: look at it with: fcbench suite show {path}; draw it with: fcbench run --suite {path}")
