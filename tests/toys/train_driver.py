"""Trainings in processes that can be killed, forked from one that has imported everything: a JSON job as argument.

The job: ``stack`` and ``recipe`` (YAML files), ``data`` and ``out`` (folders), ``processes`` and ``kills``. Trains into
``out/whole`` without a break, then into ``out/parts-<n>`` with as many kills at random moments, in each folder until
it is done. What each process ends with lies in ``<folder>.<rank>``.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import sys
import time
import traceback
from collections.abc import Mapping
from pathlib import Path
from random import Random
from typing import Any

import torch

from fcbench.config import Recipe, load_yaml
from fcbench.fastcomposer import train as training
from fcbench.stacks import load_stack
from fcbench.types import ROLES, Stack


class Observed(training.Trainer):
    """A trainer that can be looked at afterwards."""

    last: Observed

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        Observed.last = self


def observe(folder: Path) -> None:
    """Have every process leave its weights and moments when its steps are done."""
    run_steps = training.run_steps

    def observed(*arguments: Any, **options: Any) -> None:
        run_steps(*arguments, **options)
        trainer = Observed.last
        state = {name: part.state_dict() for name, part in trainer.state.items()}
        facts = {"processes": trainer.accelerator.num_processes, "class": type(trainer.model).__name__}
        torch.save({"state": state, **facts}, folder.with_name(f"{folder.name}.{os.environ.get('RANK', 0)}"))

    training.Trainer = Observed  # type: ignore[misc]
    training.run_steps = observed


def begin(job: Mapping[str, Any], stack: Stack, recipe: Recipe, folder: Path) -> list[int]:
    """Fork the processes of one training; their ids."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    started = []
    for rank in range(job["processes"]):
        process = os.fork()
        if process == 0:
            if job["processes"] > 1:
                ranks = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": job["processes"]}
                ranks |= {"LOCAL_WORLD_SIZE": job["processes"], "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
                os.environ.update({name: str(value) for name, value in ranks.items()})
            work(Path(job["data"]), folder, stack, recipe)
        started.append(process)
    return started


def work(data: Path, folder: Path, stack: Stack, recipe: Recipe) -> None:
    """What a forked process does."""
    code = 1
    try:
        observe(folder)
        training.train(data, folder, stack, recipe)
        code = 0
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stderr.flush()
        os._exit(code)


def end(processes: list[int]) -> list[int]:
    """Wait for processes; their exit codes, negative for a signal."""
    return [os.waitstatus_to_exitcode(os.waitpid(process, 0)[1]) for process in processes]


def finish(processes: list[int]) -> None:
    """Wait for a training that must be done."""
    codes = end(processes)
    assert not any(codes), codes


def main(job: Mapping[str, Any]) -> dict[str, Any]:
    """Run the job; what happened."""
    stack, recipe, out = load_stack(job["stack"]), load_yaml(job["recipe"], Recipe), Path(job["out"])
    for role in set(stack.load) & set(ROLES):
        stack.role(role)
    started = time.monotonic()
    finish(begin(job, stack, recipe, out / "whole"))
    seconds = time.monotonic() - started
    random, kills, parts = Random(0), [], 0
    while len(kills) < job["kills"]:
        moment = random.uniform(0, seconds)
        processes = begin(job, stack, recipe, out / f"parts-{parts}")
        time.sleep(moment)
        for process in processes:
            os.kill(process, signal.SIGKILL)
        codes = end(processes)
        if any(codes):
            assert all(code in (0, -signal.SIGKILL) for code in codes), codes
            kills.append({"moment": moment, "folder": parts, "saved": saved_steps(out / f"parts-{parts}")})
        else:  # it was done before: another training takes the kills that are left
            parts += 1
    finish(begin(job, stack, recipe, out / f"parts-{parts}"))
    return {"seconds": seconds, "kills": kills, "folders": parts + 1}


def saved_steps(folder: Path) -> int:
    """How many steps a killed training goes on from; -1 where its state is gone, as it is done."""
    state = folder / "work" / "state.pt"
    if not state.exists():
        return -1 if (folder / "fastcomposer.json").exists() else 0
    return int(torch.load(state, weights_only=True)["done"])


if __name__ == "__main__":  # nothing happens on import: the doctest collector imports this file
    print(json.dumps(main(json.loads(sys.argv[1]))))
