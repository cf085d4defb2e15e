"""CLIP reads pictures as the library's own preprocessing hands them to it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import CLIPConfig, CLIPImageProcessorPil, CLIPModel, CLIPTokenizer

from fcbench.config import read_yaml
from fcbench.errors import DataError
from fcbench.stacks import find_stack
from fcbench.stacks.clip import Clip, load_clip

SIDE = 32
_TOWER = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}


@pytest.fixture(scope="module")
def model() -> CLIPModel:
    torch.manual_seed(0)
    vision = {**_TOWER, "image_size": SIDE, "patch_size": 8}
    return CLIPModel(CLIPConfig(vision_config=vision, text_config=_TOWER, projection_dim=8)).eval()


def test_pictures_are_resized_as_openai_s_own_preprocessing_does_it(model: CLIPModel) -> None:
    picture = np.random.default_rng(0).integers(0, 256, (80, 80, 3), np.uint8)
    theirs = CLIPImageProcessorPil(size={"shortest_edge": SIDE}, crop_size=SIDE)(picture, return_tensors="pt")
    with torch.no_grad():
        expected = model.get_image_features(**theirs).pooler_output[0]
    expected = (expected / expected.norm()).numpy()
    tokenizer: Any = None
    bicubic, bilinear = (Clip(model, tokenizer, bicubic=how).image_features([picture])[0] for how in (True, False))
    np.testing.assert_allclose(bicubic, expected, atol=1e-5)
    assert np.abs(bilinear - expected).max() > 1e-3


@pytest.fixture
def folder(model: CLIPModel, tmp_path: Path) -> Path:
    model.save_pretrained(tmp_path)
    words = {"!": 0, "a</w>": 1, "<|startoftext|>": 2, "<|endoftext|>": 3}
    CLIPTokenizer(vocab=words, merges=[]).save_pretrained(tmp_path)
    return tmp_path


def test_a_file_without_the_text_tower_is_refused(folder: Path) -> None:
    """The library would draw one, and scores would be noise."""
    load_clip(folder)
    file = folder / "model.safetensors"
    vision = {name: value for name, value in load_file(file).items() if not name.startswith("text_")}
    save_file(vision, file, metadata={"format": "pt"})
    with pytest.raises(DataError, match=r"weights of transformers.CLIPModel are not there, text_model"):
        load_clip(folder)


def test_a_file_that_is_cut_short_and_a_missing_vocabulary_are_told_in_one_line(folder: Path) -> None:
    file = folder / "model.safetensors"
    file.write_bytes(file.read_bytes()[:-100])
    with pytest.raises(DataError, match="cannot be loaded as CLIP"):
        load_clip(folder)
    (folder / "tokenizer.json").unlink()
    with pytest.raises(DataError, match=r"CLIP's tokenizer needs a vocabulary: tokenizer.json"):
        load_clip(folder)


def test_the_paper_s_stack_asks_for_it() -> None:
    roles = read_yaml(find_stack("sd15"))["roles"]
    assert roles["clip"]["bicubic"]
    assert roles["matcher"]["bicubic"]
