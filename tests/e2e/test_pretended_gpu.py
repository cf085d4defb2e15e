"""The commands that use a GPU, on one that is pretended: whatever a processor forgives is an error there."""

from __future__ import annotations

import csv
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml

from fcbench.files import read_json
from fcbench.images import read_image
from fcbench.stacks import load_stack
from tests.pretended_gpu import POSSIBLE, environment
from tests.pretended_gpu.tensors import NAME

ROOT = Path(__file__).parent.parent.parent
FEW = ["--set", "steps=2", "--set", "tuning_steps=2", "--set", "prior_images=2"]
TRAINING = [
    "--data",
    "world",
    "--recipe",
    "mini-demo",
    "--set",
    "steps=2",
    "--set",
    "batch_size=2",
    "--set",
    "save_every=1",
]
HALF = ["--set", "precision=float16", "--set", "accumulation=2", "--set", "vision_layers=2"]
pytestmark = [
    pytest.mark.weights,
    pytest.mark.timeout(900),
    pytest.mark.skipif(not POSSIBLE, reason="needs Linux, g++ and a torch built for processors alone"),
]


class Commands:
    """fcbench with ``--out`` set, where torch has a GPU."""

    def __init__(self, out: Path, gpu: dict[str, str]) -> None:
        self.out, self._gpu = out, gpu

    def __call__(self, *words: str, device: str = "cuda") -> None:
        process = self.begin(*words, device=device)
        _, complaint = process.communicate()
        assert process.returncode == 0, complaint[-3000:]
        assert "kept in float32" not in complaint  # diffusers warns of no layers at all

    def begin(self, *words: str, device: str = "cuda") -> subprocess.Popen[str]:
        command = [sys.executable, "-m", "fcbench", *words, "--device", device, "--out", str(self.out / device)]
        return subprocess.Popen(
            command, env=self._gpu, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )

    def kill(self, *words: str, once: Path) -> None:
        """Begin it, and kill it as soon as there is that file."""
        process = self.begin(*words)
        while not once.exists():
            assert process.poll() is None, process.communicate()[1][-3000:]
            time.sleep(0.01)
        process.send_signal(signal.SIGKILL)
        process.communicate()
        assert process.returncode == -signal.SIGKILL

    def suite(self, group: int) -> str:
        """A file of one case: one person, or two."""
        people = {"source": "world", "first": 1_000_000, "count": group, "photos": 5}
        prompts = [{"id": "snow", "kind": "context", "text": "{} in the snow"}]
        told = {"name": f"of-{group}", "stack": "mini", "subjects": people, "prompts": prompts, "group": group}
        file = self.out / f"of-{group}.yaml"
        file.write_text(yaml.safe_dump({**told, "pairs": 1} if group == 2 else told))
        return str(file)


@pytest.fixture(scope="module")
def gpu(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    return environment(tmp_path_factory.mktemp("driver"))


@pytest.fixture
def fcbench(tmp_path: Path, gpu: dict[str, str]) -> Commands:
    return Commands(tmp_path, gpu)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory, gpu: dict[str, str]) -> Commands:
    """Where a dataset of 12 photos was built."""
    commands = Commands(tmp_path_factory.mktemp("world"), gpu)
    commands("build-data", "--photos", "12", "--workers", "1")
    return commands


@pytest.mark.parametrize(("checks", "shapes_alone"), [("refusals", ""), ("sizes", ""), ("sizes", "1")])
def test_it_refuses_what_a_gpu_refuses_and_tells_what_tensors_take(
    gpu: dict[str, str], checks: str, shapes_alone: str
) -> None:
    command = [sys.executable, "-m", f"tests.pretended_gpu.{checks}"]
    subprocess.run(command, env={**gpu, "PRETENDED_GPU_SHAPES": shapes_alone}, cwd=ROOT, check=True)


def test_a_dataset_is_built_trained_on_and_drawn_with(world: Commands) -> None:
    data = world.out / "cuda" / "data" / "world"
    assert NAME in read_json(data / "build.json")["devices"]
    world("train", *TRAINING, "--set", "sample_every=1", "--name", "mine")
    world("train", *TRAINING, *HALF, "--set", "gradient_checkpointing=true", "--name", "half")
    half = ["--checkpoint", str(world.out / "cuda" / "checkpoints" / "half")]
    few = ["--set", "alpha=0.5", "--set", "steps=2"]
    world("run", "--suite", world.suite(2), "--method", "fastcomposer", *half, *few)
    world("report")
    with (world.out / "cuda" / "reports" / "of-2" / "leaderboard.csv").open() as file:
        (row,) = csv.DictReader(file)
    assert (row["generations"], row["failures"]) == ("1", "0")
    assert row["identity"]


def test_a_training_that_is_killed_goes_on_to_the_same_weights(world: Commands) -> None:
    training = ["train", *TRAINING, *HALF, "--set", "steps=3", "--set", "average=0.5"]
    world(*training, "--name", "whole")
    checkpoints = world.out / "cuda" / "checkpoints"
    world.kill(*training, "--name", "cut", once=checkpoints / "cut" / "work" / "state.pt")
    assert not (checkpoints / "cut" / "fastcomposer.json").exists()
    world(*training, "--name", "cut", "--resume")
    whole, cut = (
        {file.name: file.read_bytes() for file in (checkpoints / name).rglob("*.safetensors")}
        for name in ("whole", "cut")
    )
    assert len(whole) == 3
    assert whole == cut


@pytest.mark.parametrize(
    ("method", "group"),
    [
        ("stable-diffusion", 1),
        ("dreambooth", 1),
        ("dreambooth-lora", 1),
        ("custom-diffusion", 2),
        ("textual-inversion", 1),
    ],
)
def test_methods_fit_and_draw(fcbench: Commands, method: str, group: int) -> None:
    few = {"stable-diffusion": FEW[:2], "textual-inversion": FEW[:4]}.get(method, FEW)
    fcbench("run", "--suite", fcbench.suite(group), "--method", method, *few)
    record = read_json(fcbench.out / "cuda" / "runs" / f"of-{group}" / method / "run.json")
    assert (record["device"], record["memory_kind"]) == (NAME, "cuda allocated")


def test_half_precision_draws_what_a_processor_draws(fcbench: Commands) -> None:
    drawn = {}
    for device in ("cuda", "cpu"):
        fcbench("run", "--suite", fcbench.suite(1), "--method", "fastcomposer", "--set", "steps=5", device=device)
        (file,) = (fcbench.out / device / "runs").rglob("*.png")
        drawn[device] = read_image(file).astype(int)
    assert drawn["cpu"].std() > 20
    assert np.abs(drawn["cuda"] - drawn["cpu"]).max() <= 8  # of 255


def test_the_miniature_is_made(tmp_path: Path, gpu: dict[str, str]) -> None:
    made = tmp_path / "stack"
    command = [sys.executable, "-m", "tests.pretended_gpu.stages", str(made)]
    done = subprocess.run(command, env=gpu, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    assert {file.name for file in (tmp_path / "judges").iterdir()} == {"det.onnx", "rec.onnx", "card.json"}
    unet = load_stack(str(made / "stack.yaml"), device="cpu").role("unet")
    assert all(torch.isfinite(value).all() for value in unet.state_dict().values())
