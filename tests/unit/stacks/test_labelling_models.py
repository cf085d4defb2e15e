"""The labelling roles through transformers' own classes, tiny and untrained, from folders as the hub has them."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from fcbench.errors import DataError, FcbenchError, MissingError, UsageError
from fcbench.stacks.captioner import load_blip
from fcbench.stacks.grounding import load_grounding_dino, to_corners, tokens_of
from fcbench.stacks.mask2former import load_mask2former, panoptic, stuff_of, unpadded
from fcbench.stacks.sam import distinct, load_sam, load_segment_anything, stable
from fcbench.stacks.sentences import load_sentences
from fcbench.types import Captioner, Grounder, Segmenter

WORDS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "[DEC]", "a", "man", "woman", "and", ".", ",", "hat")
PICTURES = [np.random.default_rng(k).integers(0, 256, (40, 56, 3), np.uint8) for k in range(3)]


def bert() -> Any:
    from transformers import BertTokenizer

    return BertTokenizer(vocab={word: k for k, word in enumerate(WORDS)}, bos_token="[DEC]")


def tiny_vision(cls: Any, **more: Any) -> dict[str, Any]:
    sizes = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
    made: dict[str, Any] = cls(**sizes, image_size=32, patch_size=16, **more).to_dict()
    return made


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
