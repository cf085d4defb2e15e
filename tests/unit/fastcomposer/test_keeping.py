"""What a training leaves on the way, and what may change when it goes on."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

from fcbench.config import Recipe, set_keys
from fcbench.errors import FcbenchError, MissingError, OutOfTimeError, UsageError
from fcbench.fastcomposer.checkpoint import load_checkpoint
from fcbench.fastcomposer.keeping import claim
from fcbench.fastcomposer.model import FastComposerModel
from fcbench.fastcomposer.shares import enough_memory
from fcbench.fastcomposer.train import train
from fcbench.files import locked
from fcbench.loop import Clock
from fcbench.store import TrainingFolder
from fcbench.types import Stack
from tests.unit.fastcomposer.changes import changed, furthest


def test_the_newest_checkpoints_on_the_way_stay_and_can_be_loaded(
    data: Path, stack: Stack, recipe: Recipe, tmp_path: Path
) -> None:
    train(data, tmp_path / "x", stack, changed(recipe, steps=5, save_every=1, keep=2))
    steps = TrainingFolder(tmp_path / "x").steps()
    assert [path.name for path in steps] == ["00000003", "00000004"]
    loaded = load_checkpoint(str(steps[-1]), stack)
    assert furthest(loaded.unet.state_dict(), load_checkpoint(str(tmp_path / "x"), stack).unet.state_dict()) > 0


def test_a_checkpoint_on_the_way_is_what_a_training_that_ended_there_would_leave(
    data: Path, stack: Stack, recipe: Recipe, tmp_path: Path
) -> None:
    averaged = changed(recipe, steps=2, average=0.5)
    train(data, tmp_path / "short", stack, averaged)
    train(data, tmp_path / "long", stack, changed(averaged, steps=3, save_every=2))
    for file in ("unet/diffusion_pytorch_model.safetensors", "fusion.safetensors"):
        kept = TrainingFolder(tmp_path / "long").step(2) / file
        assert kept.read_bytes() == (tmp_path / "short" / file).read_bytes()


def test_another_training_s_checkpoints_are_not_taken_for_this_one_s(
    data: Path, stack: Stack, recipe: Recipe, tmp_path: Path
) -> None:
    train(data, tmp_path / "x", stack, changed(recipe, steps=3, save_every=1, keep=2))
    folder = TrainingFolder(tmp_path / "x")
    kept = folder.steps()
    with pytest.raises(UsageError, match=r"made with seed 0, not 5; choose another --name, or move it and .* away"):
        train(data, tmp_path / "x", stack, changed(recipe, steps=3, seed=5))
    shutil.rmtree(folder.checkpoint)
    with pytest.raises(UsageError, match=r"x\.training keeps checkpoints of another training"):
        train(data, tmp_path / "x", stack, changed(recipe, steps=3, seed=5))
    assert folder.steps() == kept


def test_a_second_training_of_one_name_at_the_same_time_is_refused(
    data: Path, stack: Stack, recipe: Recipe, tmp_path: Path
) -> None:
    with (
        locked(TrainingFolder(tmp_path / "x").lock, "busy"),
        pytest.raises(UsageError, match=r"x: a training is at work there; wait for it, or choose another --name"),
    ):
        train(data, tmp_path / "x", stack, recipe)


def test_how_often_to_save_may_change_when_a_training_goes_on(
    data: Path, stack: Stack, recipe: Recipe, tmp_path: Path
) -> None:
    with pytest.raises(OutOfTimeError):
        train(data, tmp_path / "x", stack, recipe, Clock(-1))
    train(data, tmp_path / "x", stack, changed(recipe, save_every=1, keep=0))
    assert TrainingFolder(tmp_path / "x").finished.exists()
    assert TrainingFolder(tmp_path / "x").steps() == []


def test_what_a_training_killed_at_its_very_end_left_is_cleared(
    data: Path, stack: Stack, recipe: Recipe, tmp_path: Path
) -> None:
    train(data, tmp_path / "x", stack, recipe)
    folder = TrainingFolder(tmp_path / "x")
    folder.work.mkdir()
    folder.begun.write_text("{}")
    train(data, tmp_path / "x", stack, recipe)
    assert not folder.work.exists()


def test_a_training_begun_by_an_earlier_version_goes_on(recipe: Recipe, tmp_path: Path) -> None:
    folder = TrainingFolder(tmp_path / "x")
    facts: dict[str, Any] = {"recipe": recipe.model_dump(), "stack": "tiny", "parts": 1, "precision": "no"}
    old = {"recipe": {k: v for k, v in facts["recipe"].items() if k != "masked_loss_per"}, "stack": "tiny"}
    assert not claim(folder, old, writes=True)
    assert not claim(folder, facts, writes=True)
    folder.state.touch()
    with pytest.raises(UsageError, match="made with 1 for processes x accumulation, not 4; choose another"):
        claim(folder, facts | {"parts": 4}, writes=True)


def test_a_key_that_was_set_for_one_training_is_compared_when_it_goes_on(recipe: Recipe, tmp_path: Path) -> None:
    folder = TrainingFolder(tmp_path / "x")
    facts: dict[str, Any] = {"recipe": set_keys(recipe, {"learning_rate": "0.5"}).model_dump(), "parts": 1}
    assert not claim(folder, facts, writes=True)
    assert not claim(folder, {**facts, "recipe": changed(recipe, learning_rate=0.5).model_dump()}, writes=True)
    with pytest.raises(UsageError, match=r"made with learning_rate 0\.5, not 0\.001"):
        claim(folder, {**facts, "recipe": recipe.model_dump()}, writes=True)


def test_until_a_step_is_kept_a_batch_may_be_taken_in_other_parts(recipe: Recipe, tmp_path: Path) -> None:
    folder = TrainingFolder(tmp_path / "x")
    facts: dict[str, Any] = {"recipe": recipe.model_dump(), "stack": "tiny", "parts": 1, "precision": "no"}
    assert not claim(folder, facts, writes=True)
    assert not claim(folder, facts | {"parts": 4}, writes=True)
    folder.state.touch()
    assert not claim(folder, facts | {"parts": 4}, writes=True)
    with pytest.raises(UsageError, match="made with 4 for processes x accumulation, not 1; choose another"):
        claim(folder, facts, writes=True)


def test_a_training_that_was_begun_may_spare_memory_and_compute_activations_again(
    recipe: Recipe, tmp_path: Path
) -> None:
    folder = TrainingFolder(tmp_path / "x")
    facts: dict[str, Any] = {"recipe": recipe.model_dump(), "stack": "tiny", "parts": 1, "precision": "no"}
    assert not claim(folder, facts, writes=True)
    folder.state.touch()
    assert not claim(folder, facts | {"recipe": changed(recipe, gradient_checkpointing=True).model_dump()}, writes=True)


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"),
        RuntimeError("[enforce fail at alloc_cpu.cpp:114] DefaultCPUAllocator: can't allocate memory: you tried"),
    ],
)
def test_a_batch_that_does_not_fit_into_memory_is_told_with_what_helps_and_a_smaller_part_goes_on(
    error: Exception, data: Path, stack: Stack, recipe: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = FastComposerModel.forward

    def two_fit(model: FastComposerModel, noisy: torch.Tensor, *rest: torch.Tensor) -> torch.Tensor:
        if len(noisy) > 2:
            raise error
        return plain(model, noisy, *rest)

    monkeypatch.setattr(FastComposerModel, "forward", two_fit)
    recipe = changed(recipe, batch_size=4)
    told = "^train: out of memory: 4 pictures at once do not fit; what helps: "
    with pytest.raises(FcbenchError, match=f"{told}--set gradient_checkpointing=true or --set accumulation=2$"):
        train(data, tmp_path / "x", stack, recipe)
    train(data, tmp_path / "x", stack, changed(recipe, accumulation=2))
    assert TrainingFolder(tmp_path / "x").finished.exists()


def test_what_helps_where_memory_runs_out_depends_on_what_was_begun_and_is_left_to_change(
    recipe: Recipe, tmp_path: Path
) -> None:
    def told(recipe: Recipe, processes: int, folder: TrainingFolder) -> str:
        with pytest.raises(FcbenchError) as caught, enough_memory(recipe, processes, folder):
            raise torch.OutOfMemoryError("CUDA out of memory")
        return str(caught.value).removeprefix("train: out of memory: ")

    recipe, fresh, begun = changed(recipe, batch_size=12), *(TrainingFolder(tmp_path / name) for name in "xy")
    begun.step(5).mkdir(parents=True)
    spared = changed(recipe, gradient_checkpointing=True)
    assert told(spared, 2, fresh) == "6 pictures at once do not fit; what helps: --set accumulation=2"
    assert told(spared, 2, begun).endswith("--set accumulation=2 under another --name")
    assert told(changed(spared, accumulation=3), 2, fresh).endswith(
        "2 pictures at once do not fit; what helps: --set accumulation=6"
    )
    alone = changed(spared, accumulation=6)
    assert told(alone, 2, fresh) == "one picture alone does not fit; what helps: a device with more memory"
    with pytest.raises(ValueError, match="a bug"), enough_memory(recipe, 2, fresh):
        raise ValueError("a bug")


def test_a_checkpoint_whose_training_is_not_done_is_told_from_none(
    data: Path, stack: Stack, recipe: Recipe, tmp_path: Path
) -> None:
    with pytest.raises(OutOfTimeError):
        train(data, tmp_path / "x", stack, recipe, Clock(-1))
    with pytest.raises(MissingError, match=r"x: its training is not done: go on .* --resume, or .* in .*x\.training"):
        load_checkpoint(str(tmp_path / "x"), stack)
    with pytest.raises(MissingError, match="y: no FastComposer checkpoint"):
        load_checkpoint(str(tmp_path / "y"), stack)


def test_another_dataset_or_stack_is_told_from_another_recipe(recipe: Recipe, tmp_path: Path) -> None:
    folder = TrainingFolder(tmp_path / "x")
    facts = {"recipe": recipe.model_dump(), "stack": "mini", "data": "d1", "digests": {"unet": "u1", "vae": "v1"}}
    assert not claim(folder, facts, writes=True)
    with pytest.raises(UsageError, match="made with other weights of the stack's unet; another dataset; choose"):
        claim(folder, facts | {"data": "d2", "digests": {"unet": "u2", "vae": "v1"}}, writes=True)
    with pytest.raises(UsageError, match="made with stack mini, not sd15; choose"):
        claim(folder, facts | {"stack": "sd15"}, writes=True)
