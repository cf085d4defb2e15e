"""CLIP's tokenizer from its merges alone: the vocabulary follows from them."""

from __future__ import annotations

import gzip
from pathlib import Path
from typing import Any

from fcbench.errors import DataError

_START, _END = "<|startoftext|>", "<|endoftext|>"


def load_clip_tokenizer(place: Path) -> Any:
    """The ``transformers.CLIPTokenizer`` of a folder that holds ``merges.txt.gz``, one merge a line, in order.

    77 tokens long and padded with the end of text, as Stable Diffusion v1 has it. DataError for a broken file.
    """
    from transformers import CLIPTokenizer

    file = place / "merges.txt.gz"
    try:
        lines = gzip.decompress(file.read_bytes()).decode().splitlines()
        merges = [(left, right) for left, right in (line.split(" ") for line in lines)]
    except (OSError, ValueError, EOFError) as error:
        raise DataError(f"{file}: not a list of merges that can be read ({error}); install fcbench again") from error
    ids = {token: index for index, token in enumerate(vocabulary(merges))}
    return CLIPTokenizer(vocab=ids, merges=merges, model_max_length=77, pad_token=_END)


def vocabulary(merges: list[tuple[str, str]]) -> list[str]:
    """CLIP's tokens by id: the bytes, the bytes that end a word, each merge's result, start and end of text.

    >>> tokens = vocabulary([("t", "h"), ("th", "e</w>")])
    >>> tokens[0], tokens[256], tokens[512:]
    ('!', '!</w>', ['th', 'the</w>', '<|startoftext|>', '<|endoftext|>'])
    """
    letters = _letters()
    ends = [f"{letter}</w>" for letter in letters]
    return [*letters, *ends, *(left + right for left, right in merges), _START, _END]


def _letters() -> list[str]:
    """A visible character for each byte: printable ones stand for themselves, those from U+0100 on for the rest."""
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    return [chr(byte) for byte in printable] + [chr(0x100 + i) for i in range(256 - len(printable))]
