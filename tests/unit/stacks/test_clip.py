"""CLIP reads pictures as the library's own preprocessing hands them to it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from transformers import CLIPConfig, CLIPImageProcessorPil, CLIPModel

from fcbench.config import read_yaml
from fcbench.stacks import find_stack
from fcbench.stacks.clip import Clip

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


def test_the_paper_s_stack_asks_for_it() -> None:
    roles = read_yaml(find_stack("sd15"))["roles"]
    assert roles["clip"]["bicubic"]
    assert roles["matcher"]["bicubic"]
