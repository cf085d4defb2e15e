"""New words: a tokenizer and a text encoder with tokens of their own, beside the stack's."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

import torch

from baselines.tuning.models import LongerTable, private_copy
from fcbench.errors import UsageError
from fcbench.types import Stack, Subject


def word_of(subject: Subject) -> str:
    """A subject's new word: lower case, as tokens are matched, in brackets, so that none begins another.

    >>> word_of(Subject("Ann", "woman", ()))
    '<ann>'
    """
    return f"<{subject.id.lower()}>"


def longer_tokenizer(stack: Stack, words: Sequence[str]) -> Any:
    """A copy of the stack's tokenizer that knows the words; UsageError if it knows one already."""
    tokenizer = copy.deepcopy(stack.role("tokenizer"))
    if tokenizer.add_tokens(list(words)) != len(words):
        raise UsageError(f"the tokenizer has one of {', '.join(words)} already, or two are alike: rename the subject")
    return tokenizer


def longer_encoder(stack: Stack, rows: torch.Tensor) -> Any:
    """A float32 copy of the stack's text encoder with ``rows`` (n, dim) behind its token table: all that it trains."""
    encoder = private_copy(stack.role("text_encoder"), lambda name: False, frozen_dtype=torch.float32)
    encoder.set_input_embeddings(LongerTable(encoder.get_input_embeddings(), rows))
    return encoder.to(stack.device)


def row_of(stack: Stack, word: str) -> torch.Tensor:
    """The token table's row (dim,) of a word that is one token, or of a piece of words; UsageError if it is neither.

    The scripts name pieces too: CLIP has "ktn" only as a piece that begins longer words.
    """
    tokenizer = stack.role("tokenizer")
    ids = tokenizer.encode(word, add_special_tokens=False)
    if len(ids) != 1:
        piece = tokenizer.get_vocab().get(word)
        if piece is None:
            raise UsageError(f"a new token starts as one known token, and {word!r} is {len(ids)}: name another word")
        ids = [piece]
    table: torch.Tensor = stack.role("text_encoder").get_input_embeddings().weight
    return table[ids[0]].detach().float()
