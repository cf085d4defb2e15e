"""SAM through transformers' own classes, tiny and untrained, from folders as the hub has them."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from fcbench.errors import MissingError
from fcbench.stacks.sam import distinct, load_sam, load_segment_anything, stable
from fcbench.types import Segmenter
from tests.unit.stacks.tiny_models import PICTURES


@pytest.fixture(scope="module")
def sam(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from transformers import (
        SamConfig,
        SamImageProcessorPil,
        SamMaskDecoderConfig,
        SamModel,
        SamPromptEncoderConfig,
        SamVisionConfig,
    )

    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("sam") / "sam"
    vision = SamVisionConfig(
        hidden_size=16,
        output_channels=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        image_size=64,
        patch_size=16,
        mlp_dim=16,
        window_size=2,
        global_attn_indexes=[0],
        num_pos_feats=8,
    )
    prompt = SamPromptEncoderConfig(hidden_size=16, image_size=64, patch_size=16, mask_input_channels=4)
    decoder = SamMaskDecoderConfig(
        hidden_size=16, mlp_dim=16, num_hidden_layers=1, num_attention_heads=2, iou_head_hidden_dim=16
    )
    config = SamConfig(
        vision_config=vision.to_dict(), prompt_encoder_config=prompt.to_dict(), mask_decoder_config=decoder.to_dict()
    )
    SamModel(config).save_pretrained(folder)
    SamImageProcessorPil(
        size={"longest_edge": 64}, pad_size={"height": 64, "width": 64}, mask_size={"longest_edge": 16}
    ).save_pretrained(folder)
    return folder


def test_sam_asks_at_a_grid_and_its_masks_have_the_picture_s_size(sam: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fcbench.stacks.sam.SURE", -1e9)
    monkeypatch.setattr("fcbench.stacks.sam.STABLE", 0.0)
    segmenter = load_sam(sam, grid=2, points=3)
    assert isinstance(segmenter, Segmenter)
    for decided in segmenter._model.mask_decoder.output_hypernetworks_mlps:
        decided.proj_out.weight.data *= 1e8  # an untrained one's masks are nowhere far from 0
    (regions,) = segmenter.regions(PICTURES[:1])
    assert regions
    assert all(region.mask.shape == (40, 56) and region.label == "object" for region in regions)


def test_sam_enlarges_no_mask_that_is_not_sure(sam: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fcbench.stacks.sam.SURE", 1e9)
    monkeypatch.setattr("fcbench.stacks.sam.Sam._masks", lambda *given, **options: pytest.fail("enlarged"))
    assert load_sam(sam, grid=2).regions(PICTURES[:1]) == [[]]


def test_sam_is_prompted_by_a_detector_s_boxes(sam: Path) -> None:
    from transformers import YolosConfig, YolosForObjectDetection, YolosImageProcessorPil

    config = YolosConfig(
        hidden_size=16,
        intermediate_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        image_size=[32, 32],
        patch_size=16,
        num_detection_tokens=3,
        id2label={0: "person", 1: "dog"},
        label2id={"person": 0, "dog": 1},
    )
    YolosForObjectDetection(config).save_pretrained(sam.parent / "boxes")
    YolosImageProcessorPil(size={"height": 32, "width": 32}).save_pretrained(sam.parent / "boxes")
    segmenter = load_sam(sam, detector="boxes", labels=[])
    segmenter._detector._threshold = 0.0  # type: ignore[union-attr]
    (regions,) = segmenter.regions(PICTURES[:1])
    assert regions
    assert {region.label for region in regions} <= {"person", "dog"}
    assert all(region.mask.shape == (40, 56) for region in regions)


def test_masks_are_kept_that_are_stable_and_none_twice() -> None:
    steady = torch.full((6, 6), -9.0)
    steady[:3] = 9.0
    shaky = torch.full((6, 6), -9.0)
    shaky[:3] = 0.5
    kept = stable(torch.stack([steady, shaky]), torch.tensor([0.9, 0.9]))
    assert [round(score, 2) for _, score in kept] == [0.9]
    assert len(distinct([*kept, *kept])) == 1


def test_the_package_segment_anything_is_asked_for_by_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "segment_anything", None)
    with pytest.raises(MissingError, match=r"pip install 'fcbench\[sam\]'"):
        load_segment_anything(tmp_path / "sam.pth")
