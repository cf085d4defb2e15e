"""The commands of ``fcbench checkpoint``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from fcbench.cli.arguments import StackName

app = typer.Typer(help="Handle FastComposer checkpoints.", rich_markup_mode=None)


@app.command("convert")
def convert_checkpoint(
    source: Annotated[str, typer.Argument(help="Official pytorch_model.bin, our folder, or a hub id.")],
    target: Annotated[Path, typer.Argument(help="What to write: a folder, or a file that ends in .bin.")],
    stack: StackName = "sd15",
    random_weights: Annotated[bool, typer.Option("--random-weights", help="Take architectures only.")] = False,
) -> None:
    """Turn the official file into our folder, or our folder into the official file, bit for bit.

    The stack is the one that the checkpoint was trained on: it gives the architectures and the frozen weights.
    """
    from fcbench.fastcomposer.convert import convert
    from fcbench.stacks import load_stack

    print(convert(source, target, load_stack(stack, random_weights=random_weights)))
