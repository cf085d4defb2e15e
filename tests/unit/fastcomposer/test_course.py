"""What happens beside the steps of a training: precision, optimiser, log, samples, checkpoints, and when to stop."""

from __future__ import annotations

import json
import math
import shutil
import sys
from pathlib import Path
from random import Random
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from fcbench.config import Recipe, set_keys
from fcbench.errors import DivergedError, FcbenchError, MissingError, OutOfTimeError, UsageError
from fcbench.fastcomposer import tracking
from fcbench.fastcomposer import train as training
from fcbench.fastcomposer.checkpoint import load_checkpoint
from fcbench.fastcomposer.data import open_photos
from fcbench.fastcomposer.keeping import FAR, WINDOW, claim, diverged, exploded
from fcbench.fastcomposer.optimiser import make_optimiser
from fcbench.fastcomposer.precision import mixed_precision
from fcbench.fastcomposer.processes import joined_processes
from fcbench.fastcomposer.shares import enough_memory
from fcbench.fastcomposer.tracking import Meter, Tracker
from fcbench.fastcomposer.train import FastComposerModel, Trainer, draw_masked, loss_masks, train
from fcbench.files import locked, read_json
from fcbench.loop import Clock
from fcbench.store import TrainingFolder
from fcbench.types import Stack


def changed(recipe: Recipe, **keys: Any) -> Recipe:
    return recipe.model_copy(update=keys)


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


def furthest(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> float:
    return max(float((one[key].float() - other[key].float()).abs().max()) for key in one)


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
    plain, calls = training.denoising_loss, []

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
    before = [0.0, 0.0, 1.5, 1.0] * (WINDOW // 4)
    assert exploded(FAR * 1.5, before) == ""
    assert exploded(FAR * 1.5 + 1, before) == "loss is 16, over 10 times the largest before (1.5)"
    assert exploded(1e9, before[1:]) == ""


def test_an_explosion_stops_the_training_and_keeps_the_state_before_it(
    data: Path, stack: Stack, recipe: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain, calls = training.denoising_loss, []

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


def test_the_newest_checkpoints_on_the_way_stay_and_can_be_loaded(
    data: Path, stack: Stack, recipe: Recipe, tmp_path: Path
) -> None:
    train(data, tmp_path / "x", stack, changed(recipe, steps=5, save_every=1, keep=2))
    steps = TrainingFolder(tmp_path / "x").steps()
    assert [path.name for path in steps] == ["00000003", "00000004"]
    loaded = load_checkpoint(str(steps[-1]), stack)
    assert furthest(loaded.unet.state_dict(), load_checkpoint(str(tmp_path / "x"), stack).unet.state_dict()) > 0


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


def test_the_log_forgets_steps_that_are_done_again(recipe: Recipe, tmp_path: Path) -> None:
    folder = TrainingFolder(tmp_path / "x")
    for first, last in ((1, 3), (3, 4)):
        tracker = Tracker(folder, recipe)
        for step in range(first, last + 1):
            tracker.scalars(step, {"loss": first / 2})
        tracker.close()
        with folder.log.open("a") as log:
            log.write('{"step": 9, "lo')
    lines = folder.log.read_text().splitlines()
    assert [json.loads(line) for line in lines[:-1]] == [
        {"step": 1, "loss": 0.5},
        {"step": 2, "loss": 0.5},
        {"step": 3, "loss": 1.5},
        {"step": 4, "loss": 1.5},
    ]


def test_tensorboard_and_wandb_are_told_where_they_are_installed(
    recipe: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[Any] = []

    class Writer:
        def __init__(self, folder: str, purge_step: int) -> None:
            told.append((Path(folder).name, purge_step))

        def add_scalar(self, name: str, value: float, step: int) -> None:
            told.append((name, value, step))

        def close(self) -> None:
            told.append("closed")

    run = SimpleNamespace(log=lambda values, step: told.append((values, step)), finish=lambda: told.append("finished"))
    monkeypatch.setattr(tracking, "find_spec", lambda name: name)
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", SimpleNamespace(SummaryWriter=Writer))
    monkeypatch.setitem(sys.modules, "wandb", SimpleNamespace(init=lambda **settings: run))
    tracker = Tracker(TrainingFolder(tmp_path / "x"), changed(recipe, wandb="project"))
    tracker.scalars(5, {"loss": 0.25})
    tracker.close()
    assert told == [("tensorboard", 5), ("loss", 0.25, 5), ({"loss": 0.25}, 5), "closed", "finished"]


def test_wandb_asked_for_and_absent_is_named_with_the_command(
    data: Path, stack: Stack, recipe: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tracking, "find_spec", lambda name: None)
    with pytest.raises(MissingError, match="pip install wandb"):
        train(data, tmp_path / "x", stack, changed(recipe, wandb="project"))
    assert not (tmp_path / "x").exists()


def test_samples_are_the_same_cases_each_time_and_leave_the_training_as_it_was(
    data: Path, stack: Stack, recipe: Recipe, tmp_path: Path
) -> None:
    from PIL import Image

    recipe = changed(recipe, steps=2)
    train(data, tmp_path / "plain", stack, recipe)
    train(data, tmp_path / "drawn", stack, changed(recipe, sample_every=1))
    for file in ("unet/diffusion_pytorch_model.safetensors", "fusion.safetensors"):
        assert (tmp_path / "plain" / file).read_bytes() == (tmp_path / "drawn" / file).read_bytes()
    sheets = [Image.open(TrainingFolder(tmp_path / "drawn").sample(step)) for step in (1, 2)]
    assert {sheet.size for sheet in sheets} == {(5 * 16, 4 * 16)}  # photo, text only, with subjects, two references
    first, second = (sheet.crop((0, 0, 16, 64)).tobytes() for sheet in sheets)
    assert first == second
    assert sheets[0].tobytes() != sheets[1].tobytes()
    for sheet in sheets:
        sheet.close()


def test_idle_is_the_share_of_a_step_that_was_waited_for_data(monkeypatch: pytest.MonkeyPatch) -> None:
    now = iter([10.0, 12.0, 20.0, 22.0])
    monkeypatch.setattr("fcbench.fastcomposer.tracking.time.perf_counter", lambda: next(now))
    meter = Meter(torch.device("cpu"))
    meter.start()
    meter.wait(0.5)
    assert meter.stop(8) == {"images_per_second": 4.0, "idle": 0.25}
    meter.start()
    assert meter.stop(8) == {"images_per_second": 4.0, "idle": 0.125}


def test_a_gpu_s_memory_is_told_at_its_most_since_the_first_step_began(monkeypatch: pytest.MonkeyPatch) -> None:
    held = [9 * 2**30]
    monkeypatch.setattr("torch.cuda.reset_peak_memory_stats", lambda device: held.append(0))
    monkeypatch.setattr("torch.cuda.max_memory_allocated", lambda device: max(held[held.index(0) :]))
    meter, told = Meter(torch.device("cuda")), []
    for used in (3, 2, 4):
        meter.start()
        held.append(used * 2**30)
        told.append(meter.stop(8)["peak_gib"])
    assert told == [3, 3, 4]
    assert held.count(0) == 1
