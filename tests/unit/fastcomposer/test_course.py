"""What the steps of a training are taken with, and when they stop: precision, optimiser, losses that are off."""

from __future__ import annotations

import json
import math
from pathlib import Path
from random import Random
from typing import Any

import pytest
import torch

from fcbench.attention import Attention
from fcbench.config import Recipe
from fcbench.diffusion import add_noise
from fcbench.errors import DivergedError, MissingError, UsageError
from fcbench.fastcomposer import train as training
from fcbench.fastcomposer.data import open_photos
from fcbench.fastcomposer.keeping import FAR, diverged, exploded
from fcbench.fastcomposer.losses import denoising_loss, draw_masked, loss_masks
from fcbench.fastcomposer.model import FastComposerModel
from fcbench.fastcomposer.optimiser import make_optimiser
from fcbench.fastcomposer.precision import mixed_precision
from fcbench.fastcomposer.processes import joined_processes
from fcbench.fastcomposer.train import Trainer, train
from fcbench.files import read_json
from fcbench.loop import cosine
from fcbench.store import TrainingFolder
from fcbench.types import Stack
from tests.unit.fastcomposer.changes import changed, furthest


def trained_state(data: Path, stack: Stack, recipe: Recipe, steps: int = 2) -> dict[str, torch.Tensor]:
    """The weights after some steps, as the trainer holds them."""
    photos = open_photos(data)
    with joined_processes(recipe, stack) as accelerator:
        trainer = Trainer(
            photos, torch.randn(6, 4, 4, 4, generator=torch.Generator().manual_seed(0)), stack, recipe, accelerator
        )
        for k in range(steps):
            trainer.step(k)
        return {key: value.clone() for key, value in trainer.bare.state_dict().items()}


def test_activations_computed_again_give_the_same_weights(data: Path, stack: Stack, recipe: Recipe) -> None:
    plain = trained_state(data, stack, recipe)
    assert furthest(plain, trained_state(data, stack, changed(recipe, gradient_checkpointing=True))) == 0


def test_checkpoints_are_kept_where_activations_are_computed_again(
    data: Path, stack: Stack, recipe: Recipe, tmp_path: Path
) -> None:
    """The backward pass attends anew: nothing of that may stay with the model that is saved."""
    train(data, tmp_path / "x", stack, changed(recipe, steps=3, save_every=1, keep=2, gradient_checkpointing=True))
    assert [path.name for path in TrainingFolder(tmp_path / "x").steps()] == ["00000001", "00000002"]


def test_a_fused_optimiser_gives_the_weights_of_a_plain_one_but_for_rounding(
    data: Path, stack: Stack, recipe: Recipe
) -> None:
    plain, fused = (trained_state(data, stack, changed(recipe, optimiser=o), 1) for o in ("adamw", "adamw-fused"))
    assert furthest(plain, fused) < 1e-6


def test_a_batch_without_subjects_has_gradients_of_0_for_the_fusion_not_none(stack: Stack, recipe: Recipe) -> None:
    model = FastComposerModel(stack, recipe)
    text, at = torch.zeros(1, 3, 16), torch.zeros(1, 3, dtype=torch.bool)
    model(torch.zeros(1, 4, 4, 4), torch.zeros(1).long(), text, at, text.new_zeros(0)).sum().backward()
    parameters = [*model.fusion.parameters(), *model.image_encoder.vision_model.encoder.layers[-1].parameters()]
    assert all(p.grad is not None and not p.grad.any() for p in parameters)


def test_the_image_encoder_may_learn_at_its_own_rate(stack: Stack, recipe: Recipe) -> None:
    model = FastComposerModel(stack, recipe)
    rates = changed(recipe, learning_rate=1e-3, vision_learning_rate=1e-5)
    rest, vision = make_optimiser(model, model.image_encoder, rates).param_groups
    assert (rest["lr"], vision["lr"]) == (1e-3, 1e-5)
    everything = sum(p.requires_grad for p in model.parameters())
    assert len(rest["params"]) + len(vision["params"]) == everything
    assert len(vision["params"]) == sum(p.requires_grad for p in model.image_encoder.parameters())
    assert len(make_optimiser(model, model.image_encoder, recipe).param_groups) == 1


