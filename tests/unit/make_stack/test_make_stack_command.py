"""The command ``make-stack``, which chains others."""

from __future__ import annotations

from pathlib import Path

import pytest

from fcbench import cli
from fcbench.cli import make_stack
from fcbench.config import Recipe
from fcbench.errors import MethodError, UsageError


def test_a_stack_is_made_on_a_device_that_is_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    asked: list[str] = []

    def make_base(*places: Path, device: str, **rest: object) -> None:
        asked.append(device)
        with pytest.raises(UsageError, match="another make-stack is at work there"):
            make_stack.make_stack(device="cpu", out=tmp_path)
        raise MethodError("stop here")

    monkeypatch.setattr("fcbench.make_stack.make_base", make_base)
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    monkeypatch.setattr("torch.cuda.device_count", lambda: 1)
    given = [("auto", "cuda"), ("cuda:0", "cuda:0"), ("cpu", "cpu")]
    for device, _ in given:
        assert cli.main(["make-stack", "--device", device, "--out", str(tmp_path)]) == 1
    assert asked == [found for _, found in given]
    for device, told in [("cuda:1", "torch finds 1 GPUs here"), ("gpu", "expected auto, cpu, cuda or cuda:1")]:
        capsys.readouterr()
        assert cli.main(["make-stack", "--device", device, "--out", str(tmp_path)]) == 2
        assert told in capsys.readouterr().err
    assert len(asked) == len(given)


def test_each_recipe_of_make_stack_goes_on_from_what_the_one_before_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trained: list[tuple[str, str, Path]] = []

    def train(data: Path, checkpoint: Path, stack: object, recipe: Recipe, clock: object) -> None:
        assert data == tmp_path / "work" / "data" / ("others" if recipe.name == "mini-pairs" else "world")
        trained.append((recipe.name, recipe.start, checkpoint))
        if recipe.name == "mini-pairs":
            raise MethodError("stop here")

    monkeypatch.setattr("fcbench.make_stack.make_base", lambda *places, **rest: None)
    monkeypatch.setattr("fcbench.stacks.load_stack", lambda *names, **rest: None)
    built: list[tuple[str, int]] = []
    monkeypatch.setattr("fcbench.build.build_data", lambda *places, name, seed, **rest: built.append((name, seed)))
    monkeypatch.setattr("fcbench.fastcomposer.train.train", train)
    assert cli.main(["make-stack", "--device", "cpu", "--out", str(tmp_path)]) == 1
    assert built == [("world", 0), ("others", 1)]
    names = ("mini", "mini-more", "mini-most", "mini-people", "mini-crowd", "mini-city")
    first, second, third, fourth, fifth, sixth = (tmp_path / "work" / "checkpoints" / name for name in names)
    assert trained == [
        ("mini", "", first),
        ("mini-more", str(first), second),
        ("mini-most", str(second), third),
        ("mini-people", str(third), fourth),
        ("mini-crowd", str(fourth), fifth),
        ("mini-city", str(fifth), sixth),
        ("mini-pairs", str(sixth), tmp_path / "fastcomposer"),
    ]
