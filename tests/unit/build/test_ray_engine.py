"""A real Ray of two workers on this machine: the bytes of the local build, also when an actor is killed half-way."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from fcbench.build import build_data
from fcbench.build.ray_engine import RayEngine
from fcbench.errors import UsageError
from fcbench.stacks import load_stack
from fcbench.store import DataFolder, data_folder
from tests.toys.build_toys import stack_file

pytestmark = [pytest.mark.timeout(900), pytest.mark.filterwarnings("ignore")]
PHOTOS = 115
ROOT = Path(__file__).parents[3]


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    ray = pytest.importorskip("ray", reason="Ray is not installed: pip install 'fcbench[ray]'")
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    ray.init(
        num_cpus=2,
        include_dashboard=False,
        log_to_driver=False,
        object_store_memory=100 << 20,
        _node_ip_address="127.0.0.1",
        runtime_env={"env_vars": {"PYTHONPATH": str(ROOT)}},
    )
    yield ray
    ray.shutdown()


def tables(folder: DataFolder) -> dict[str, bytes]:
    return {str(path.relative_to(folder.path)): path.read_bytes() for path in folder.path.rglob("*.parquet")}


def test_two_actors_give_the_bytes_of_the_local_build_also_when_one_is_killed(cluster: Any, tmp_path: Path) -> None:
    dying = tmp_path / "dies"
    file = str(stack_file(tmp_path, dies=str(dying)))
    build_data(tmp_path / "local", photos=PHOTOS, stack=load_stack(file), progress=None)
    for name, killed in (("whole", False), ("killed", True)):
        if killed:
            dying.touch()
        out = tmp_path / name
        build_data(out, photos=PHOTOS, stack=load_stack(file), engine=RayEngine(file, workers=2), progress=None)
        assert tables(data_folder(out, "world")) == tables(data_folder(tmp_path / "local", "world"))
        assert not dying.exists()


def test_what_a_node_raises_arrives(cluster: Any, tmp_path: Path) -> None:
    ours, theirs = (str(stack_file(tmp_path / str(seed), seed=seed)) for seed in (0, 1))
    with pytest.raises(UsageError, match=r"the matcher of a worker's stack 'toys' is not the one"):
        build_data(tmp_path, photos=3, stack=load_stack(ours), engine=RayEngine(theirs, workers=1), progress=None)
