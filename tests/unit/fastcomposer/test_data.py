from __future__ import annotations

from pathlib import Path
from random import Random

import numpy as np
import pytest

from fcbench.config import Recipe
from fcbench.errors import DataError
from fcbench.fastcomposer.data import Photos, cut_out, make_example, reference
from fcbench.masks import decode_mask
from fcbench.store import DataFolder
from fcbench.types import Stack


@pytest.fixture(scope="module")
def photos(data: Path) -> Photos:
    return Photos(DataFolder(data).shards("train"))


def always(**more: float) -> Recipe:
    """A recipe that leaves nothing to chance."""
    chances = {"text_only": 0.0, "unconditional": 0.0, "subject_drop": 0.0, **more}
    return Recipe.model_validate({"name": "tiny", **chances})


def test_cutting_out_keeps_the_mask_and_nothing_else_in_the_box() -> None:
    image = np.full((8, 8, 3), 7, np.uint8)
    mask = np.zeros((8, 8), bool)
    mask[2:6, 3:6] = True
    mask[2, 3] = False
    cut = cut_out(image, mask, (3, 2, 6, 6), Random(0))
    kept = mask[2:6, 3:6]
    assert cut.shape == (4, 3, 3)
    assert (cut[kept] == 7).all()
    assert not (cut[~kept] == 7).all()
    whole = cut_out(image, np.zeros((8, 8), bool), (0, 0, 8, 8), Random(0))
    assert len(np.unique(whole)) > 50


def test_another_photo_is_of_the_same_person_and_never_the_same_row(photos: Photos) -> None:
    assert {photos.other(0, 1, Random(seed)) for seed in range(8)} == {(3, 1)}
    assert photos.segments[3][1].person == photos.segments[0][1].person


def test_an_example_has_a_token_a_mask_and_a_reference_for_each_subject(photos: Photos, stack: Stack) -> None:
    tokenizer = stack.role("tokenizer")
    example = make_example(photos, 0, tokenizer, always(), 16, Random(0))
    assert tokenizer.convert_ids_to_tokens([example.ids[p] for p in example.positions]) == ["man</w>", "woman</w>"]
    assert [mask.argmax(axis=1).max() for mask in example.masks] == [0, 8]
    assert [picture.shape for picture in example.references] == [(16, 16, 3)] * 2


def test_an_example_without_subjects_keeps_its_words_and_one_without_conditioning_none(
    photos: Photos, stack: Stack
) -> None:
    tokenizer = stack.role("tokenizer")
    texts = {}
    for chance in ("text_only", "unconditional", "subject_drop"):
        example = make_example(photos, 0, tokenizer, always(**{chance: 1.0}), 16, Random(0))
        assert (example.positions, example.masks, example.references) == ([], [], [])
        texts[chance] = tokenizer.decode(example.ids, skip_special_tokens=True).strip()
    assert texts == {"text_only": photos.captions[0], "unconditional": "", "subject_drop": photos.captions[0]}


def test_no_more_subjects_than_the_recipe_allows(photos: Photos, stack: Stack) -> None:
    example = make_example(photos, 0, stack.role("tokenizer"), always(max_subjects=1), 16, Random(0))
    assert len(example.positions) == len(example.masks) == len(example.references) == 1


def test_a_broken_shard_is_an_error_that_names_it(tmp_path: Path) -> None:
    shard = tmp_path / "train-00000-of-00001.parquet"
    shard.write_bytes(b"PAR1 cut short")
    with pytest.raises(DataError, match=r"train-00000-of-00001\.parquet: not a dataset shard"):
        Photos([shard])


def resized_reference(photos: Photos, share: float) -> np.ndarray:
    assert decode_mask(photos.segments[0][0].rle).sum() == 12 * 7
    return reference(photos, 0, 0, always(other_photo=share, whole_photo=0.0), 12, Random(0))
