"""Mask2Former through transformers' own classes, tiny and untrained, from folders as the hub has them."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from safetensors.torch import load_file, save_file

from fcbench.errors import DataError, FcbenchError, MissingError, UsageError
from fcbench.stacks.mask2former import load_mask2former, panoptic, stuff_of, unpadded
from fcbench.types import Segmenter
from tests.unit.stacks.tiny_models import PICTURES


def test_two_people_keep_their_own_ids_where_stuff_between_them_is_fused() -> None:
    """Upstream 23461: ids 1, 2, 3, 1, 2, two people with one id."""
    size = 8
    masks = torch.full((5, size, size), -9.0)
    masks[0, :, 0:2] = masks[1, :, 2:4] = masks[2, :, 4:5] = masks[3, :, 5:6] = masks[4, :, 6:8] = 9.0
    classes = torch.full((5, 3), -9.0)
    for query, label in enumerate((0, 1, 0, 1, 0)):  # person, sky, person, sky, person
        classes[query, label] = 5.0 - 0.1 * query
    found = panoptic(classes, masks, (16, 16), threshold=0.5, overlap=0.8, stuff=(1,))
    assert [label for _, label, _ in found].count(0) == 3
    assert [label for _, label, _ in found].count(1) == 1
    cover = torch.stack([mask for mask, _, _ in found]).sum(0)
    assert int(cover.max()) == 1
    sky = next(mask for mask, label, _ in found if label == 1)
    assert bool(sky[:, 5].all())
    assert bool(sky[:, 10].all())


def test_a_query_that_little_is_left_of_or_that_is_unsure_gives_no_region() -> None:
    masks = torch.full((3, 4, 4), -9.0)
    masks[0] = 9.0
    masks[1, :, :1] = 5.0
    masks[2, :, 3:] = 9.0
    classes = torch.tensor([[6.0, 0.0], [2.0, 0.0], [0.0, 3.0]])
    found = panoptic(classes, masks, (4, 4), threshold=0.5, overlap=0.8)
    assert len(found) == 1
    assert bool(found[0][0].all())
    assert panoptic(classes[2:], masks[2:], (4, 4), threshold=0.5, overlap=0.8) == []


def test_a_padded_picture_s_masks_are_those_of_the_picture_alone() -> None:
    masks = torch.full((1, 8, 8), -9.0)
    masks[0, :4, :2] = 9.0  # the picture is the upper left 16 x 32 of 32 x 32; its left quarter is claimed
    there = torch.zeros(32, 32, dtype=torch.int64)
    there[:16, :] = 1
    found = unpadded(masks, there)
    assert found.shape == (1, 16, 32)
    assert bool((found[0, :, :7] > 0).all())
    assert bool((found[0, :, 9:] < 0).all())
    assert unpadded(masks, torch.ones(32, 32)) is masks


def test_mask2former_segments_pictures_of_any_size(tmp_path: Path) -> None:
    from transformers import (
        Mask2FormerConfig,
        Mask2FormerForUniversalSegmentation,
        Mask2FormerImageProcessorPil,
        SwinConfig,
    )

    torch.manual_seed(0)
    swin = SwinConfig(
        image_size=64,
        embed_dim=8,
        depths=[1, 1, 1, 1],
        num_heads=[1, 1, 1, 1],
        window_size=2,
        out_features=["stage1", "stage2", "stage3", "stage4"],
    )
    config = Mask2FormerConfig(
        backbone_config=swin,
        feature_size=32,
        mask_feature_size=32,
        hidden_dim=32,
        encoder_feedforward_dim=16,
        dim_feedforward=16,
        encoder_layers=1,
        decoder_layers=2,
        num_attention_heads=2,
        num_queries=5,
        id2label={0: "person", 1: "sky"},
        label2id={"person": 0, "sky": 1},
    )
    Mask2FormerForUniversalSegmentation(config).save_pretrained(tmp_path)
    Mask2FormerImageProcessorPil(size={"height": 64, "width": 64}).save_pretrained(tmp_path)
    segmenter = load_mask2former(tmp_path, threshold=0.0, overlap=0.0, stuff=[1], batch=2)
    assert isinstance(segmenter, Segmenter)
    found = segmenter.regions(PICTURES)
    assert len(found) == 3
    for picture, regions in zip(PICTURES, found, strict=True):
        assert all(region.mask.shape == picture.shape[:2] and region.mask.dtype == bool for region in regions)
        assert all(region.is_thing == (region.label == "person") for region in regions)
    with pytest.raises(MissingError, match="hf download"):
        load_mask2former(tmp_path / "no")
    file = tmp_path / "model.safetensors"
    used = {k: v for k, v in load_file(file).items() if "swin.layernorm" not in k and not k.startswith("criterion")}
    assert len(used) < len(load_file(file))  # what no picture is segmented with: published files lack some of it
    save_file(used, file, metadata={"format": "pt"})
    load_mask2former(tmp_path)
    save_file({k: v for k, v in used.items() if "queries_embedder" not in k}, file, metadata={"format": "pt"})
    with pytest.raises(DataError, match=r"1 weights of transformers.Mask2Former\w+ are not there, .*queries_embedder"):
        load_mask2former(tmp_path)
    segmenter._model.class_predictor.bias.data[0] = torch.nan
    with pytest.raises(FcbenchError, match="the segmenter gave NaN for this picture"):
        segmenter.regions(PICTURES[:1])


def test_coco_s_stuff_is_not_looked_for_in_other_labels(tmp_path: Path) -> None:
    model = SimpleNamespace(config=SimpleNamespace(id2label=dict.fromkeys(range(150), "wall")))
    with pytest.raises(UsageError, match="its 150 labels are not COCO's 133: name the ids of its stuff, or"):
        stuff_of(model, tmp_path, "coco")
    model.config.id2label = dict.fromkeys(range(133), "wall")
    assert list(stuff_of(model, tmp_path, "coco")) == list(range(80, 133))
    assert stuff_of(model, tmp_path, [3]) == [3]
