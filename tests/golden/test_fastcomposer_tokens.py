"""Tokenisation against the official one: prompts with markers, and captions with the ends of their phrases."""

from __future__ import annotations

import json
import os
from itertools import accumulate
from pathlib import Path
from typing import Any

import pytest
from transformers import CLIPTokenizer

from fcbench.fastcomposer.encoder import subject_tokens
from fcbench.sampling import tokenize
from fcbench.types import Stack

GOLDENS = Path(os.environ.get("FCBENCH_GOLDENS", Path(__file__).parent))
FACTS = json.loads((GOLDENS / "fastcomposer" / "e_tokenization.json").read_text())
MARKERS = {"demo": ("<|image|>", "caption"), "img": ("img", "prompt")}


@pytest.fixture(scope="module")
def tokenizer() -> Any:
    return CLIPTokenizer.from_pretrained(GOLDENS / "clip_bpe", model_max_length=FACTS["vocabulary"]["model_max_length"])


def reference(case: dict[str, Any]) -> dict[str, Any]:
    """The recorded result; where the official code depends on whether ftfy is installed, that with it."""
    result: dict[str, Any] = case if case["variants_agree"] else case["ftfy"]
    return result


def split_marked(prompt: str, marker: str) -> tuple[str, list[int]]:
    """A prompt without its markers, and where they stood: the ends of the subjects' phrases."""
    parts = prompt.split(marker)
    return "".join(parts), list(accumulate(len(part) for part in parts[:-1]))


def assert_tokens(found: tuple[list[int], list[int]], case: dict[str, Any]) -> None:
    expected = reference(case)
    assert found[0] == expected["input_ids"]
    assert [position for position in found[1] if position >= 0] == expected["mask_true_positions"]


@pytest.mark.parametrize(("kind", "place"), [(kind, place) for kind in MARKERS for place in range(len(FACTS[kind]))])
def test_a_marked_prompt_has_the_official_tokens(tokenizer: Any, kind: str, place: int) -> None:
    case, (marker, key) = FACTS[kind][place], MARKERS[kind]
    text, ends = split_marked(case[key], marker)
    assert text == case[f"text_only_{key}"]
    assert_tokens(subject_tokens(tokenizer, text, ends), case)


@pytest.mark.parametrize("place", range(len(FACTS["train"])))
def test_a_caption_has_the_official_tokens(tokenizer: Any, place: int) -> None:
    case = FACTS["train"][place]
    assert_tokens(subject_tokens(tokenizer, case["caption"], case["segment_ends_sorted"]), case)


@pytest.mark.parametrize(("kind", "place"), [(kind, place) for kind in MARKERS for place in range(len(FACTS[kind]))])
def test_the_text_alone_has_the_official_tokens(tokenizer: Any, kind: str, place: int) -> None:
    case, (_, key) = FACTS[kind][place], MARKERS[kind]
    ids = case["text_only_input_ids"]
    stack = Stack("clip", {"tokenizer": lambda: tokenizer}, image_size=512)
    assert tokenize(stack, [case[f"text_only_{key}"]]).tolist() == [ids["ftfy"] if isinstance(ids, dict) else ids]