def test_an_optimiser_that_is_not_installed_is_named_with_the_command(
    data: Path, stack: Stack, recipe: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fcbench.fastcomposer.optimiser.find_spec", lambda name: None)
    with pytest.raises(MissingError, match="pip install bitsandbytes"):
        train(data, tmp_path / "x", stack, changed(recipe, optimiser="adamw-8bit"))
    assert not (tmp_path / "x").exists()  # nothing was encoded before


@pytest.mark.parametrize(
    ("precision", "has", "expected"),
    [("auto", True, "bf16"), ("auto", False, "no"), ("bfloat16", False, "bf16"), ("float32", True, "no")],
)
def test_precision_is_the_recipe_s_or_what_the_device_has(
    precision: str, has: bool, expected: str, recipe: Recipe, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fcbench.fastcomposer.precision.cpu_has_bfloat16", lambda: has)
    assert mixed_precision(changed(recipe, precision=precision), "cpu") == expected


def test_float16_is_refused_on_a_processor(recipe: Recipe) -> None:
    with pytest.raises(UsageError, match="float16 needs a GPU"):
        mixed_precision(changed(recipe, precision="float16"), "cpu")


def test_bfloat16_trains_too(data: Path, stack: Stack, recipe: Recipe) -> None:
    rounded = trained_state(data, stack, changed(recipe, precision="bfloat16"), 1)
    assert 0 < furthest(rounded, trained_state(data, stack, recipe, 1)) < 5e-3


def test_the_masked_loss_is_drawn_for_a_batch_or_for_each_picture(recipe: Recipe) -> None:
    half = changed(recipe, masked_loss=0.5)
    batches = [draw_masked(half, 4, Random(k)) for k in range(40)]
    assert {int(b.sum()) for b in batches} == {0, 4}
    samples = [draw_masked(changed(half, masked_loss_per="sample"), 4, Random(k)) for k in range(40)]
    assert {int(b.sum()) for b in samples} == {0, 1, 2, 3, 4}
    masks = torch.zeros(2, 1, 3, 3)
    assert loss_masks(masks, torch.tensor([False, False])) is None
    nobody = loss_masks(torch.zeros(2, 0, 3, 3), torch.tensor([True, False]))
    assert nobody is not None
    assert nobody.mean(dim=(1, 2, 3)).tolist() == [0, 1]
    mixed = loss_masks(masks, torch.tensor([True, False]))
    assert mixed is not None
    assert mixed.amin(dim=(1, 2, 3)).tolist() == mixed.amax(dim=(1, 2, 3)).tolist() == [0, 1]


def test_a_loss_that_is_not_finite_stops_the_training_and_names_the_photos(
    data: Path, stack: Stack, recipe: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain, calls = denoising_loss, []

    def third_is_nan(*arguments: Any) -> torch.Tensor:
        calls.append(1)
        return plain(*arguments) * (math.nan if len(calls) == 3 else 1)

    monkeypatch.setattr(training, "denoising_loss", third_is_nan)
    with pytest.raises(DivergedError, match=r"loss is nan at step 3.*stopped\.json"):
        train(data, tmp_path / "x", stack, changed(recipe, steps=5, save_every=2))
    folder = TrainingFolder(tmp_path / "x")
    told = read_json(folder.stopped)
    assert (told["step"], told["reason"], len(told["photos"])) == (3, "loss is nan", recipe.batch_size)
    assert all(photo.startswith("train-00000-of-00001.parquet row ") for photo in told["photos"])
    state = torch.load(folder.state, weights_only=True)
    assert state["done"] == 2
    assert all(value.isfinite().all() for value in state["model"].values())
    assert [json.loads(line)["step"] for line in folder.log.read_text().splitlines()] == [1, 2]


def test_an_overflow_of_scaled_gradients_is_no_error_until_the_scale_is_spent() -> None:
    fine, overflow = {"loss": 1.0, "gradient_norm": 2.0}, {"loss": 1.0, "gradient_norm": math.inf}
    assert diverged(fine, None) == ""
    assert diverged(overflow, 1024.0) == ""
    assert diverged(overflow, 0.5) == "gradient norm is inf"
    assert diverged(overflow, None) == "gradient norm is inf"
    assert diverged({"loss": math.nan}, 1024.0) == "loss is nan"


def test_a_loss_far_above_all_before_it_is_an_explosion() -> None:
    before = [0.0, 0.0, 1.5, 1.0] * 25
    assert exploded(FAR * 1.5, before) == ""
    assert exploded(FAR * 1.5 + 1, before) == "loss is 16, over 10 times the largest before (1.5)"
    assert exploded(1e9, before[1:]) == ""


def test_an_explosion_stops_the_training_and_keeps_the_state_before_it(
    data: Path, stack: Stack, recipe: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain, calls = denoising_loss, []

    def fourth_is_huge(*arguments: Any) -> torch.Tensor:
        calls.append(1)
        return plain(*arguments) * (1e6 if len(calls) == 4 else 1)

    monkeypatch.setattr("fcbench.fastcomposer.course.WINDOW", 3)
    monkeypatch.setattr("fcbench.fastcomposer.keeping.WINDOW", 3)
    monkeypatch.setattr(training, "denoising_loss", fourth_is_huge)
    with pytest.raises(DivergedError, match="over 10 times the largest before"):
        train(data, tmp_path / "x", stack, changed(recipe, steps=6, save_every=3))
    folder = TrainingFolder(tmp_path / "x")
    assert read_json(folder.stopped)["step"] == 4
    assert torch.load(folder.state, weights_only=True)["done"] == 3


@pytest.mark.parametrize("accumulation", [1, 3])
def test_what_is_minimised_is_the_masked_loss_and_the_weighted_localisation(
    data: Path, stack: Stack, recipe: Recipe, monkeypatch: pytest.MonkeyPatch, accumulation: int
) -> None:
    def step(**keys: Any) -> tuple[float, dict[str, float]]:
        own = changed(recipe, accumulation=accumulation, localization_weight=1e4, **keys)
        with joined_processes(own, stack) as accelerator:
            latents = torch.randn(6, 4, 4, 4, generator=torch.Generator().manual_seed(0))
            trainer = Trainer(open_photos(data), latents, stack, own, accelerator)
            minimised: list[torch.Tensor] = []
            monkeypatch.setattr(accelerator, "backward", minimised.append)
            told = trainer.step(0)
        return sum(each.item() for each in minimised), told

    shown = {"subject_drop": 0.0, "text_only": 0.0, "unconditional": 0.0}  # every part shows somebody
    (total, told), (_, whole) = step(**shown), step(**shown, masked_loss=0.0)
    assert abs(1e4 * told["localization"]) > 0.01
    assert total == pytest.approx(told["loss"] + 1e4 * told["localization"], rel=1e-4)
    assert told["loss"] < whole["loss"]


@pytest.mark.parametrize("localization_weight", [0.0, 0.02])
def test_all_blocks_attend_by_the_way_that_trains_fastest(
    data: Path, stack: Stack, recipe: Recipe, localization_weight: float
) -> None:
    own = changed(recipe, localization_weight=localization_weight)
    with joined_processes(own, stack) as accelerator:
        trainer = Trainer(open_photos(data), torch.randn(6, 4, 4, 4), stack, own, accelerator)
    assert all(isinstance(each, Attention) for each in trainer.bare.unet.attn_processors.values())


def test_gradients_are_clipped_to_one_and_the_rate_follows_the_schedule(
    data: Path, stack: Stack, recipe: Recipe
) -> None:
    own = changed(recipe, localization_weight=1e5, schedule="cosine", steps=10)
    with joined_processes(own, stack) as accelerator:
        trainer = Trainer(open_photos(data), torch.randn(6, 4, 4, 4), stack, own, accelerator)
        assert trainer.step(5)["gradient_norm"] > 10
    gradients = [p.grad.flatten() for p in trainer.bare.parameters() if p.grad is not None]
    assert float(torch.cat(gradients).norm()) == pytest.approx(1, rel=1e-3)
    assert trainer._optimiser.param_groups[-1]["lr"] == pytest.approx(own.learning_rate * cosine(5, own.steps))


def test_each_step_has_noise_of_its_own(
    data: Path, stack: Stack, recipe: Recipe, monkeypatch: pytest.MonkeyPatch
) -> None:
    seeds: list[int] = []

    def noise(scheduler: Any, latents: torch.Tensor, generator: torch.Generator) -> tuple[torch.Tensor, ...]:
        seeds.append(generator.initial_seed())
        return add_noise(scheduler, latents, generator)

    monkeypatch.setattr(training, "add_noise", noise)
    own = changed(recipe, steps=3, accumulation=3)
    with joined_processes(own, stack) as accelerator:
        trainer = Trainer(open_photos(data), torch.randn(6, 4, 4, 4), stack, own, accelerator)
        for step in range(3):
            trainer.step(step)
    assert len(set(seeds)) == len(seeds) == 9
