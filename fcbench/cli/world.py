"""The commands of ``fcbench world``."""

from __future__ import annotations

from typing import Annotated

import typer

from fcbench.cli.arguments import OUT, Out

app = typer.Typer(help="Look at the miniature world.", rich_markup_mode=None)


@app.command("show")
def show(
    rows: Annotated[int, typer.Option(min=1, help="People, one a row.")] = 6,
    seed: Annotated[int, typer.Option(help="Other people and scenes.")] = 0,
    out: Out = OUT,
) -> None:
    """Draw a sheet of people, alone and in scenes.

    Writes OUT/world.png.
    """
    from fcbench.files import write_image
    from fcbench.world.sheet import draw_sheet

    write_image(out / "world.png", draw_sheet(rows, seed=seed))
    print(out / "world.png")
