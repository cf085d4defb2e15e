"""The parser role: a spaCy pipeline that finds noun chunks."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from fcbench.errors import MissingError


def load_parser(path_or_name: str | Path) -> Any:
    """Load a spaCy pipeline from a folder, or by the name of an installed one ("en_core_web_sm").

    MissingError says how to get what is absent: spaCy, or the pipeline.
    """
    try:
        import spacy
    except ModuleNotFoundError as error:
        raise MissingError("the parser needs spaCy: pip install 'spacy>=3.8,<4'") from error
    try:
        return spacy.load(path_or_name)
    except OSError as error:
        is_folder = isinstance(path_or_name, Path) or "/" in str(path_or_name)
        mend = "fcbench make-stack" if is_folder else f"python -m spacy download {path_or_name}"
        raise MissingError(f"no spaCy pipeline {path_or_name}: get it with: {mend}") from error
