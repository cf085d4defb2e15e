"""``fcbench train`` begun as users begin it: by torchrun on one machine and on two, by accelerate launch, by MPI."""

from __future__ import annotations

import copy
import json
import os
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
import yaml

from fcbench.errors import FcbenchError, UsageError
from fcbench.fastcomposer import processes
from fcbench.fastcomposer.processes import check_replicas, digest_weights, refuse_forgotten_processes
from fcbench.files import digest_file

pytestmark = pytest.mark.timeout(600)  # two imports of everything at a time, on a machine that may be busy

TORCHRUN = [sys.executable, "-W", "ignore", "-m", "torch.distributed.run", "--nproc-per-node"]
ACCELERATE = [sys.executable, "-W", "ignore", "-m", "accelerate.commands.launch", "--num_processes", "2"]
ACCELERATE += ["--num_machines", "1", "--mixed_precision", "no", "--dynamo_backend", "no"]
Train = Callable[..., tuple[list[int], str, Path]]


@pytest.fixture(scope="module")
def train(stack_file: Path, data: Path, tmp_path_factory: pytest.TempPathFactory) -> Train:
    """Runs launchers side by side that train the tiny stack, each a machine; exit codes, what was said, checkpoint."""
    out = tmp_path_factory.mktemp("out")
    recipe = {"name": "tiny", "stack": str(stack_file), "steps": 2, "batch_size": 4, "learning_rate": 1e-3}
    (out / "tiny.yaml").write_text(yaml.safe_dump(recipe | {"precision": "float32"}))
    settings = {"PYTHONPATH": os.pathsep.join(sys.path), "OMP_NUM_THREADS": "1", "PYTHONWARNINGS": "ignore"}

    def run(name: str, *launchers: list[str]) -> tuple[list[int], str, Path]:
        verb = ["train", "--recipe", str(out / "tiny.yaml"), "--data", str(data), "--device", "cpu"]
        verb += ["--out", str(out), "--name", name]
        streams: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
        begun = [subprocess.Popen([*words, *verb], env={**os.environ, **settings}, **streams) for words in launchers]
        said = [process.communicate(timeout=500)[0] for process in begun]
        return [process.returncode for process in begun], "\n".join(said), out / "checkpoints" / name

    return run


def digest_folder(checkpoint: Path) -> list[str]:
    return [digest_file(file) for file in sorted(checkpoint.rglob("*.safetensors"))]


def free_port() -> str:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return str(free.getsockname()[1])


def launchers(kind: str) -> list[list[str]]:
    port = free_port()
    if kind == "torchrun":
        return [[*TORCHRUN, "2", "--master-port", port, "-m", "fcbench"]]
    if kind == "two-machines":
        place = ["--master-addr", "127.0.0.1", "--master-port", port]
        return [[*TORCHRUN, "1", "--nnodes", "2", "--node-rank", str(n), *place, "-m", "fcbench"] for n in range(2)]
    if kind == "mpi":  # as accelerate launch --cpu --mpirun_hostfile does
        meet = ["env", "MASTER_ADDR=127.0.0.1", f"MASTER_PORT={port}", "ACCELERATE_MIXED_PRECISION=no"]
        sizes = ["OMPI_COMM_WORLD_SIZE=2", "OMPI_COMM_WORLD_LOCAL_SIZE=2"]
        ranks = [[f"OMPI_COMM_WORLD_RANK={n}", f"OMPI_COMM_WORLD_LOCAL_RANK={n}"] for n in range(2)]
        return [[*meet, *sizes, *mine, sys.executable, "-m", "fcbench"] for mine in ranks]
    return [[*ACCELERATE, "--multi_gpu", "--main_process_port", port, "-m", "fcbench"]]


@pytest.fixture(scope="module")
def by_torchrun(train: Train) -> tuple[list[int], str, Path]:
    return train("torchrun", *launchers("torchrun"))


@pytest.mark.parametrize("kind", ["torchrun", "two-machines", "accelerate", "mpi"])
def test_two_processes_train_together_and_end_with_equal_weights(
    train: Train, by_torchrun: tuple[list[int], str, Path], kind: str
) -> None:
    codes, said, checkpoint = by_torchrun if kind == "torchrun" else train(kind, *launchers(kind))
    assert set(codes) == {0}, said
    machines = " on 2 machines" if kind == "two-machines" else ""
    assert said.count(f"train: 2 processes{machines}, cpu, 2 x 1 pictures a step each") == 1, said
    assert said.count("train: 2 processes ended with equal weights") == 1
    assert said.count(": trained; draw with it: ") == 1
    assert json.loads((checkpoint / "fastcomposer.json").read_text())["parts"] == 2
    assert digest_folder(checkpoint) == digest_folder(by_torchrun[2])


def test_accelerate_launch_that_begins_one_process_of_two_is_refused_in_a_line(train: Train) -> None:
    codes, said, checkpoint = train("lost", [*ACCELERATE, "--cpu", "-m", "fcbench"])
    assert codes != [0]
    (line,) = [line for line in said.splitlines() if line.startswith("fcbench: ")]
    assert "asked for several processes and began one" in line
    assert "torchrun --nproc-per-node" in line
    assert not checkpoint.exists()


def test_one_process_of_accelerate_launch_is_one_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ACCELERATE_MIXED_PRECISION", "no")
    monkeypatch.delenv("MASTER_ADDR", raising=False)
    refuse_forgotten_processes()
    monkeypatch.setenv("MASTER_ADDR", "127.0.0.1")
    with pytest.raises(UsageError, match="torchrun"):
        refuse_forgotten_processes()
    monkeypatch.setenv("WORLD_SIZE", "2")
    refuse_forgotten_processes()


def test_weights_that_differ_in_one_bit_on_one_process_are_not_saved(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    model = torch.nn.Linear(3, 4)
    other = copy.deepcopy(model)
    other.weight.data[3, 2] = torch.nextafter(other.weight[3, 2], torch.tensor(9.0))
    accelerator: Any = SimpleNamespace(num_processes=2, is_main_process=False)
    for second, ends_well in ((copy.deepcopy(model), True), (other, False)):
        answers = [digest_weights(model), digest_weights(second)]
        monkeypatch.setattr(processes, "gather_object", lambda mine, answers=answers: answers)
        if ends_well:
            check_replicas(accelerator, model)
        else:
            with pytest.raises(FcbenchError, match="2 processes hold 2 different sets of weights"):
                check_replicas(accelerator, model)
