"""The commands of ``fcbench data``."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from fcbench.cli.arguments import OUT, Out
from fcbench.errors import UsageError

Stack = Annotated[
    str | None,
    typer.Option(help="Whose tokenizer tells what lies within a caption's tokens; else the one that made it, or sd15."),
]

app = typer.Typer(help="Look at a dataset, check it, write it for other programs.", rich_markup_mode=None)


@app.command("export")
def export_data(
    name: Annotated[str, typer.Argument(help="Name of the dataset in OUT/data, or its path.")],
    target: Annotated[Path, typer.Argument(help="Folder to write; it must not be there yet.")],
    layout: Annotated[str, typer.Option(help="fastcomposer, webdataset, imagefolder or coco.")] = "fastcomposer",
    stack: Stack = None,
    out: Out = OUT,
) -> None:
    """Write a built dataset in another program's layout."""
    from fcbench import store
    from fcbench.build.export import export
    from fcbench.build.tokens import tokenizer_of

    folder = store.DataFolder(store.dataset_path(out, name))
    counts = export(folder, layout, target, tokenizer_of(folder, stack) if layout == "fastcomposer" else None)
    print(f"{target}: " + ", ".join(f"{count} {what}" for what, count in counts.items()))


@app.command("validate")
def validate_data(
    name: Annotated[str, typer.Argument(help="Name in OUT/data, or a path; ffhq_fastcomposer's too.")] = "world",
    stack: Stack = None,
    show: Annotated[int, typer.Option(min=0, help="How many faults are told one by one.")] = 20,
    out: Out = OUT,
) -> None:
    """Check all that the trainer and the official reader demand; exit code 1 if there is a fault."""
    from fcbench import store
    from fcbench.build.tokens import tokenizer_of
    from fcbench.build.validate import validate

    folder = store.dataset_path(out, name)
    found = validate(folder, tokenizer_of(store.DataFolder(folder), stack))
    for fault in found.faults[:show]:
        print(fault)
    print(f"{name}: {found.summary}")
    if found.faults:
        raise typer.Exit(1)


@app.command("evaluate")
def evaluate_data(
    name: Annotated[str, typer.Argument(help="Name of the dataset in OUT/data, or its path.")] = "world",
    at_least: Annotated[
        list[str] | None, typer.Option(help="Exit 1 where a figure is below, as in face=0.95; may be repeated.")
    ] = None,
    out: Out = OUT,
) -> None:
    """Score a build's captions, phrases, masks and matches against what its source knows.

    Writes OUT/data/NAME/evaluation.json.
    """
    from fcbench import store
    from fcbench.build.evaluate import evaluate

    bounds = dict(_bound(given) for given in at_least or ())
    found = evaluate(store.DataFolder(store.dataset_path(out, name)))
    print(found)
    if lines := found.below(bounds):
        print("\n".join(lines), file=sys.stderr)
        raise typer.Exit(1)


def _bound(given: str) -> tuple[str, float]:
    name, _, share = given.partition("=")
    try:
        if 0 <= (least := float(share)) <= 1:
            return name, least
    except ValueError:
        pass
    raise UsageError(f"--at-least {given}: a figure and its least share from 0 to 1, as in face=0.95")


@app.command("show")
def show_data(
    name: Annotated[str, typer.Argument(help="Name of the dataset in OUT/data, or its path.")] = "world",
    samples: Annotated[int, typer.Option(min=1, help="How many photos are drawn at random.")] = 60,
    seed: Annotated[int, typer.Option(help="Other photos.")] = 0,
    out: Out = OUT,
) -> None:
    """Write a page to look at: samples with their masks, rejects, and keys to judge with.

    Writes OUT/data/NAME/qa/index.html.
    """
    from fcbench import store
    from fcbench.build.page import write_page

    print(write_page(store.DataFolder(store.dataset_path(out, name)), samples=samples, seed=seed))
