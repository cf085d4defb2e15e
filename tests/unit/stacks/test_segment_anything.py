"""SAM through its own package, on tiny random weights; skipped where it or a torchvision that fits is missing."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch

from fcbench.errors import DataError
from fcbench.stacks.boxes import Box, Detector
from fcbench.stacks.sam import SegmentAnything, load_segment_anything
from fcbench.types import Image, Segmenter

try:
    import segment_anything
    from segment_anything import SamAutomaticMaskGenerator
    from segment_anything.build_sam import _build_sam
except (ImportError, RuntimeError) as error:  # a torchvision for another torch fails with either
    pytest.skip(f"segment_anything: {error}; tox -e sam has it", allow_module_level=True)

PICTURE = np.random.default_rng(0).integers(0, 256, (40, 56, 3), np.uint8)
TINY = {"encoder_embed_dim": 16, "encoder_depth": 1, "encoder_num_heads": 2, "encoder_global_attn_indexes": [0]}


class TwoBoxes(Detector):
    """A detector that finds two people in every picture."""

    def __init__(self) -> None:
        super().__init__(None, None, threshold=0.5, labels=())

    def boxes(self, image: Image) -> list[Box]:
        height, width = image.shape[:2]
        return [Box((0.0, 0.0, width / 2, height), "man", 0.9), Box((width / 2, 0.0, width, height), "woman", 0.8)]


@pytest.fixture
def weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    torch.manual_seed(0)
    monkeypatch.setitem(segment_anything.sam_model_registry, "tiny", partial(_build_sam, **TINY))
    every = partial(SamAutomaticMaskGenerator, points_per_side=2, pred_iou_thresh=-9.0, stability_score_thresh=0.0)
    monkeypatch.setattr(segment_anything, "SamAutomaticMaskGenerator", every)
    torch.save(_build_sam(**TINY).state_dict(), tmp_path / "sam.pth")
    return tmp_path / "sam.pth"


def test_the_package_s_own_generator_finds_objects_as_large_as_the_picture(weights: Path) -> None:
    segmenter = load_segment_anything(weights, kind="tiny")
    assert isinstance(segmenter, Segmenter)
    (regions,) = segmenter.regions([PICTURE])
    assert regions
    assert all(region.mask.shape == (40, 56) and region.mask.dtype == bool and region.mask.any() for region in regions)
    assert {region.label for region in regions} == {"object"}
    assert [region.score for region in regions] == sorted((region.score for region in regions), reverse=True)


def test_the_package_s_predictor_is_prompted_by_boxes(weights: Path) -> None:
    generator = load_segment_anything(weights, kind="tiny")
    segmenter = SegmentAnything(generator._predictor, generator._generate, TwoBoxes())
    first, second = segmenter.regions([PICTURE, PICTURE])
    assert [(region.label, region.score) for region in first] == [("man", 0.9), ("woman", 0.8)]
    assert all(region.mask.shape == (40, 56) for region in first)
    for one, other in zip(first, second, strict=True):
        np.testing.assert_array_equal(one.mask, other.mask)


def test_weights_of_another_kind_are_refused(weights: Path) -> None:
    with pytest.raises(DataError, match=r"known: .*tiny"):
        load_segment_anything(weights, kind="vit_x")
    torch.save({"a": torch.zeros(1)}, weights)
    with pytest.raises(DataError, match="not the weights of SAM tiny"):
        load_segment_anything(weights, kind="tiny")
