"""Subject embeddings fused into the prompt: the paper's augmented text conditioning.

The embedding of a subject's picture does not enter the text transformer. It is fused with the transformer's output,
at the last token of the subject's noun phrase; all other tokens stay as they are.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import torch
from ftfy import fix_text
from torch import nn

from fcbench.errors import DataError
from fcbench.images import to_clip


class MLP(nn.Module):
    """LayerNorm, Linear, GELU, Linear; the input is added to the output if ``residual``."""

    def __init__(self, inward: int, outward: int, *, residual: bool) -> None:
        super().__init__()
        self.layernorm = nn.LayerNorm(inward)
        self.fc1 = nn.Linear(inward, outward)
        self.fc2 = nn.Linear(outward, outward)
        self.residual = residual

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(n, inward) to (n, outward)."""
        made: torch.Tensor = self.fc2(nn.functional.gelu(self.fc1(self.layernorm(x))))
        return made + x if self.residual else made


class Fusion(nn.Module):
    """Mixes a noun token's text embedding with its subject's image embedding, both ``dim`` wide.

    Parameters carry the names of the official checkpoint (``postfuse_module``).
    """

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.mlp1 = MLP(2 * dim, dim, residual=False)
        self.mlp2 = MLP(dim, dim, residual=True)
        self.layer_norm = nn.LayerNorm(dim)

    def fuse(self, text: torch.Tensor, subjects: torch.Tensor) -> torch.Tensor:
        """Text and image embeddings of n subjects, (n, dim) each, to their augmented tokens (n, dim)."""
        mixed = self.mlp1(torch.cat([text, subjects], dim=-1)) + text
        augmented: torch.Tensor = self.layer_norm(self.mlp2(mixed))
        return augmented

    def forward(self, text: torch.Tensor, subjects: torch.Tensor, at: torch.Tensor) -> torch.Tensor:
        """Augment a batch of prompts.

        ``text`` (n, tokens, dim); ``at`` bool (n, tokens), True on each subject's token; ``subjects`` (at.sum(), dim)
        in the order of the True positions, row by row and left to right. Returns (n, tokens, dim); positions that are
        not True come back as they were. Raises DataError when the counts differ.
        """
        if int(at.sum()) != len(subjects):
            raise DataError(f"{int(at.sum())} subject tokens but {len(subjects)} subject embeddings")
        if not len(subjects):
            return text
        fused = self.fuse(text[at], subjects.to(text.dtype))
        return text.masked_scatter(at[..., None], fused.to(text.dtype))


def embed_subjects(image_encoder: Any, pictures: torch.Tensor) -> torch.Tensor:
    """Subjects' pictures, float (n, 3, height, width) in [-1, 1], to projected CLIP embeddings (n, dim)."""
    pixels = to_clip(pictures, image_encoder.config.image_size).to(image_encoder.dtype)
    embeds: torch.Tensor = image_encoder(pixel_values=pixels).image_embeds
    return embeds


def subject_tokens(tokenizer: Any, text: str, ends: Sequence[int]) -> tuple[list[int], list[int]]:
    """Tokenise a prompt and find, for each subject, the last token of its noun phrase, as the official code does.

    ``ends`` are the phrases' exclusive character ends, ascending. The text between them is cleaned (ftfy) and tokenised
    part by part: an end inside a word splits it. Returns the ids, padded or cut to the tokenizer's length (a text that
    is cut has no end-of-text, unlike ``sampling.tokenize``'s), and the positions; a phrase that is cut off, or that
    shares its token with the one before, has no position (-1).
    """
    ids, positions = [tokenizer.bos_token_id], []
    for start, end in pairwise([0, *ends, len(text)]):
        part = fix_text(text[start : max(start, end)])
        ids += tokenizer(part, add_special_tokens=False, verbose=False).input_ids
        positions.append(len(ids) - 1)
    length = tokenizer.model_max_length
    seen: set[int] = set()
    for subject, position in enumerate(positions[:-1]):
        if position in seen or position >= length:
            positions[subject] = -1
        seen.add(position)
    ids.append(tokenizer.eos_token_id)
    ids += [tokenizer.pad_token_id] * (length - len(ids))
    return ids[:length], positions[:-1]
