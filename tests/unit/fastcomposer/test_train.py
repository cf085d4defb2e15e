from __future__ import annotations

import copy
import json
import math
import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from pydantic import ValidationError

from fcbench.config import Recipe
from fcbench.diffusion import noised, training_scheduler
from fcbench.errors import MissingError, OutOfTimeError, UsageError
from fcbench.fastcomposer.checkpoint import Checkpoint, checkpoint_facts, load_checkpoint
from fcbench.fastcomposer.data import Example
from fcbench.fastcomposer.losses import denoising_loss
from fcbench.fastcomposer.model import FastComposerModel, subject_masks, token_mask
from fcbench.fastcomposer.train import train
from fcbench.loop import Clock
from fcbench.stacks import load_stack
from fcbench.types import Stack


@pytest.fixture(scope="module")
def trained(data: Path, stack: Stack, recipe: Recipe, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("trained")
    train(data, folder, stack, recipe)
    return folder


def weights(parts: Checkpoint) -> dict[str, torch.Tensor]:
    return {
        f"{name}.{key}": value
        for name in ("unet", "image_encoder", "fusion")
        for key, value in getattr(parts, name).state_dict().items()
    }


def test_training_leaves_a_checkpoint_that_differs_from_the_stack(trained: Path, stack: Stack, recipe: Recipe) -> None:
    parts = load_checkpoint(str(trained), stack)
    for role in ("unet", "image_encoder"):
        before, after = stack.role(role).state_dict(), getattr(parts, role).state_dict()
        assert before.keys() == after.keys()
        assert any((before[key] - after[key]).abs().max() > 5e-4 for key in before), role
    assert checkpoint_facts(str(trained))["recipe"] == recipe.model_dump()
    assert not (trained / "work").exists()


def test_a_training_that_was_stopped_goes_on_to_the_same_weights(
    trained: Path, data: Path, stack: Stack, recipe: Recipe, tmp_path: Path
) -> None:
    with pytest.raises(OutOfTimeError, match="1 of 2 steps"):
        train(data, tmp_path, stack, recipe, Clock(-1))
    assert (tmp_path / "work" / "state.pt").exists()
    assert not (tmp_path / "fastcomposer.json").exists()
    train(data, tmp_path, stack, recipe)
    expected, found = (weights(load_checkpoint(str(folder), stack)) for folder in (trained, tmp_path))
    for key, value in expected.items():
        torch.testing.assert_close(found[key], value, msg=key)


def test_a_finished_training_is_left_alone_and_another_recipe_refused(
    trained: Path, data: Path, stack: Stack, recipe: Recipe
) -> None:
    before = (trained / "fusion.safetensors").stat().st_mtime_ns
    train(data, trained, stack, recipe)
    with pytest.raises(UsageError, match="made with steps 2, not 3; choose another --name"):
        train(data, trained, stack, recipe.model_copy(update={"steps": 3}))
    assert (trained / "fusion.safetensors").stat().st_mtime_ns == before


def test_a_training_begun_with_another_recipe_is_refused(
    data: Path, stack: Stack, recipe: Recipe, tmp_path: Path
) -> None:
    with pytest.raises(OutOfTimeError):
        train(data, tmp_path, stack, recipe, Clock(-1))
    with pytest.raises(UsageError, match="made with seed 0, not 1"):
        train(data, tmp_path, stack, recipe.model_copy(update={"seed": 1}))


def test_averaged_weights_lie_between_the_first_and_the_last(
    trained: Path, data: Path, stack: Stack, recipe: Recipe, tmp_path: Path
) -> None:
    train(data, tmp_path, stack, recipe.model_copy(update={"average": 0.5}), Clock(math.inf))
    first = FastComposerModel(stack, recipe).fusion.state_dict()["mlp1.fc1.weight"]
    last, mean = (load_checkpoint(str(folder), stack).fusion.mlp1.fc1.weight for folder in (trained, tmp_path))
    assert 0 < (mean - first).abs().mean() < (last - first).abs().mean()


def test_only_the_last_layers_of_the_image_encoder_are_trained(stack: Stack, recipe: Recipe) -> None:
    model = FastComposerModel(stack, recipe.model_copy(update={"vision_layers": 2}))
    trained = {name for name, p in model.image_encoder.named_parameters() if p.requires_grad}
    assert {name.split("layers.")[1][0] for name in trained} == {"1", "2"}
    assert all(p.requires_grad for module in (model.unet, model.fusion) for p in module.parameters())


def test_the_stack_stays_as_it_was(data: Path, stack: Stack, recipe: Recipe, tmp_path: Path) -> None:
    before = copy.deepcopy(stack.role("unet").state_dict())
    train(data, tmp_path, stack, recipe)
    assert all(torch.equal(value, before[key]) for key, value in stack.role("unet").state_dict().items())


def test_a_checkpoint_does_not_tell_where_it_was_trained(trained: Path) -> None:
    for model in ("unet", "image_encoder"):
        config = json.loads((trained / model / "config.json").read_text())
        assert config["_class_name" if model == "unet" else "architectures"]
        assert "_name_or_path" not in config


def test_what_was_read_for_a_copy_alone_is_let_go(recipe: Recipe) -> None:
    stack = load_stack("mini")
    model = FastComposerModel(stack, recipe)
    assert not {"unet", "image_encoder"} & set(stack._loaded)
    unet = stack.role("unet")
    assert FastComposerModel(stack, recipe).unet.conv_in.weight is not unet.conv_in.weight
    assert torch.equal(model.unet.conv_in.weight, stack.role("unet").conv_in.weight)
    assert stack.role("unet") is unet


def test_the_masked_loss_sees_the_subjects_alone_and_nothing_of_pictures_without_any() -> None:
    target, made = torch.zeros(2, 1, 4, 4), torch.zeros(2, 1, 4, 4)
    made[:, :, :, 2:] = 1
    masks = torch.zeros(2, 1, 4, 4)
    masks[0, :, :, :2] = 1
    assert float(denoising_loss(made, target, torch.ones(2), None)) == 0.5
    assert float(denoising_loss(made, target, torch.tensor([1.0, 0.0]), masks)) == 0
    assert float(denoising_loss(made, target, torch.tensor([0.0, 2.0]), masks)) == 0
    assert float(denoising_loss(made, target, torch.ones(2), masks[:, :0])) == 0


def test_rows_with_fewer_subjects_are_padded_and_padding_marks_no_token() -> None:
    import numpy as np

    examples = [Example(0, [], [2, 4], [np.ones((8, 8), bool)] * 2), Example(1, [])]
    positions, masks = subject_masks(examples, 8)
    assert positions.tolist() == [[2, 4], [-1, -1]]
    assert masks.sum(dim=(2, 3)).tolist() == [[64, 64], [0, 0]]
    assert token_mask(positions, 5).tolist() == [[False, False, True, False, True], [False] * 5]


def test_a_training_starts_from_the_checkpoint_that_its_recipe_names(
    trained: Path, data: Path, stack: Stack, recipe: Recipe, tmp_path: Path
) -> None:
    still = recipe.model_copy(update={"start": str(trained), "steps": 1, "learning_rate": 1e-12})
    train(data, tmp_path / "on", stack, still)
    expected, found = (weights(load_checkpoint(str(folder), stack)) for folder in (trained, tmp_path / "on"))
    assert expected.keys() == found.keys()
    for key, value in expected.items():
        torch.testing.assert_close(found[key], value, msg=key)
    other = tmp_path / "other"
    shutil.copytree(trained, other)
    (other / "notes.txt").write_text("another digest")
    with pytest.raises(UsageError, match="another checkpoint to start from"):
        train(data, tmp_path / "on", stack, still.model_copy(update={"start": str(other)}))


def test_a_training_goes_on_though_what_it_started_from_is_gone(
    trained: Path, data: Path, stack: Stack, recipe: Recipe, tmp_path: Path
) -> None:
    shutil.copytree(trained, start := tmp_path / "start")
    asked = recipe.model_copy(update={"start": str(start), "steps": 3})
    train(data, tmp_path / "whole", stack, asked)
    with pytest.raises(OutOfTimeError, match="1 of 3 steps"):
        train(data, tmp_path / "cut", stack, asked, Clock(-1))
    shutil.rmtree(start)
    train(data, tmp_path / "cut", stack, asked)
    expected, found = (weights(load_checkpoint(str(tmp_path / name), stack)) for name in ("whole", "cut"))
    assert all(torch.equal(found[key], value) for key, value in expected.items())
    with pytest.raises(MissingError, match="start: no FastComposer checkpoint"):
        train(data, tmp_path / "new", stack, asked)


def test_what_predicts_the_clean_picture_is_not_trained(stack: Stack) -> None:
    scheduler = copy.deepcopy(stack.role("scheduler"))
    scheduler.register_to_config(prediction_type="sample")
    with pytest.raises(UsageError, match="prediction_type: sample; trained are epsilon and v_prediction"):
        training_scheduler(scheduler)


def test_an_average_that_never_moves_is_refused() -> None:
    for given in (1.0, True):
        with pytest.raises(ValidationError, match="less than 1"):
            Recipe(name="still", average=given)


def test_a_stack_without_a_checkpoint_cannot_be_started_from(
    data: Path, stack: Stack, recipe: Recipe, tmp_path: Path
) -> None:
    with pytest.raises(UsageError, match="stack tiny has no checkpoint of its own"):
        train(data, tmp_path, stack, recipe.model_copy(update={"start": "stack"}))
    assert not list(tmp_path.iterdir())


def test_a_start_that_is_not_there_is_told_before_anything_is_written(
    data: Path, stack: Stack, recipe: Recipe, tmp_path: Path
) -> None:
    with pytest.raises(MissingError, match="nowhere: no FastComposer checkpoint"):
        train(data, tmp_path, stack, recipe.model_copy(update={"start": str(tmp_path / "nowhere")}))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(("snr", "weight"), [(0.5, 2 * 1 / 1.5), (3.0, 2 * 3 / 4), (9.0, 2 * 5 / 10)])
def test_a_velocity_is_weighed_by_its_signal_between_two_bounds(snr: float, weight: float) -> None:
    signal = torch.full((10,), snr / (1 + snr))
    config = SimpleNamespace(prediction_type="v_prediction")
    schedule = SimpleNamespace(
        config=config, alphas_cumprod=signal, add_noise=lambda x, *_: x, get_velocity=lambda x, *_: x
    )
    found = noised(schedule, torch.zeros(2, 1, 1, 1), torch.zeros(2, 1, 1, 1), torch.tensor([0, 7]))[2]
    assert found.tolist() == pytest.approx([weight] * 2)
