"""Trainings in processes that can be killed, forked from one that has imported everything: a JSON job as argument.

The job: ``stack`` and ``recipe`` (YAML files), ``data`` and ``out`` (folders), ``kills``. With one process and with two
it trains into ``out/<processes>/whole`` without a break, then into ``parts-0`` beside it with as many kills at random
moments; ``parts-1`` and so on take those that are left when it is done. What each process ends with lies in
``<folder>.<rank>``.
"""

from __future__ import annotations

import faulthandler
import json
import os
import signal
import socket
import sys
import time
import traceback
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from random import Random
from typing import Any

import torch

from fcbench.config import Recipe, load_yaml
from fcbench.fastcomposer import train as training
from fcbench.fastcomposer.checkpoint import Checkpoint, save_checkpoint
from fcbench.fastcomposer.model import FastComposerModel
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
    from fcbench.loop import run_steps

    def observed(*arguments: Any, **options: Any) -> None:
        run_steps(*arguments, **options)
        trainer = Observed.last
        state = {name: part.state_dict() for name, part in trainer.state.items()}
        facts = {"processes": trainer.accelerator.num_processes, "class": type(trainer.model).__name__}
        torch.save({"state": state, **facts}, folder.with_name(f"{folder.name}.{os.environ.get('RANK', 0)}"))

    vars(training).update(Trainer=Observed, run_steps=observed)


def begin(data: Path, stack: Stack, recipe: Recipe, folder: Path, count: int) -> list[int]:
    """Fork the ``count`` processes of one training; their ids."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    started = []
    for rank in range(count):
        process = os.fork()
        if process == 0:
            if count > 1:
                ranks: dict[str, Any] = {
                    "RANK": rank,
                    "LOCAL_RANK": rank,
                    "WORLD_SIZE": count,
                    "LOCAL_WORLD_SIZE": count,
                }
                ranks |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
                os.environ.update({name: str(value) for name, value in ranks.items()})
            work(data, folder, stack, recipe)
        started.append(process)
    return started


def work(data: Path, folder: Path, stack: Stack, recipe: Recipe) -> None:
    """What a forked process does."""
    code = 1
    faulthandler.dump_traceback_later(500, exit=True)  # a process that hangs says where
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


def main(job: Mapping[str, Any]) -> dict[int, Any]:
    """Run the job with one process, and with two that take half of each batch each; what happened."""
    stack, recipe = load_stack(job["stack"]), load_yaml(job["recipe"], Recipe)
    for role in set(stack.load) & set(ROLES):
        stack.role(role)
    warm(stack, recipe, Path(job["out"]) / "warm")
    happened = {}
    for count in (1, 2):
        shared = recipe.model_copy(update={"accumulation": 2 // count})
        start = partial(begin, Path(job["data"]), stack, shared, count=count)
        happened[count] = kill(start, Path(job["out"]) / str(count), job["kills"])
    return happened


def warm(stack: Stack, recipe: Recipe, folder: Path) -> None:
    """Do once what each fork would do a first time; no backward pass, whose engine does not survive a fork."""
    model = FastComposerModel(stack, recipe)
    with torch.no_grad():
        text = torch.zeros(1, 1, model.unet.config.cross_attention_dim)
        at = torch.ones(1, 1, dtype=torch.bool)
        model(torch.zeros(1, 4, 4, 4), torch.zeros(1).long(), text, at, torch.zeros(1, 3, 16, 16))
    save_checkpoint(folder, Checkpoint(model.unet, model.image_encoder, model.fusion), {})


def kill(start: Callable[[Path], list[int]], out: Path, times: int) -> dict[str, Any]:
    """Let one training alone, and kill others at random moments as often as ``times`` says."""
    started = time.monotonic()
    finish(start(out / "whole"))
    seconds = time.monotonic() - started
    kills: list[dict[str, Any]] = []
    random, number = Random(0), 0
    while len(kills) < times:
        moment, folder = random.uniform(0, seconds), out / f"parts-{number}"
        processes = start(folder)
        time.sleep(moment)
        for process in processes:
            os.kill(process, signal.SIGKILL)
        codes = end(processes)
        assert all(code in (0, -signal.SIGKILL) for code in codes), codes
        if any(codes):
            kills.append({"moment": moment, "folder": number, "saved": saved_steps(folder)})
        else:  # it was done before: another training takes the kills that are left
            number += 1
    finish(start(out / f"parts-{number}"))
    return {"seconds": seconds, "kills": kills, "folders": number + 1}


def saved_steps(folder: Path) -> int:
    """How many steps a killed training goes on from; -1 where its state is gone, as it is done."""
    state = folder / "work" / "state.pt"
    if not state.exists():
        return -1 if (folder / "fastcomposer.json").exists() else 0
    return int(torch.load(state, weights_only=True)["done"])


if __name__ == "__main__":  # nothing happens on import: the doctest collector imports this file
    print(json.dumps(main(json.loads(sys.argv[1]))))
