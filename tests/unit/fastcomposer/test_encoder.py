from __future__ import annotations

import pytest
import torch

from fcbench.errors import DataError
from fcbench.fastcomposer.encoder import Fusion, subject_tokens
from fcbench.types import Stack

TEXT = "a man and a woman in the snow"


def test_a_subject_s_token_is_the_last_of_its_phrase(stack: Stack) -> None:
    tokenizer = stack.role("tokenizer")
    ids, positions = subject_tokens(tokenizer, TEXT, [len("a man"), len("a man and a woman")])
    assert len(ids) == tokenizer.model_max_length
    assert tokenizer.convert_ids_to_tokens([ids[p] for p in positions]) == ["man</w>", "woman</w>"]


def test_a_word_of_several_tokens_counts_with_its_last(stack: Stack) -> None:
    tokenizer = stack.role("tokenizer")
    _, (position,) = subject_tokens(tokenizer, "a zebra in the snow", [len("a zebra")])
    ids, (snow,) = subject_tokens(tokenizer, "a zebra snow", [len("a zebra snow")])
    assert position == snow - 1 > 2
    assert tokenizer.convert_ids_to_tokens(ids[position]).endswith("a</w>")


def test_a_phrase_that_is_cut_off_has_no_position(stack: Stack) -> None:
    text = "snow " * 70 + "woman"
    assert subject_tokens(stack.role("tokenizer"), text, [4, len(text)])[1] == [1, -1]


def test_two_phrases_do_not_share_a_token(stack: Stack) -> None:
    end = len("a man")
    assert subject_tokens(stack.role("tokenizer"), TEXT, [end, end])[1] == [2, -1]


@torch.no_grad()
def test_fusion_changes_the_subjects_tokens_alone_and_each_by_its_own_embedding() -> None:
    torch.manual_seed(0)
    fusion, text, subjects = Fusion(8), torch.randn(2, 5, 8), torch.randn(3, 8)
    at = torch.zeros(2, 5, dtype=torch.bool)
    at[0, 1] = at[0, 3] = at[1, 2] = True
    made = fusion(text, subjects, at)
    assert torch.equal(made[~at], text[~at])
    torch.testing.assert_close(made[1, 2], fusion.fuse(text[1, 2:3], subjects[2:])[0])
    swapped = fusion(text, subjects[[0, 2, 1]], at)
    assert torch.equal(swapped[0, 1], made[0, 1])
    assert not torch.allclose(swapped[1, 2], made[1, 2])


def test_fusion_refuses_another_number_of_embeddings_than_tokens() -> None:
    with pytest.raises(DataError, match="0 subject tokens but 2 subject embeddings"):
        Fusion(8)(torch.zeros(1, 5, 8), torch.zeros(2, 8), torch.zeros(1, 5, dtype=torch.bool))
