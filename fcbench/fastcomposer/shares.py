"""How a batch is shared out: over processes, and by accumulation; and what to change where a share does not fit."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from fcbench.config import Recipe
from fcbench.errors import FcbenchError, UsageError, is_out_of_memory
from fcbench.store import TrainingFolder


def share_of(recipe: Recipe, processes: int) -> int:
    """How many pictures a process takes at once; UsageError when the batch cannot be shared out equally."""
    share, rest = divmod(recipe.batch_size, processes * recipe.accumulation)
    if rest or not share:
        fits = ", or ".join(_what_fits(recipe, processes))
        raise UsageError(
            f"recipe {recipe.name!r}: batch_size {recipe.batch_size} cannot be shared out equally over {processes} "
            f"processes with accumulation {recipe.accumulation}; what can: {fits}"
        )
    return share


def _what_fits(recipe: Recipe, processes: int) -> Iterator[str]:
    """The nearest numbers that share a batch out equally, in words, each with the other two as they are."""
    size, accumulation = recipe.batch_size, recipe.accumulation
    if size % accumulation == 0 and processes > 1:
        yield f"{_nearest(processes, _divisors(size // accumulation))} processes"
    if size % processes == 0:
        yield f"--set accumulation={_nearest(accumulation, _divisors(size // processes))}"
    parts = processes * accumulation
    yield f"--set batch_size={_nearest(size, [size // parts * parts, size // parts * parts + parts])}"


def _divisors(number: int) -> list[int]:
    return [each for each in range(1, number + 1) if number % each == 0]


def _nearest(wanted: int, possible: list[int]) -> str:
    """The next smaller and the next larger one, where they exist."""
    below, above = [each for each in possible if 0 < each < wanted], [each for each in possible if each > wanted]
    return " or ".join(map(str, [*below[-1:], *above[:1]]))


@contextmanager
def enough_memory(recipe: Recipe, processes: int, folder: TrainingFolder) -> Iterator[None]:
    """Raise FcbenchError where memory runs out in the block, saying in a line what to change."""
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        if not is_out_of_memory(error):
            raise
        cures = " or ".join(_smaller(recipe, processes, folder)) or "a device with more memory"
        share = share_of(recipe, processes)
        pictures = "one picture alone does" if share == 1 else f"{share} pictures at once do"
        raise FcbenchError(f"train: out of memory: {pictures} not fit; what helps: {cures}") from error


def _smaller(recipe: Recipe, processes: int, folder: TrainingFolder) -> Iterator[str]:
    """What takes less memory, in words. More parts draw other pictures, which a training that has begun must not."""
    if not recipe.gradient_checkpointing:
        yield "--set gradient_checkpointing=true"
    more = [parts for parts in _divisors(recipe.batch_size // processes) if parts > recipe.accumulation]
    if more:
        yield f"--set accumulation={more[0]}" + (" under another --name" if folder.has_steps else "")
