from __future__ import annotations

import gc
from pathlib import Path
from random import Random

import numpy as np
import pyarrow
import pyarrow.parquet as parquet
import pytest

from fcbench.config import Recipe
from fcbench.errors import DataError, UsageError
from fcbench.fastcomposer.data import Example, make_example, open_photos, reference
from fcbench.fastcomposer.photos import ParquetPhotos, Photos
from fcbench.fastcomposer.transforms import cut_out, fit_reference
from fcbench.store import DataFolder
from fcbench.types import Stack


@pytest.fixture(scope="module")
def photos(data: Path) -> Photos:
    return open_photos(data)


def always(**more: float) -> Recipe:
    """A recipe that leaves nothing to chance."""
    chances = {"text_only": 0.0, "unconditional": 0.0, "subject_drop": 0.0, **more}
    return Recipe.model_validate({"name": "tiny", **chances})


def drawn(photos: Photos, row: int, stack: Stack, recipe: Recipe, seed: int = 0, side: int = 16) -> Example:
    return make_example(photos, row, stack.role("tokenizer"), recipe, Random(seed), side=side, reference_side=16)


def test_cutting_out_keeps_the_mask_and_shows_noise_elsewhere_in_the_box() -> None:
    image = np.full((8, 8, 3), 7, np.uint8)
    mask = np.zeros((8, 8), bool)
    mask[2:6, 3:6] = True
    mask[2, 3] = False
    noise = np.arange(36, dtype=np.uint8).reshape(4, 3, 3) + 100
    cut = cut_out(image, mask, (3, 2, 6, 6), noise)
    assert (cut[mask[2:6, 3:6]] == 7).all()
    assert cut[0, 0].tolist() == noise[0, 0].tolist()


def test_a_reference_shows_its_subject_before_noise_that_follows_from_the_seed(photos: Photos) -> None:
    recipe = always(other_photo=0.0)
    made = [reference(photos, 0, 0, recipe, 12, Random(seed)) for seed in (1, 1, 2, 3)]
    assert (made[0] == made[1]).all()
    box = photos.segments[0][0].box
    cut = photos.image(0)[box[1] : box[3], box[0] : box[2]]
    assert cut.shape == (12, 7, 3)  # no other pixel is in the box: padded by 2 of the 5 columns on either side
    assert not any(picture[:, 0].any() for picture in made)
    assert not (made[0] == made[2]).all() or not (made[0] == made[3]).all()  # mirrored or not


def test_another_photo_is_of_the_same_person_and_never_the_same_row(photos: Photos) -> None:
    assert {photos.other(0, 1, Random(seed)) for seed in range(8)} == {(3, 1)}
    assert photos.segments[3][1].person == photos.segments[0][1].person


def test_a_reference_from_another_photo_is_cut_out_of_that_one(photos: Photos) -> None:
    recipe = always(other_photo=1.0)
    x1, y1, x2, y2 = photos.segments[3][1].box
    cut = photos.image(3)[y1:y2, x1:x2]
    for seed in range(4):
        shown = reference(photos, 0, 1, recipe, 16, Random(seed))
        assert any((shown == fit_reference(either, 16)).all() for either in (cut, cut[:, ::-1]))


def test_a_photo_of_nobody_else_may_be_its_own_reference_whole(photos: Photos) -> None:
    def is_whole(row: int, chance: float) -> bool:
        shown = reference(photos, row, 0, always(other_photo=0.0, whole_photo=chance), 16, Random(0))
        whole = photos.image(row)
        return any((shown == either).all() for either in (whole, whole[:, ::-1]))

    assert is_whole(1, 1.0)
    assert not is_whole(1, 0.0)
    assert not is_whole(0, 1.0)  # where there are two


def test_an_example_has_a_token_a_mask_and_a_reference_for_each_subject(photos: Photos, stack: Stack) -> None:
    tokenizer = stack.role("tokenizer")
    example = drawn(photos, 0, stack, always())
    assert tokenizer.convert_ids_to_tokens([example.ids[p] for p in example.positions]) == ["man</w>", "woman</w>"]
    assert [mask.argmax(axis=1).max() for mask in example.masks] == [0, 8]
    assert [picture.shape for picture in example.references] == [(16, 16, 3)] * 2


def test_an_example_without_subjects_keeps_its_words_and_one_without_conditioning_none(
    photos: Photos, stack: Stack
) -> None:
    tokenizer = stack.role("tokenizer")
    texts = {}
    for chance in ("text_only", "unconditional", "subject_drop"):
        example = drawn(photos, 0, stack, always(**{chance: 1.0}))
        assert (example.positions, example.masks, example.references) == ([], [], [])
        texts[chance] = tokenizer.decode(example.ids, skip_special_tokens=True).strip()
    assert texts == {"text_only": photos.captions[0], "unconditional": "", "subject_drop": photos.captions[0]}


def test_no_more_subjects_than_the_recipe_allows(photos: Photos, stack: Stack) -> None:
    example = drawn(photos, 0, stack, always(max_subjects=1))
    assert len(example.positions) == len(example.masks) == len(example.references) == 1


def test_masks_are_at_the_size_of_the_fitted_photo(photos: Photos, stack: Stack) -> None:
    whole, half = (drawn(photos, 0, stack, always(), side=side).masks for side in (16, 8))
    assert [mask.shape for mask in half] == [(8, 8)] * 2
    assert all((small == large[::2, ::2]).all() for small, large in zip(half, whole, strict=True))


