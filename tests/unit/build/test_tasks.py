"""Commands that share a build: one in so many, or whichever shard is free."""

from __future__ import annotations

import io
import subprocess
import sys
from collections.abc import Sequence
from contextlib import ExitStack, nullcontext
from pathlib import Path

import pytest

from fcbench.build import build_data, build_shards
from fcbench.build.engine import Here
from fcbench.build.shard import Job, Tell, last_kept
from fcbench.errors import UsageError
from fcbench.files import leased
from fcbench.stacks import load_stack
from fcbench.store import DataFolder, data_folder
from fcbench.types import Stack
from tests.toys.build_toys import PHOTOS, tables


def test_a_slurm_array_labels_and_one_command_finishes(built: DataFolder, toys: Path, tmp_path: Path) -> None:
    stack = load_stack(str(toys))
    assert build_shards(tmp_path, (2, 2), photos=PHOTOS, stack=stack, progress=None) == (1, 3)
    assert build_shards(tmp_path, (1, 2), photos=PHOTOS, stack=stack, progress=None) == (3, 3)
    assert not data_folder(tmp_path, "world").build.exists()
    build_data(tmp_path, photos=PHOTOS, stack=Stack("toys", {}, 64, digests=stack.digests), progress=None)
    assert tables(data_folder(tmp_path, "world")) == tables(built)
    with pytest.raises(UsageError, match="from 1 to 2"):
        build_shards(tmp_path, (3, 2), photos=PHOTOS, stack=stack, progress=None)


def test_a_shard_that_somebody_is_at_is_left_to_them(toys: Path, tmp_path: Path) -> None:
    stack, folder = load_stack(str(toys)), data_folder(tmp_path, "world")
    told = io.StringIO()
    with leased(folder.lease(1)) as ours:
        assert ours
        assert build_shards(tmp_path, (1, 1), photos=PHOTOS, stack=stack, progress=told) == (2, 3)
        with leased(folder.lease(1)) as again, leased(folder.lease(2)) as other:
            assert (again, other) == (False, True)
    assert "photos 65/65" in told.getvalue()
    assert build_shards(tmp_path, (1, 1), photos=PHOTOS, stack=stack, progress=None) == (3, 3)


def test_a_shard_that_is_taken_at_the_last_moment_counts_as_passed_by(toys: Path, tmp_path: Path) -> None:
    stack, folder, told = load_stack(str(toys)), data_folder(tmp_path, "world"), io.StringIO()

    class Late:
        runs = 0

        def run(self, job: Job, shards: Sequence[int], tell: Tell) -> None:
            Late.runs += 1
            with leased(folder.lease(2)) if Late.runs == 1 else nullcontext():
                Here(stack).run(job, shards, tell)
                assert (last_kept(job, 2) is None) == (Late.runs == 1)

    assert build_shards(tmp_path, (1, 1), photos=PHOTOS, stack=stack, engine=Late(), progress=told) == (3, 3)
    assert Late.runs == 2
    assert f"photos {PHOTOS}/{PHOTOS}" in told.getvalue()


def test_a_shard_whose_holder_died_meanwhile_is_taken_in_the_end(toys: Path, tmp_path: Path) -> None:
    stack, held = load_stack(str(toys)), ExitStack()
    runs: list[list[int]] = []

    class Outlived:
        def run(self, job: Job, shards: Sequence[int], tell: Tell) -> None:
            runs.append(list(shards))
            Here(stack).run(job, shards, tell)
            held.close()

    held.enter_context(leased(data_folder(tmp_path, "world").lease(0)))
    done = build_shards(tmp_path, (1, 1), photos=PHOTOS, stack=stack, engine=Outlived(), progress=None)
    assert (done, runs) == ((3, 3), [[1, 2], [0]])


def test_a_whole_build_waits_for_no_lease(built: DataFolder, toys: Path, tmp_path: Path) -> None:
    with leased(data_folder(tmp_path, "world").lease(0)):
        build_data(tmp_path, photos=PHOTOS, stack=load_stack(str(toys)), progress=None)
    assert tables(data_folder(tmp_path, "world")) == tables(built)


def test_equal_commands_share_the_shards(built: DataFolder, toys: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "fcbench", "build-data", "--photos", str(PHOTOS), "--stack", str(toys)]
    command += ["--workers", "1", "--device", "cpu", "--shards", "free", "--out", str(tmp_path)]
    running = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    said = [process.communicate()[0] for process in running]
    assert [process.returncode for process in running] == [0, 0]
    assert any("3 of 3 shards are labelled" in words for words in said)
    build_data(tmp_path, photos=PHOTOS, stack=load_stack(str(toys)), progress=None)
    assert tables(data_folder(tmp_path, "world")) == tables(built)
