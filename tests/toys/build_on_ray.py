"""Builds on a Ray of two workers that it starts; what a test runs apart, as Ray leaves processes to their own end."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from fcbench.build import build_data
from fcbench.build.ray_engine import RayEngine
from fcbench.errors import UsageError
from fcbench.stacks import load_stack


def main(folder: Path, stack: str, other: str, dying: Path, photos: int) -> None:
    """Build twice, an actor being killed in the second build; then with a stack that is not the workers'."""
    import ray  # an extra: without it this file can be imported, and its test is skipped

    ray.init(
        num_cpus=2,
        include_dashboard=False,
        log_to_driver=False,
        object_store_memory=100 << 20,
        _node_ip_address="127.0.0.1",
        runtime_env={"env_vars": {"PYTHONPATH": os.environ["PYTHONPATH"]}},
    )
    engine = RayEngine(stack, workers=2)
    build_data(folder / "whole", photos=photos, stack=load_stack(stack), engine=engine, progress=None)
    dying.touch()
    build_data(folder / "killed", photos=photos, stack=load_stack(stack), engine=engine, progress=None)
    try:
        build_data(folder / "other", photos=3, stack=load_stack(other), engine=engine, progress=None)
    except UsageError as error:
        print(f"raised: {error}")
    ray.shutdown()


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2], sys.argv[3], Path(sys.argv[4]), int(sys.argv[5]))
