"""A batch that fails is halved until the photo is alone that does it; what is no photo's fault ends the build."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from fcbench.build.isolate import isolated
from fcbench.build.records import Item, Photo, Reject, Sidecar
from fcbench.build.steps import Step
from fcbench.errors import FcbenchError, MissingError
from fcbench.types import Stack


def photos(count: int) -> list[Item]:
    return [Photo(f"{number:03d}", Path("x.png"), 1, 1, Sidecar()) for number in range(count)]


class Memory:
    """A step with memory for so many photos at once; ``poison`` is too much alone."""

    def __init__(self, room: int, poison: str = "", error: Exception | None = None) -> None:
        self.room, self.poison, self.error = room, poison, error or RuntimeError("CUDA out of memory. Tried ...")
        self.calls: list[int] = []

    def __call__(self, items: Sequence[Item]) -> list[Item]:
        self.calls.append(len(items))
        if len(items) > self.room or any(item.id == self.poison for item in items):
            raise self.error
        return list(items)


@pytest.mark.parametrize("room", [1, 2, 3, 7, 8])
def test_out_of_memory_halves_the_batch_until_it_fits(room: int) -> None:
    memory = Memory(room)
    done = isolated(memory, photos(8), "caption")
    assert [item.id for item in done] == [f"{number:03d}" for number in range(8)]
    fits = max(size for size in memory.calls if size <= room)
    assert {item.flags for item in done if isinstance(item, Photo)} == (
        {()} if room == 8 else {(f"caption_batch_{fits}",)}
    )


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (MemoryError(), "oom"),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory"), "oom"),
        (ValueError("odd"), "model_error"),
    ],
)
def test_a_photo_that_fails_alone_is_rejected_and_no_other(error: Exception, reason: str) -> None:
    done = isolated(Memory(8, "005", error), photos(8), "caption")
    assert [item.id for item in done if isinstance(item, Reject)] == ["005"]
    assert next(item.reason for item in done if isinstance(item, Reject)) == reason


def test_later_batches_keep_their_size() -> None:
    memory = Memory(8)
    step = Step("caption", lambda items, stack: iter(memory(list(items))), batch=8)
    memory.room = 4
    first = list(step(photos(8), Stack("none", {}, 64), lambda *told: None))
    memory.room, memory.calls = 8, []
    assert len(list(step(photos(24), Stack("none", {}, 64), lambda *told: None))) == 24
    assert memory.calls == [8, 8, 8]
    assert len(first) == 8


def test_weights_that_are_missing_are_no_photo_s_fault() -> None:
    with pytest.raises(MissingError):
        isolated(Memory(0, error=MissingError("no weights")), photos(4), "caption")


def test_a_model_that_fails_on_everything_ends_the_build() -> None:
    step = Step("caption", lambda items, stack: iter(Memory(0, error=ValueError("odd"))(list(items))), batch=4)
    with pytest.raises(FcbenchError, match=r"fails on every photo of a batch \(ValueError: odd"):
        list(step(photos(4), Stack("none", {}, 64), lambda *told: None))
