"""A real Ray of two workers on this machine: the bytes of the local build, also when an actor is killed half-way."""

from __future__ import annotations

import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

from fcbench.build import build_data
from fcbench.stacks import load_stack
from fcbench.store import DataFolder, data_folder
from tests.toys.build_toys import stack_file

PHOTOS = 115
ROOT = Path(__file__).parents[3]


def tables(folder: DataFolder) -> dict[str, bytes]:
    return {str(path.relative_to(folder.path)): path.read_bytes() for path in folder.path.rglob("*.parquet")}


@pytest.mark.timeout(1200)
@pytest.mark.skipif(find_spec("ray") is None, reason="Ray is not installed; tox -e ray has it")
def test_two_actors_give_the_bytes_of_the_local_build_also_when_one_is_killed(tmp_path: Path) -> None:
    dying = tmp_path / "dies"
    stack, other = (str(stack_file(tmp_path / str(seed), seed=seed, dies=str(dying))) for seed in (0, 1))
    build_data(tmp_path / "local", photos=PHOTOS, stack=load_stack(stack), progress=None)
    # A busy machine may need longer to start Ray than Ray is willing to wait.
    surroundings = {"RAY_USAGE_STATS_ENABLED": "0", "RAY_raylet_start_wait_time_s": "600", "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-m", "tests.toys.build_on_ray", str(tmp_path), stack, other, str(dying), str(PHOTOS)],
        env=os.environ | surroundings,
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    for name in ("whole", "killed"):
        assert tables(data_folder(tmp_path / name, "world")) == tables(data_folder(tmp_path / "local", "world"))
    assert not dying.exists()
    assert "raised: the matcher of a worker's stack 'toys' is not the one" in done.stdout
