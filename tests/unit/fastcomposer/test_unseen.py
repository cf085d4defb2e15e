"""The loss on validation photos, on the way of a training."""

from __future__ import annotations

import json
import shutil
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import pyarrow
import pyarrow.parquet as parquet
import pytest

from fcbench.config import Recipe
from fcbench.errors import UsageError
from fcbench.fastcomposer.checkpoint import Checkpoint, load_checkpoint
from fcbench.fastcomposer.data import make_example, open_photos, open_unseen, without_chance
from fcbench.fastcomposer.model import FastComposerModel
from fcbench.fastcomposer.train import train
from fcbench.fastcomposer.unseen import Unseen
from fcbench.stacks import load_stack
from fcbench.store import DataFolder, TrainingFolder
from fcbench.types import Stack


@pytest.fixture
def held_out(data: Path, tmp_path: Path) -> Path:
    """The dataset with two photos as its validation split."""
    folder = DataFolder(tmp_path / "data")
    folder.shard("train").parent.mkdir(parents=True)
    shutil.copy(DataFolder(data).shard("train"), folder.shard("train"))
    parquet.write_table(parquet.read_table(folder.shard("train")).slice(1, 2), folder.shard("validation"))
    return folder.path


def test_the_loss_on_unseen_photos_is_logged_and_leaves_the_training_as_it_was(
    held_out: Path, stack: Stack, recipe: Recipe, tmp_path: Path
) -> None:
    folder = TrainingFolder(tmp_path / "judged")
    averaged = recipe.model_copy(update={"steps": 3, "average": 0.5})
    train(held_out, tmp_path / "plain", stack, averaged)
    train(held_out, folder.checkpoint, stack, averaged.model_copy(update={"validate_every": 2}))
    for file in ("unet/diffusion_pytorch_model.safetensors", "fusion.safetensors"):
        assert (tmp_path / "plain" / file).read_bytes() == (folder.checkpoint / file).read_bytes()
    lines = [json.loads(line) for line in folder.log.read_text().splitlines()]
    assert ["validation_loss" in line for line in lines] == [False, True, False]


def test_the_loss_is_of_the_averaged_weights_and_the_same_each_time(
    held_out: Path, stack: Stack, recipe: Recipe, tmp_path: Path
) -> None:
    folder = TrainingFolder(tmp_path / "x")
    train(held_out, folder.checkpoint, stack, recipe.model_copy(update={"average": 0.5, "validate_every": 2}))
    unseen = Unseen(open_unseen(held_out), stack, recipe, reference_side=16)
    parts = load_checkpoint(str(folder.checkpoint), stack)
    logged = json.loads(folder.log.read_text().splitlines()[-1])["validation_loss"]
    assert unseen.loss(parts) == unseen.loss(parts) == pytest.approx(logged, rel=1e-3)  # saved in float16


def test_every_photo_of_the_validation_split_counts(held_out: Path, stack: Stack, recipe: Recipe) -> None:
    model = FastComposerModel(stack, recipe).eval()
    parts = Checkpoint(model.unet, model.image_encoder, model.fusion)
    folder = DataFolder(held_out)
    train_rows = parquet.read_table(folder.shard("train"))
    losses = set()
    for rows in ([1, 2], [4, 2], [1, 5]):
        parquet.write_table(train_rows.take(rows), folder.shard("validation"))
        losses.add(Unseen(open_unseen(held_out), stack, recipe, reference_side=16).loss(parts))
    assert len(losses) == 3


def test_what_a_training_takes_a_copy_of_is_not_loaded_again_to_look_at_it(
    held_out: Path, stack_file: Path, recipe: Recipe, tmp_path: Path
) -> None:
    stack, loaded = load_stack(str(stack_file)), Counter[str]()

    def counted(role: str, load: Callable[[], Any]) -> Callable[[], Any]:
        return lambda: (loaded.update([role]), load())[1]

    stack.load = {role: counted(role, load) for role, load in stack.load.items()}
    train(held_out, tmp_path / "x", stack, recipe.model_copy(update={"validate_every": 1, "sample_every": 1}))
    assert loaded["image_encoder"] == loaded["unet"] == 1
    for role in ("image_encoder", "unet"):  # a copy that stays would be in the way on a GPU
        stack.role(role)
        assert loaded[role] == 2


def test_a_dataset_without_validation_photos_is_refused_where_a_loss_on_them_is_asked_for(
    data: Path, stack: Stack, recipe: Recipe, tmp_path: Path
) -> None:
    with pytest.raises(UsageError, match="no photo of a validation split shows a subject; --set validate_every=0"):
        train(data, tmp_path / "x", stack, recipe.model_copy(update={"validate_every": 1}))
    assert not (tmp_path / "x").exists()


def test_what_is_looked_at_again_and_again_has_its_people_cut_out_never_the_photo_whole(
    data: Path, stack: Stack, recipe: Recipe
) -> None:
    photos, plain = open_photos(data), without_chance(recipe.model_copy(update={"whole_photo": 1.0}))
    alone = [row for row in range(len(photos)) if len(photos.segments[row]) == 1]
    for row in alone:
        made = make_example(photos, row, stack.role("tokenizer"), plain, Random(row), side=16, reference_side=16)
        whole, (shown,) = photos.image(row), made.references
        assert not any(np.array_equal(shown, photo) for photo in (whole, whole[:, ::-1]))
    assert alone


def test_captions_whose_subjects_the_text_encoder_does_not_see_are_told(
    held_out: Path, stack: Stack, recipe: Recipe
) -> None:
    shard, padding = DataFolder(held_out).shard("validation"), "a red hat and " * 60
    rows = parquet.read_table(shard).to_pylist()
    for row in rows:
        row["caption"] = padding + row["caption"]
        row["segments"] = [segment | {"end": segment["end"] + len(padding)} for segment in row["segments"]]
    parquet.write_table(pyarrow.Table.from_pylist(rows), shard)
    with pytest.raises(UsageError, match=r"no caption of the validation split names a subject.*--set validate_every=0"):
        Unseen(open_unseen(held_out), stack, recipe, reference_side=16)
