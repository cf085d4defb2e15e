"""The shipped miniature trained as ``mini.yaml`` says, killed for real and gone on with, from the command line."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import yaml

from fcbench.cli import main
from fcbench.config import find_yaml

pytestmark = [pytest.mark.weights, pytest.mark.timeout(600)]  # four processes that import everything, one by one

STEPS = 3


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working folder: a dataset of 24 photos, and mini.yaml with fewer steps and a state after each."""
    monkeypatch.chdir(tmp_path)
    settings = yaml.safe_load(find_yaml("mini", "recipes").read_text(encoding="utf-8"))
    Path("mini.yaml").write_text(yaml.safe_dump(settings | {"steps": STEPS, "save_every": 1, "keep": 1}))
    assert main(["build-data", "--photos", "24", "--device", "cpu"]) == 0
    return tmp_path


def begin(name: str, *more: str) -> subprocess.Popen[str]:
    verb = ["-m", "fcbench", "train", "--config", "./mini.yaml", "--device", "cpu", "--name", name, *more]
    settings = {"PYTHONPATH": os.pathsep.join(sys.path), "OMP_NUM_THREADS": "1", "PYTHONWARNINGS": "ignore"}
    streams: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    return subprocess.Popen([sys.executable, *verb], env={**os.environ, **settings}, **streams)


def finish(process: subprocess.Popen[str]) -> str:
    said, complaint = process.communicate(timeout=500)
    assert process.returncode == 0, complaint
    return f"{said}{complaint}"


def weights(name: str) -> dict[str, bytes]:
    folder = Path("out/checkpoints") / name
    return {str(file.relative_to(folder)): file.read_bytes() for file in folder.rglob("*.safetensors")}


def test_a_miniature_killed_after_a_step_resumes_to_the_same_weights(folder: Path) -> None:
    said = finish(begin("whole"))
    assert "train: 1 process, cpu, 32 x 1 pictures a step each" in said
    assert "images_per_second" in said
    assert " idle " in said
    cut = begin("cut")
    state = folder / "out" / "checkpoints" / "cut" / "work" / "state.pt"
    while not state.exists():
        assert cut.poll() is None, cut.communicate()[1]
        time.sleep(0.02)
    cut.send_signal(signal.SIGKILL)
    cut.communicate()
    assert cut.returncode == -signal.SIGKILL
    assert not (state.parent.parent / "fastcomposer.json").exists()
    finish(begin("cut", "--resume"))
    assert weights("cut") == weights("whole")
    assert len(weights("cut")) == 3
    log = (folder / "out/checkpoints/cut.training/log.jsonl").read_text().splitlines()
    assert [json.loads(line)["step"] for line in log] == list(range(1, STEPS + 1))
