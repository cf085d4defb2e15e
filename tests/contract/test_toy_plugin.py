"""A package of somebody else is found, and ``fcbench.testing`` catches each way to break the contract."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from fcbench import plugins
from fcbench.errors import UsageError
from fcbench.files import write_image
from fcbench.testing import check_method, check_metric, check_stack
from fcbench.types import Capabilities, Case, Generation, Image, Prompt, Sampler, Score, Stack, Subject

TOY = Path(__file__).parent / "toy_plugin"


@pytest.fixture(autouse=True)
def _installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What ``pip install --editable`` would leave: the metadata, and the folder on the path."""
    project = tomllib.loads((TOY / "pyproject.toml").read_text())["project"]
    metadata = tmp_path / "site" / "toy_plugin-1.0.dist-info"
    metadata.mkdir(parents=True)
    (metadata / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {project['name']}\nVersion: 1.0\n")
    entries = [
        f"[{group}]\n{name} = {value}" for group, e in project["entry-points"].items() for name, value in e.items()
    ]
    (metadata / "entry_points.txt").write_text("\n".join(entries))
    monkeypatch.syspath_prepend(tmp_path / "site")
    monkeypatch.syspath_prepend(TOY)


@pytest.fixture
def stack() -> Stack:
    return Stack("toy", {"unet": lambda: torch.nn.Linear(2, 2)}, 8, digests={"unet": "none"})


SUBJECTS = [Subject("ann", "woman", (Path("ann.png"),)), Subject("bo", "man", (Path("bo.png"),))]


def test_an_installed_plugin_is_listed_and_loaded_with_its_options() -> None:
    assert "toy" in plugins.names("methods")
    assert plugins.load("methods", "toy", {"most": "3"}).capabilities.max_subjects == 3


def test_the_toy_method_keeps_the_contract(stack: Stack, tmp_path: Path) -> None:
    check_method(plugins.load("methods", "toy"), stack, SUBJECTS, tmp_path / "work")


def test_the_toy_metric_keeps_the_contract(stack: Stack, generations: list[Generation]) -> None:
    check_metric(plugins.load("metrics", "brightness"), stack, generations)


def test_the_toy_stack_keeps_the_contract(stack: Stack) -> None:
    check_stack(stack)


@dataclass
class Broken:
    """A toy with one fault, said in words."""

    fault: str = ""

    @property
    def capabilities(self) -> Capabilities:
        return Capabilities(max_subjects=2, needs_tuning=True)

    def fit(self, stack: Stack, subjects: Sequence[Subject], *, seed: int, workdir: Path) -> Sampler:
        if self.fault == "changes the weights":
            with torch.no_grad():
                stack.role("unet").weight.add_(1)
        if self.fault == "leaves training mode":
            stack.role("unet").eval()
        if len(subjects) > 2 and self.fault != "takes too many":
            raise UsageError("too many") if self.fault != "crashes on too many" else IndexError("list index")
        return BrokenSampler(self.fault, np.random.default_rng(None if self.fault == "fits at random" else seed))


class BrokenSampler:
    def __init__(self, fault: str, random: np.random.Generator) -> None:
        self.fault = fault
        self.start = int(random.integers(2**31))
        self.calls = 0

    def __call__(self, prompts: Sequence[Prompt], seeds: Sequence[int]) -> list[Image]:
        self.calls += self.fault == "draws at random"
        size = 4 if self.fault == "draws another size" else 8
        kind: Any = np.float32 if self.fault == "draws floats" else np.uint8
        pictures = [
            np.random.default_rng(
                [self.start, self.calls, len(prompt.text), 0 if self.fault == "ignores the seed" else seed]
            ).integers(0, 256, (size, size, 3))
            for prompt, seed in zip(prompts, seeds, strict=True)
        ]
        if self.fault == "turns the batch round":
            pictures.reverse()
        if self.fault == "forgets a picture" and len(pictures) > 1:
            pictures.pop()
        return [picture.astype(kind) for picture in pictures]

    def save(self, folder: Path) -> None:
        if self.fault != "saves nothing":
            (folder / "weights").write_text("here")


def test_the_broken_toy_without_a_fault_keeps_the_contract(stack: Stack, tmp_path: Path) -> None:
    check_method(Broken(), stack, SUBJECTS, tmp_path / "work")


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        ("changes the weights", "fit must leave every weight"),
        ("leaves training mode", "fit must leave every weight"),
        ("draws at random", "the same prompt and seed gave another picture"),
        ("ignores the seed", "another seed gave the same picture"),
        ("fits at random", "fitted again with the same seed"),
        ("draws another size", r"a picture is \(8, 8, 3\)"),
        ("draws floats", "a picture is uint8"),
        ("turns the batch round", "picture 0 of a batch is not the one asked for"),
        ("forgets a picture", "3 prompts gave 2 pictures"),
        ("takes too many", "3 subjects are too many for fit: it must raise UsageError"),
        ("saves nothing", r"save\(\) wrote nothing"),
    ],
)
def test_a_fault_of_a_method_is_caught(fault: str, message: str, stack: Stack, tmp_path: Path) -> None:
    with pytest.raises(AssertionError, match=message):
        check_method(Broken(fault), stack, SUBJECTS, tmp_path / "work")