def test_augmented_references_differ_from_plain_ones_and_follow_from_the_seed(photos: Photos, stack: Stack) -> None:
    plain, changed, again = (
        drawn(photos, 0, stack, always().model_copy(update={"augment": augment}), seed=5).references[0]
        for augment in (False, True, True)
    )
    assert changed.shape == plain.shape
    assert changed.dtype == plain.dtype
    assert (changed == again).all()
    assert not (changed == plain).all()


def test_a_broken_shard_is_an_error_that_names_it(tmp_path: Path) -> None:
    shard = DataFolder(tmp_path).shard("train")
    shard.parent.mkdir()
    shard.write_bytes(b"PAR1 cut short")
    with pytest.raises(DataError, match=r"train-00000-of-00001\.parquet: not a dataset shard"):
        ParquetPhotos([shard])


def test_a_shard_without_pictures_is_an_error_before_any_is_asked_for(data: Path, tmp_path: Path) -> None:
    shard = tmp_path / "train.parquet"
    parquet.write_table(parquet.read_table(DataFolder(data).shard("train")).drop_columns("image"), shard)
    with pytest.raises(DataError, match=r"train\.parquet: not a dataset shard that can be read \('image'\)"):
        ParquetPhotos([shard])


@pytest.mark.parametrize("encoded", [b"torn", b"", None])
def test_a_picture_that_is_broken_or_not_there_is_an_error_that_names_its_row(
    data: Path, tmp_path: Path, encoded: bytes | None
) -> None:
    whole = DataFolder(data).shard("train")
    table = parquet.read_table(whole)
    pictures = table["image"].to_pylist()
    pictures[1] = None if encoded is None else {**pictures[1], "bytes": encoded}
    column = pyarrow.array(pictures, table.schema.field("image").type)
    broken = tmp_path / "broken.parquet"
    parquet.write_table(table.set_column(table.column_names.index("image"), "image", column), broken)
    photos = ParquetPhotos([whole, broken])
    assert photos.image(len(table)).shape == photos.image(0).shape
    with pytest.raises(DataError, match=r"broken\.parquet: broken\.parquet row 1: not a picture that can be read"):
        photos.image(len(table) + 1)


def test_photos_moved_to_disk_are_the_same_and_are_let_go_of(data: Path, tmp_path: Path) -> None:
    shards = [DataFolder(data).shard("train")] * 2
    before, there = ParquetPhotos(shards), tmp_path / "work" / "photos.arrow"
    for _ in range(2):  # written, then found
        photos = ParquetPhotos(shards)
        photos.move_to_disk(there)
        for row in range(len(photos)):
            assert (photos.image(row) == before.image(row)).all()
    assert str(there) in Path("/proc/self/maps").read_text()
    photos.close()
    gc.collect()
    assert str(there) not in Path("/proc/self/maps").read_text()


def test_a_folder_of_neither_kind_is_an_error_that_says_what_is_looked_for(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"fcbench build-data\) nor the official image_ids_train\.txt"):
        open_photos(tmp_path)


def test_photos_are_named_by_their_ids_or_by_their_place(data: Path, tmp_path: Path) -> None:
    shard = DataFolder(data).shard("train")
    assert ParquetPhotos([shard]).name(2) == "train-00000-of-00001.parquet row 2"
    table = parquet.read_table(shard)
    named = tmp_path / "named.parquet"
    parquet.write_table(table.append_column("id", pyarrow.array([f"p{row}" for row in range(len(table))])), named)
    photos = ParquetPhotos([named, shard])
    assert [photos.name(1), photos.name(6)] == ["p1", "train-00000-of-00001.parquet row 0"]


def test_segments_whose_phrase_hardly_won_are_left_out_where_a_recipe_asks_for_a_margin(
    data: Path, tmp_path: Path
) -> None:
    rows = [parquet.read_table(DataFolder(data).shard("train")).to_pylist()[0] for _ in range(2)]
    for record, margins in zip(rows, ((0.005, 0.2), (None, 0.01)), strict=True):
        for segment, margin in zip(record["segments"], margins, strict=True):
            segment["margin"] = margin
    shard = DataFolder(tmp_path).shard("train")
    shard.parent.mkdir(parents=True)
    parquet.write_table(pyarrow.Table.from_pylist(rows), shard)
    every, sure = open_photos(tmp_path).segments, open_photos(tmp_path, 0.01).segments
    assert [len(segments) for segments in every] == [2, 2]
    assert sure == [every[0][1:], every[1]]


def test_masks_are_mirrored_with_the_photo(photos: Photos, stack: Stack) -> None:
    plain, mirrored = (drawn(photos, 0, stack, always(mirror=chance)) for chance in (0.0, 1.0))
    assert (plain.mirrored, mirrored.mirrored) == (False, True)
    assert all((a == b[:, ::-1]).all() for a, b in zip(plain.masks, mirrored.masks, strict=True))
    assert not (plain.masks[0] == mirrored.masks[0]).all()


def test_text_only_examples_are_as_many_beside_those_without_conditioning(photos: Photos, stack: Stack) -> None:
    recipe = always(unconditional=0.5, text_only=0.5)
    assert not any(drawn(photos, 0, stack, recipe, seed).positions for seed in range(20))
