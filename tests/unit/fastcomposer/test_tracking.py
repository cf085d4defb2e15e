"""What a training tells while it runs: log, boards, samples, idle time and memory."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from fcbench.config import Recipe
from fcbench.errors import MissingError
from fcbench.fastcomposer import tracking
from fcbench.fastcomposer.tracking import Meter, Tracker
from fcbench.fastcomposer.train import train
from fcbench.store import TrainingFolder
from fcbench.types import Stack
from tests.unit.fastcomposer.changes import changed


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
    begun: list[Any] = []

    def begin(**settings: Any) -> SimpleNamespace:
        begun.append((settings["id"], settings["name"]))
        return run

    monkeypatch.setitem(sys.modules, "wandb", SimpleNamespace(init=begin))
    tracker = Tracker(TrainingFolder(tmp_path / "x"), changed(recipe, wandb="project"))
    tracker.scalars(5, {"loss": 0.25})
    tracker.close()
    assert told == [("tensorboard", 5), ("loss", 0.25, 5), ({"loss": 0.25}, 5), "closed", "finished"]
    for folder in (tmp_path / "x", tmp_path / "elsewhere" / "x"):
        again = Tracker(TrainingFolder(folder), changed(recipe, wandb="project"))
        again.scalars(6, {"loss": 0.25})
        again.close()
    assert [name for _, name in begun] == ["x"] * 3
    assert begun[0] == begun[1] != begun[2]  # one training goes on, another of its name is another


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
