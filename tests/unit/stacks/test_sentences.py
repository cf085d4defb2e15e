"""A sentence encoder through transformers' own classes, tiny and untrained, from folders as the hub has them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from fcbench.errors import DataError, MissingError
from fcbench.stacks.sentences import load_sentences
from tests.unit.stacks.tiny_models import WORDS, bert


def test_a_sentence_s_vector_is_the_mean_of_its_own_tokens_whatever_it_shares_a_batch_with(tmp_path: Path) -> None:
    from transformers import BertConfig, BertModel

    torch.manual_seed(0)
    sizes = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
    BertModel(BertConfig(vocab_size=len(WORDS), **sizes)).save_pretrained(tmp_path)
    bert().save_pretrained(tmp_path)
    sentences = load_sentences(tmp_path)
    together = sentences.text_features(["a man", "a woman and a man.", "a man"])
    assert together.shape == (3, 16)
    np.testing.assert_allclose(np.linalg.norm(together, axis=1), 1, rtol=1e-6)
    np.testing.assert_allclose(sentences.text_features(["a man"])[0], together[0], rtol=1e-4, atol=1e-6)
    assert abs(float(together[0] @ together[1])) < 0.9999
    assert sentences.text_features([]).shape == (0, 16)
    with pytest.raises(MissingError, match="hf download"):
        load_sentences(tmp_path / "no")
    (tmp_path / "model.safetensors").write_bytes(b"torn")
    with pytest.raises(DataError, match="cannot be loaded as a sentence encoder"):
        load_sentences(tmp_path)
