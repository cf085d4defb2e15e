"""The processes of one training: one, several on a machine, or several machines, as torchrun or accelerate began them.

::

    fcbench train                                                          one process
    torchrun --nproc-per-node 8 -m fcbench train                           eight GPUs
    accelerate launch --multi_gpu --num_processes 8 -m fcbench train       the same
    torchrun --nnodes 2 --node-rank 0 --nproc-per-node 8 --master-addr ... --master-port ... -m fcbench train

With ``--device cpu`` the same commands train on processors. Several machines share the output folder. Whatever began
the processes has set RANK, LOCAL_RANK and WORLD_SIZE, or MPI's names for them. ``accelerate launch --cpu`` sets none of
these without an MPI host file and begins one process, however many it was asked for: that is refused.
"""

from __future__ import annotations

import hashlib
import math
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta

import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from accelerate.utils import DistributedDataParallelKwargs, DistributedType, InitProcessGroupKwargs, gather_object
from torch import nn

from fcbench.config import Recipe
from fcbench.errors import FcbenchError, UsageError
from fcbench.fastcomposer.precision import allow_tf32, mixed_precision
from fcbench.fastcomposer.shares import share_of
from fcbench.loop import Clock
from fcbench.types import Stack

_COUNTS = ("WORLD_SIZE", "OMPI_COMM_WORLD_SIZE", "PMI_SIZE", "MV2_COMM_WORLD_SIZE")
"""Where torchrun and the kinds of MPI say how many processes there are."""

PATIENCE = timedelta(hours=2)
"""How long a process waits for the others: they encode latents, and the first also writes photos and draws samples."""

_ALIKE = (DistributedType.NO, DistributedType.MULTI_GPU, DistributedType.MULTI_CPU)
"""Ways to train in which each process holds all weights: what one of them saves is whole."""


@contextmanager
def joined_processes(recipe: Recipe, stack: Stack) -> Iterator[Accelerator]:
    """Join the other processes of this training, if there are any; wait for them at the end.

    Raises UsageError when a batch cannot be shared out equally, FcbenchError when not all processes are there.
    """
    refuse_forgotten_processes()
    several = any(os.environ.get(name, "1") != "1" for name in _COUNTS)
    if not several:  # accelerate keeps an earlier training's precision and device for the whole program
        AcceleratorState._reset_state(reset_partial_state=True)
    allow_tf32(stack.device, allowed=recipe.tf32)
    if torch.device(stack.device).index is not None:
        torch.cuda.set_device(stack.device)
    accelerator = Accelerator(
        cpu=stack.device == "cpu",
        mixed_precision=mixed_precision(recipe, stack.device),
        kwargs_handlers=[
            # every step gives every trained parameter a gradient, see FastComposerModel: no search for unused ones
            DistributedDataParallelKwargs(gradient_as_bucket_view=True),
            InitProcessGroupKwargs(timeout=PATIENCE),
        ],
    )
    check_processes(accelerator)
    share = share_of(recipe, accelerator.num_processes)
    if accelerator.is_main_process:
        print(f"train: {_in_words(accelerator)}, {share} x {recipe.accumulation} pictures a step each", file=sys.stderr)
    yield accelerator
    accelerator.wait_for_everyone()
    if several:
        accelerator.end_training()


def check_processes(accelerator: Accelerator) -> None:
    """Raise FcbenchError unless as many processes answer as WORLD_SIZE says: else each would train by itself."""
    expected = int(os.environ.get("WORLD_SIZE", "1"))
    present = accelerator.reduce(torch.ones(1, device=accelerator.device)).item()
    if not accelerator.num_processes == expected == present:
        raise FcbenchError(
            f"{expected} processes were begun, but {accelerator.num_processes} train together and {present:.0f} answer"
        )
    if accelerator.distributed_type not in _ALIKE:
        raise UsageError(
            f"accelerate is configured for {accelerator.distributed_type.value}, which shares the weights out; begin "
            "the processes with torchrun, or with accelerate launch --multi_gpu"
        )


def refuse_forgotten_processes() -> None:
    """Raise UsageError where ``accelerate launch`` was asked for several processes and began this one alone.

    It then sets an address to meet at, as for several, but no number of processes (accelerate 1.x, simple launcher).
    """
    by_accelerate = "ACCELERATE_MIXED_PRECISION" in os.environ and "MASTER_ADDR" in os.environ
    if by_accelerate and not any(name in os.environ for name in _COUNTS):
        raise UsageError(
            "accelerate launch was asked for several processes and began one; on processors begin them with: "
            "torchrun --nproc-per-node N -m fcbench train --device cpu"
        )


def check_begun(step: int) -> None:
    """Raise FcbenchError unless all processes go on from one step: later nothing would show that they did not."""
    steps = sorted(set(gather_object([step])))
    if len(steps) > 1:
        told = ", ".join(map(str, steps))
        raise FcbenchError(f"train: the processes go on from steps {told}: all need one output folder")


def check_replicas(accelerator: Accelerator, model: nn.Module) -> None:
    """Raise FcbenchError unless all processes hold the same weights, to the bit: what one saves stands for all."""
    if accelerator.num_processes == 1:
        return
    digests = gather_object([digest_weights(model)])
    if len(digests) != accelerator.num_processes or len(set(digests)) > 1:
        raise FcbenchError(
            f"train: {len(digests)} processes hold {len(set(digests))} different sets of weights, of which none is "
            "saved; go on under another --name from a checkpoint that was kept before (a recipe's key start), or anew"
        )


def digest_weights(model: nn.Module) -> str:
    """Sha256 of a model's state, in its order."""
    digest = hashlib.sha256()
    for name, tensor in model.state_dict().items():
        digest.update(name.encode())
        digest.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def _in_words(accelerator: Accelerator) -> str:
    count, nodes = accelerator.num_processes, os.environ.get("GROUP_WORLD_SIZE", "1")
    where = f" on {nodes} machines" if nodes != "1" else ""
    return f"{count} process{'es' if count > 1 else ''}{where}, {accelerator.device.type}"


def process_device(device: str) -> str:
    """The device of this process: ``auto`` and ``cuda`` are the GPU of its LOCAL_RANK where several were begun."""
    if device not in ("auto", "cuda") or "LOCAL_RANK" not in os.environ or not torch.cuda.is_available():
        return device
    return f"cuda:{os.environ['LOCAL_RANK']}"


def is_first() -> bool:
    """Whether this is the one process, or the first of several: the one that speaks."""
    return os.environ.get("RANK", "0") == "0"


def shared_clock(clock: Clock, accelerator: Accelerator) -> Clock:
    """A clock that all processes read alike."""
    return clock if accelerator.num_processes == 1 else SharedClock(clock, accelerator)


class SharedClock(Clock):
    """The first process's clock for all, so that none goes on without the others."""

    def __init__(self, clock: Clock, accelerator: Accelerator) -> None:
        super().__init__(math.inf)
        self._clock, self._accelerator = clock, accelerator

    @property
    def spent(self) -> bool:
        """Whether the first process has no time left; all processes ask together."""
        mine = self._accelerator.is_main_process and self._clock.spent
        told = self._accelerator.reduce(torch.tensor([float(mine)], device=self._accelerator.device))
        return bool(told.item())
