"""The loop of a training: when its state is written, and what is said of one that cannot be read."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from fcbench import loop
from fcbench.errors import DataError, FcbenchError
from fcbench.loop import REST, Clock, run_steps


class Part:
    """Keeps a number; raises what it is told when it is loaded."""

    def __init__(self, error: Exception | None = None) -> None:
        self.error = error

    def state_dict(self) -> dict[str, Any]:
        return {"value": torch.zeros(1)}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        if self.error is not None:
            raise self.error


class Time:
    """A clock that goes on by a step's and a saving's seconds alone."""

    def __init__(self) -> None:
        self.now, self.saved = 0.0, list[int]()

    def monotonic(self) -> float:
        return self.now

    def step(self, k: int) -> dict[str, float]:
        self.now += 1
        return {}

    def save(self, file: Path, done: int, state: Any) -> None:
        self.now += 10
        self.saved.append(done)


def test_a_state_is_kept_with_each_checkpoint_and_else_for_a_twentieth_of_the_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    time = Time()
    monkeypatch.setattr(loop, "time", time)
    monkeypatch.setattr(loop, "_save", time.save)
    run_steps("x", 500, time.step, {}, tmp_path / "state.pt", Clock(1e6), save_every=90)
    assert time.saved == [61, 90, 180, 270, 360, 450, 500]
    time.saved = []
    run_steps("x", 500, time.step, {}, tmp_path / "state.pt", Clock(1e6))
    assert time.saved == [61, 61 + 10 * REST + 1, 61 + 2 * (10 * REST + 1), 500]


def test_where_a_training_goes_on_is_told(tmp_path: Path) -> None:
    file, begun = tmp_path / "state.pt", list[int]()
    for steps in (2, 3):
        run_steps("x", steps, lambda k: {}, {"part": Part()}, file, Clock(1), agree=begun.append)
    assert begun == [0, 2]


@pytest.mark.parametrize(
    ("error", "kind", "words"),
    [
        (MemoryError(), FcbenchError, "no memory to load it into; make some and run the same command again"),
        (torch.OutOfMemoryError("CUDA out of memory"), FcbenchError, "no memory to load it into"),
        (OSError(5, "Input/output error"), DataError, "cannot be read .*; run the same command again when it can"),
        (RuntimeError("Missing key"), DataError, "not a state of this stage .*; move it away to begin the stage anew"),
    ],
)
def test_a_state_that_cannot_be_loaded_is_not_always_the_file_s_fault(
    error: Exception, kind: type[Exception], words: str, tmp_path: Path
) -> None:
    file = tmp_path / "state.pt"
    run_steps("x", 1, lambda k: {}, {"part": Part()}, file, Clock(1))
    with pytest.raises(kind, match=rf"state\.pt: {words}"):
        run_steps("x", 2, lambda k: {}, {"part": Part(error)}, file, Clock(1))
    assert file.exists()
