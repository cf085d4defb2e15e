"""BLIP and BLIP-2 through transformers' own classes, tiny and untrained, from folders as the hub has them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from fcbench.errors import DataError, MissingError
from fcbench.stacks.captioner import load_blip
from fcbench.types import Captioner
from tests.unit.stacks.tiny_models import PICTURES, WORDS, bert, tiny_vision


@pytest.fixture
def blip(tmp_path: Path) -> Path:
    from transformers import (
        BlipConfig,
        BlipForConditionalGeneration,
        BlipImageProcessorPil,
        BlipTextConfig,
        BlipVisionConfig,
    )

    torch.manual_seed(0)
    text = BlipTextConfig(
        vocab_size=len(WORDS),
        hidden_size=16,
        encoder_hidden_size=16,
        intermediate_size=32,
        num_hidden_layers=1,
        num_attention_heads=2,
        max_position_embeddings=24,
        bos_token_id=5,
        eos_token_id=3,
        sep_token_id=3,
        pad_token_id=0,
    )
    vision = tiny_vision(BlipVisionConfig, initializer_range=0.02)
    config = BlipConfig(text_config=text.to_dict(), vision_config=vision, projection_dim=16, image_text_hidden_size=16)
    BlipForConditionalGeneration(config).save_pretrained(tmp_path)
    BlipImageProcessorPil(size={"height": 32, "width": 32}).save_pretrained(tmp_path)
    bert().save_pretrained(tmp_path)
    return tmp_path


def test_blip_captions_pictures_one_text_each_and_alone_as_together(blip: Path) -> None:
    captioner = load_blip(blip, beams=2, tokens=8, batch=2)
    assert isinstance(captioner, Captioner)
    told = captioner.captions(PICTURES)
    assert len(told) == 3
    assert all(isinstance(text, str) for text in told)
    assert told == captioner.captions(PICTURES)
    assert captioner.captions([]) == []


def test_a_captioner_that_lacks_weights_is_refused(blip: Path) -> None:
    tensors = load_file(blip / "model.safetensors")
    kept = {name: value for name, value in tensors.items() if not name.startswith("vision_model")}
    save_file(kept, blip / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(DataError, match=r"weights of transformers.BlipForConditionalGeneration are not there, vision_"):
        load_blip(blip)


@pytest.fixture
def blip_2(tmp_path: Path) -> Path:
    from transformers import (
        Blip2Config,
        Blip2ForConditionalGeneration,
        Blip2QFormerConfig,
        Blip2VisionConfig,
        BlipImageProcessorPil,
        OPTConfig,
    )

    torch.manual_seed(0)
    vision = tiny_vision(Blip2VisionConfig)
    former = Blip2QFormerConfig(
        hidden_size=16, intermediate_size=32, num_hidden_layers=1, num_attention_heads=2, encoder_hidden_size=16
    )
    text = OPTConfig(
        vocab_size=len(WORDS) + 1,
        hidden_size=16,
        ffn_dim=32,
        num_hidden_layers=1,
        num_attention_heads=2,
        max_position_embeddings=64,
        word_embed_proj_dim=16,
        bos_token_id=2,
        eos_token_id=3,
        pad_token_id=0,
    )
    config = Blip2Config(
        vision_config=vision,
        qformer_config=former.to_dict(),
        text_config=text.to_dict(),
        num_query_tokens=4,
        image_token_index=len(WORDS),
    )
    Blip2ForConditionalGeneration(config).save_pretrained(tmp_path)
    BlipImageProcessorPil(size={"height": 32, "width": 32}).save_pretrained(tmp_path)
    bert().save_pretrained(tmp_path)
    return tmp_path


def test_blip_2_captions_pictures(blip_2: Path) -> None:
    assert len(load_blip(blip_2, beams=1, tokens=5).captions(PICTURES[:2])) == 2


def test_a_blip_2_from_before_it_had_a_token_for_its_picture_is_refused_at_once(blip_2: Path) -> None:
    config = json.loads((blip_2 / "config.json").read_text())
    (blip_2 / "config.json").write_text(json.dumps(config | {"image_token_index": None, "image_token_id": None}))
    with pytest.raises(DataError, match="a BLIP-2 of before November 2024, without image_token_index: take a later"):
        load_blip(blip_2)


def test_another_model_is_refused_as_a_captioner(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"model_type": "clip"}')
    with pytest.raises(DataError, match="must be blip or blip-2, this is clip"):
        load_blip(tmp_path)
    with pytest.raises(MissingError, match="hf download"):
        load_blip(tmp_path / "no")
