"""Trainings in real processes: killed ten times at random moments, and two at a time over gloo."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from fcbench.config import Recipe
from fcbench.errors import UsageError
from fcbench.fastcomposer.processes import process_device
from fcbench.fastcomposer.shares import share_of

DRIVER = Path(__file__).parents[2] / "toys" / "train_driver.py"
KILLS = 10
pytestmark = pytest.mark.timeout(600)  # fifty short processes, on a machine that may be busy


@pytest.fixture(scope="module")
def happened(stack_file: Path, data: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Trainings of one and of two processes, let alone and killed; all forked from one process that imports once."""
    out = tmp_path_factory.mktemp("out")
    recipe = {"name": "tiny", "steps": 4, "batch_size": 4, "learning_rate": 1e-3, "vision_learning_rate": 1e-4}
    recipe |= {"schedule": "cosine", "average": 0.9, "masked_loss_per": "sample", "precision": "float32"}
    recipe |= {"save_every": 2, "keep": 1, "sample_every": 4, "text_only": 0.5}
    (out / "tiny.yaml").write_text(yaml.safe_dump(recipe))
    job = {"stack": str(stack_file), "recipe": str(out / "tiny.yaml"), "data": str(data), "out": str(out)}
    settings = {"PYTHONPATH": os.pathsep.join(sys.path), "OMP_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false"}
    done = subprocess.run(
        [sys.executable, str(DRIVER), json.dumps(job | {"kills": KILLS})],
        env={**os.environ, **settings},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return {count: {**told, "out": out / count} for count, told in json.loads(done.stdout).items()}


@pytest.fixture(params=[1, 2], ids=["one-process", "two-processes"])
def killed(request: pytest.FixtureRequest, happened: dict[str, Any]) -> dict[str, Any]:
    """What happened to so many processes."""
    return {**happened[str(request.param)], "processes": request.param}


def tensors(state: Any, path: str = "") -> dict[str, torch.Tensor]:
    """All tensors of a nested state, by where they stand."""
    if isinstance(state, torch.Tensor):
        return {path: state}
    items = state.items() if isinstance(state, dict) else enumerate(state) if isinstance(state, list) else ()
    return {place: tensor for key, value in items for place, tensor in tensors(value, f"{path}/{key}").items()}


def ended(file: Path) -> dict[str, Any]:
    loaded: dict[str, Any] = torch.load(file, weights_only=True)
    return loaded


def assert_equal(one: dict[str, Any], other: dict[str, Any]) -> None:
    expected, found = tensors(one["state"]), tensors(other["state"])
    assert expected.keys() == found.keys()
    assert [place for place in expected if not torch.equal(expected[place], found[place])] == []


def test_a_training_killed_at_ten_random_moments_ends_with_the_weights_of_one_that_was_let_alone(
    killed: dict[str, Any],
) -> None:
    out = killed["out"]
    assert len(killed["kills"]) == KILLS
    assert any(kill["saved"] for kill in killed["kills"]), "every kill came before there was a state to go on from"
    for number in range(killed["folders"]):
        for rank in range(killed["processes"]):
            assert_equal(ended(out / f"whole.{rank}"), ended(out / f"parts-{number}.{rank}"))
        for file in ("fusion.safetensors", "unet/diffusion_pytorch_model.safetensors"):
            assert (out / "whole" / file).read_bytes() == (out / f"parts-{number}" / file).read_bytes()


def test_a_killed_training_leaves_the_same_files_each_step_once_and_nothing_half_written(
    killed: dict[str, Any],
) -> None:
    def files(name: str) -> list[str]:
        found = [path for folder in (name, f"{name}.training") for path in (killed["out"] / folder).rglob("*")]
        return sorted(str(path.relative_to(killed["out"])).replace(name, "") for path in found if path.is_file())

    def log(name: str) -> list[tuple[int, float]]:
        lines = (killed["out"] / f"{name}.training" / "log.jsonl").read_text().splitlines()
        return [(row["step"], row["loss"]) for row in map(json.loads, lines)]

    for number in range(killed["folders"]):
        assert files("whole") == files(f"parts-{number}")
        assert log("whole") == log(f"parts-{number}")
    assert [step for step, _ in log("whole")] == [1, 2, 3, 4]
    assert [path.name for path in (killed["out"] / "whole.training" / "steps").iterdir()] == ["00000002"]
    sample = "samples/00000004.png"
    assert len({(killed["out"] / f"{name}.training" / sample).read_bytes() for name in ("whole", "parts-0")}) == 1


def test_the_model_is_wrapped_and_every_process_ends_with_the_same_weights(killed: dict[str, Any]) -> None:
    first, *others = [ended(killed["out"] / f"whole.{rank}") for rank in range(killed["processes"])]
    assert first["processes"] == killed["processes"]
    assert first["class"] == ("FastComposerModel" if killed["processes"] == 1 else "DistributedDataParallel")
    for other in others:
        assert_equal(first, other)


def test_two_processes_learn_what_one_does_that_takes_the_same_batch_in_two_parts(happened: dict[str, Any]) -> None:
    one, two = (tensors(ended(happened[count]["out"] / "whole.0")["state"]["model"]) for count in ("1", "2"))
    for place, value in one.items():
        torch.testing.assert_close(two[place], value, rtol=0, atol=1e-4, msg=place)


def test_a_batch_is_shared_out_equally_or_refused() -> None:
    recipe = Recipe(name="x", batch_size=12, accumulation=2)
    assert share_of(recipe, 3) == 2
    with pytest.raises(UsageError, match="batch_size 12 cannot be shared out equally over 5 processes"):
        share_of(recipe, 5)


@pytest.mark.parametrize(
    ("size", "processes", "accumulation", "fits"),
    [
        (128, 3, 1, "2 or 4 processes, or --set batch_size=126 or 129"),
        (128, 7, 2, "4 or 8 processes, or --set batch_size=126 or 140"),
        (128, 200, 1, "128 processes, or --set batch_size=200"),
        (12, 1, 5, "--set accumulation=4 or 6, or --set batch_size=10 or 15"),
        (12, 2, 4, "1 or 3 processes, or --set accumulation=3 or 6, or --set batch_size=8 or 16"),
    ],
)
def test_who_cannot_share_out_a_batch_is_told_which_numbers_can(
    size: int, processes: int, accumulation: int, fits: str
) -> None:
    recipe = Recipe(name="x", batch_size=size, accumulation=accumulation)
    with pytest.raises(UsageError) as caught:
        share_of(recipe, processes)
    assert str(caught.value).partition("; what can: ")[2] == fits


def test_a_process_takes_the_device_it_was_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOCAL_RANK", "3")
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    assert [process_device(device) for device in ("auto", "cuda", "cpu", "cuda:1")] == [
        "cuda:3",
        "cuda:3",
        "cpu",
        "cuda:1",
    ]
    monkeypatch.delenv("LOCAL_RANK")
    assert process_device("auto") == "auto"