def test_a_crash_on_too_many_subjects_is_no_usage_error(stack: Stack, tmp_path: Path) -> None:
    with pytest.raises(IndexError):
        check_method(Broken("crashes on too many"), stack, SUBJECTS, tmp_path / "work")


def test_an_option_that_json_cannot_keep_is_caught(stack: Stack, tmp_path: Path) -> None:
    @dataclass
    class Tuples(Broken):
        sizes: tuple[int, ...] = (1, 2)

    with pytest.raises(AssertionError, match="the options must survive JSON"):
        check_method(Tuples(), stack, SUBJECTS, tmp_path / "work")


@pytest.fixture
def generations(tmp_path: Path) -> list[Generation]:
    def made() -> Iterator[Generation]:
        for seed in range(2):
            path = tmp_path / f"{seed}.png"
            write_image(path, np.full((8, 8, 3), 100 * seed, np.uint8))
            case = Case((SUBJECTS[0],), Prompt("snow", "{} in the snow", "context"), seed)
            yield Generation(case, path, 0.0, 0.0, 0, 0)

    return list(made())


class BrokenMetric:
    name = "toy"
    unit = ""
    range = (0.0, 1.0)
    higher_is_better = True

    def __init__(self, fault: str = "") -> None:
        self.fault = fault
        self.calls = 0

    def __call__(self, stack: Stack, generations: Sequence[Generation]) -> list[dict[str, Score]]:
        self.calls += self.fault == "judges at random"
        values: list[float | None] = [0.1 * (generation.case.seed + self.calls) for generation in generations]
        if self.fault == "ignores the order":
            values.sort(key=lambda value: value or 0.0)
        faulty = {"goes beyond": 2.0, "gives nan": float("nan"), "gives none": None}
        values = [faulty.get(self.fault, value) for value in values]
        column = "other" if self.fault == "names another" else "toy"
        rows = [{column: Score(value)} for value in values]
        return rows[:1] if self.fault == "forgets one" else rows


def test_the_broken_metric_without_a_fault_keeps_the_contract(stack: Stack, generations: list[Generation]) -> None:
    check_metric(BrokenMetric(), stack, generations)


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        ("judges at random", "the same generations gave other scores"),
        ("ignores the order", "follow the order"),
        ("goes beyond", "which it says lies in"),
        ("gives nan", "gave nan as toy"),
        ("gives none", "no note that says why"),
        ("names another", "no column 'toy'"),
        ("forgets one", "1 rows for 2 generations"),
    ],
)
def test_a_fault_of_a_metric_is_caught(fault: str, message: str, stack: Stack, generations: list[Generation]) -> None:
    with pytest.raises(AssertionError, match=message):
        check_metric(BrokenMetric(fault), stack, generations)


def test_a_fault_of_a_stack_is_caught(stack: Stack) -> None:
    with pytest.raises(AssertionError, match="digests must name its weights"):
        check_stack(replace(stack, digests={}))
    with pytest.raises(AssertionError, match="no role is called 'brush'"):
        check_stack(replace(stack, load={"brush": object}))
