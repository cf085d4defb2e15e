"""What several commands take, defined once."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

Out = Annotated[Path, typer.Option(help="Folder that everything lands under.")]
StackName = Annotated[str, typer.Option("--stack", help="mini, sd15, or a YAML file of your own.")]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:1.")]
Suites = Annotated[list[str] | None, typer.Option("--suite", help="Name or YAML file; may be repeated.")]
OUT = Path("out")
