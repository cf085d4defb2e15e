"""GroundingDINO through transformers' own classes, tiny and untrained, from folders as the hub has them."""

from __future__ import annotations

from pathlib import Path

import torch

from fcbench.stacks.grounding import load_grounding_dino, to_corners, tokens_of
from fcbench.types import Grounder
from tests.unit.stacks.tiny_models import PICTURES, WORDS, bert


def test_grounding_dino_s_boxes_are_read_off_a_phrase_s_own_tokens(tmp_path: Path) -> None:
    from transformers import (
        BertConfig,
        GroundingDinoConfig,
        GroundingDinoForObjectDetection,
        GroundingDinoImageProcessorPil,
        SwinConfig,
    )

    torch.manual_seed(0)
    swin = SwinConfig(
        image_size=64,
        embed_dim=8,
        depths=[1, 1, 1, 1],
        num_heads=[1, 1, 1, 1],
        window_size=2,
        out_features=["stage2", "stage3", "stage4"],
    )
    text = BertConfig(
        vocab_size=len(WORDS), hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16
    )
    config = GroundingDinoConfig(
        backbone_config=swin,
        text_config=text,
        d_model=32,
        encoder_layers=1,
        decoder_layers=2,
        encoder_ffn_dim=16,
        decoder_ffn_dim=16,
        encoder_attention_heads=2,
        decoder_attention_heads=2,
        num_queries=6,
        max_text_len=32,
    )
    GroundingDinoForObjectDetection(config).save_pretrained(tmp_path)
    GroundingDinoImageProcessorPil(size={"height": 128, "width": 128}).save_pretrained(tmp_path)
    bert().save_pretrained(tmp_path)
    grounder = load_grounding_dino(tmp_path, threshold=0.0, most=2)
    assert isinstance(grounder, Grounder)
    ((man, woman),) = grounder.ground(PICTURES[:1], ["a man and a woman"], [[(0, 5), (10, 17)]])
    assert len(man) == len(woman) == 2
    for (x1, y1, x2, y2), score in man + woman:
        assert 0 <= x1 <= x2 <= 56
        assert 0 <= y1 <= y2 <= 40
        assert 0 <= score <= 1


def test_tokens_and_boxes_are_found_by_character_and_pixel() -> None:
    assert tokens_of((10, 17), [[0, 0], [0, 1], [2, 5], [6, 9], [10, 11], [12, 17], [17, 18], [0, 0]]) == [4, 5]
    boxes = to_corners(torch.tensor([[0.5, 0.5, 0.5, 1.0]]), (40, 60))
    assert boxes.tolist() == [[15.0, 0.0, 45.0, 40.0]]
