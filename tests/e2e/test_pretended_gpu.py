"""The commands that use a GPU, on one that is pretended: whatever a processor forgives is an error there."""

from __future__ import annotations

import csv
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import yaml

from fcbench.files import read_json
from fcbench.images import read_image
from tests.pretended_gpu import POSSIBLE, environment
from tests.pretended_gpu.tensors import NAME

ROOT = Path(__file__).parent.parent.parent
FEW = ["--set", "steps=2", "--set", "tuning_steps=2", "--set", "prior_images=2"]
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
        command = [sys.executable, "-m", "fcbench", *words, "--device", device, "--out", str(self.out / device)]
        done = subprocess.run(command, env=self._gpu, cwd=ROOT, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr[-3000:]
        assert "kept in float32" not in done.stderr  # diffusers warns of no layers at all

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


@pytest.mark.parametrize(("checks", "shapes_alone"), [("refusals", ""), ("sizes", ""), ("sizes", "1")])
def test_it_refuses_what_a_gpu_refuses_and_tells_what_tensors_take(
    gpu: dict[str, str], checks: str, shapes_alone: str
) -> None:
    command = [sys.executable, "-m", f"tests.pretended_gpu.{checks}"]
    subprocess.run(command, env={**gpu, "PRETENDED_GPU_SHAPES": shapes_alone}, cwd=ROOT, check=True)


def test_a_dataset_is_built_trained_on_and_drawn_with(fcbench: Commands) -> None:
    fcbench("build-data", "--photos", "12", "--workers", "1")
    assert NAME in read_json(fcbench.out / "cuda" / "data" / "world" / "build.json")["devices"]
    every = [word for key in ("save_every", "sample_every") for word in ("--set", f"{key}=1")]
    few = ["--data", "world", "--recipe", "mini-demo", "--set", "steps=2", "--set", "batch_size=2", *every]
    fcbench("train", *few, "--name", "mine")
    half = ["--set", "precision=float16", "--set", "accumulation=2", "--set", "vision_layers=2"]
    fcbench("train", *few, *half, "--set", "gradient_checkpointing=true", "--name", "half")
    mine = [
        "--checkpoint",
        str(fcbench.out / "cuda" / "checkpoints" / "half"),
        "--set",
        "alpha=0.5",
        "--set",
        "steps=2",
    ]
    fcbench("run", "--suite", fcbench.suite(2), "--method", "fastcomposer", *mine)
    fcbench("report")
    with (fcbench.out / "cuda" / "reports" / "of-2" / "leaderboard.csv").open() as file:
        (row,) = csv.DictReader(file)
    assert (row["generations"], row["failures"]) == ("1", "0")
    assert row["identity"]


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
