"""The fine-tuning loop on a task of one number: where it steps, how it decays, and that a killed fit goes on."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from baselines.tuning import loop
from baselines.tuning.batches import draws
from baselines.tuning.loop import Batch, Course, Tuner, tune
from fcbench.errors import DataError, DivergedError


class Line:
    """Learns the mean of the latents."""

    def __init__(self) -> None:
        self.value = torch.nn.Parameter(torch.zeros(3))

    @property
    def trained(self) -> Mapping[str, torch.nn.Parameter]:
        return {"value": self.value}

    def loss(self, batch: Batch) -> torch.Tensor:
        return ((batch.latents - self.value) ** 2).mean()


def draw(micro: int) -> Batch:
    latents = torch.randn(2, 3, generator=draws("line", micro))
    return Batch(latents, latents, torch.zeros(2).long(), torch.zeros(2, 1).long())


def noting(seen: list[int]) -> Callable[[int], Batch]:
    def noted(micro: int) -> Batch:
        seen.append(micro)
        return draw(micro)

    return noted


def course(steps: int = 10, passes: int = 100, **more: float) -> Course:
    return Course(**{"steps": steps, "learning_rate": 0.1, "passes": passes, **more})  # type: ignore[arg-type]


def steps_at(passes: int, accumulation: int, micros: int) -> list[int]:
    tuner, at = Tuner(Line(), course(passes=passes, accumulation=accumulation)), []
    for micro in range(micros):
        before = tuner.step
        tuner.advance(draw(micro))
        at += [micro] if tuner.step > before else []
    return at


def test_the_optimiser_steps_when_enough_is_gathered_and_at_the_end_of_a_pass() -> None:
    assert steps_at(passes=100, accumulation=1, micros=4) == [0, 1, 2, 3]
    assert steps_at(passes=3, accumulation=2, micros=7) == [1, 2, 4, 5]
    assert steps_at(passes=4, accumulation=3, micros=8) == [2, 3, 6, 7]


def test_a_linear_rate_goes_down_to_nothing() -> None:
    tuner = Tuner(Line(), Course(steps=4, learning_rate=1.0, passes=9, schedule="linear"))
    rates = []
    for micro in range(4):
        tuner.advance(draw(micro))
        rates.append(tuner.optimiser.param_groups[0]["lr"])
    assert rates == [1.0, 0.75, 0.5, 0.25]


def test_states_are_written_the_less_often_the_longer_that_takes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A step takes a second of this clock, writing a state 40 or 1."""
    for writing, most in ((40, 3), (1, 70)):
        now: list[float] = [0.0]
        written: list[Path] = []

        def tick(micro: int, now: list[float] = now) -> Batch:
            now[0] += 1
            return draw(micro)

        def write(
            file: Path, _: object, now: list[float] = now, written: list[Path] = written, writing: int = writing
        ) -> None:
            now[0] += writing
            written.append(file)

        monkeypatch.setattr(loop, "replace", write)
        monkeypatch.setattr("time.monotonic", lambda now=now: now[0])
        tune(Tuner(Line(), course(steps=2000, passes=10_000)), tick, tmp_path / "state.pt", "slow")
        assert 0 < len(written) <= most


@pytest.mark.parametrize(("accumulation", "stops_at", "goes_on_at"), [(1, 7, 7), (3, 10, 8)])
def test_a_fit_that_was_stopped_goes_on_to_the_same_weights(
    accumulation: int, stops_at: int, goes_on_at: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of gradients that were gathered, but not stepped by, nothing is kept."""
    monkeypatch.setattr(loop, "SAVE_SECONDS", -1)
    monkeypatch.setattr(loop, "SAVE_SHARE", 0)
    monkeypatch.setattr(loop, "LOOK_EVERY", 1)
    plan = course(steps=9, passes=4, accumulation=accumulation)

    def stops(micro: int) -> Batch:
        if micro == stops_at:
            raise KeyboardInterrupt
        return draw(micro)

    whole, parts = Line(), Line()
    tune(Tuner(whole, plan), draw, tmp_path / "whole.pt", "whole")
    with pytest.raises(KeyboardInterrupt):
        tune(Tuner(Line(), plan), stops, tmp_path / "parts.pt", "parts")
    seen: list[int] = []
    tune(Tuner(parts, plan), noting(seen), tmp_path / "parts.pt", "parts")
    assert torch.equal(whole.value, parts.value)
    assert seen[0] == goes_on_at


class Steep(Line):
    """A line whose gradient is too large for a scaled one at the sixth micro-step, and its loss is not."""

    def loss(self, batch: Batch) -> torch.Tensor:
        return super().loss(batch) + (batch.noise * self.value).mean()


def steep(micro: int) -> Batch:
    batch = draw(micro)
    return replace(batch, noise=torch.full_like(batch.noise, 1e35 if micro == 5 else 0.0))


def half(**more: Any) -> Course:
    return Course(**{"steps": 9, "learning_rate": 0.1, "passes": 100, "autocast": torch.float16, **more})


@pytest.mark.parametrize("clip", [0.0, 1.0])
def test_in_half_precision_a_step_that_overflows_counts_and_changes_nothing(clip: float) -> None:
    task = Steep()
    tuner = Tuner(task, half(clip=clip))
    for micro in range(5):
        tuner.advance(steep(micro))
    before, scale = task.value.detach().clone(), tuner.scaler.get_scale()
    tuner.advance(steep(5))
    assert torch.equal(task.value, before)
    assert (tuner.step, tuner.scaler.get_scale()) == (6, scale / 2)
    tuner.advance(steep(6))
    assert not torch.equal(task.value, before)


def test_gradients_are_unscaled_before_they_are_clipped() -> None:
    norms = [Tuner(Line(), plan).advance(draw(0))[1] for plan in (half(), course(clip=1.0))]
    assert norms[0] is not None
    torch.testing.assert_close(norms[0], norms[1])


def test_a_fit_in_half_precision_goes_on_with_its_scale(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loop, "SAVE_SECONDS", -1)
    monkeypatch.setattr(loop, "SAVE_SHARE", 0)
    monkeypatch.setattr(loop, "LOOK_EVERY", 1)

    def stops(micro: int) -> Batch:
        if micro == 7:
            raise KeyboardInterrupt
        return steep(micro)

    whole, parts = Tuner(Steep(), half()), Tuner(Steep(), half())
    tune(whole, steep, tmp_path / "whole.pt", "whole")
    with pytest.raises(KeyboardInterrupt):
        tune(Tuner(Steep(), half()), stops, tmp_path / "parts.pt", "parts")
    tune(parts, steep, tmp_path / "parts.pt", "parts")
    assert parts.scaler.state_dict() == whole.scaler.state_dict()
    assert parts.scaler.get_scale() == 32768
    assert torch.equal(parts.task.trained["value"], whole.task.trained["value"])


KILLED = """
import os, signal, sys
from pathlib import Path
sys.path[:] = sys.argv[2:]
from tests.unit.baselines.test_loop import Line, Tuner, course, draw, loop, tune
loop.SAVE_SECONDS, loop.SAVE_SHARE, loop.LOOK_EVERY = -1, 0, 1
def dies(micro):
    if micro == 6:
        os.kill(os.getpid(), signal.SIGKILL)
    return draw(micro)
tune(Tuner(Line(), course()), dies, Path(sys.argv[1]), "killed")
"""


def test_a_fit_that_was_killed_goes_on_to_the_same_weights(tmp_path: Path) -> None:
    root = str(Path(__file__).parents[3])
    done = subprocess.run(
        [sys.executable, "-c", KILLED, str(tmp_path / "state.pt"), root, *sys.path],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == -signal.SIGKILL
    seen: list[int] = []
    killed, whole = Line(), Line()
    tune(Tuner(killed, course()), noting(seen), tmp_path / "state.pt", "killed")
    tune(Tuner(whole, course()), draw, tmp_path / "whole.pt", "whole")
    assert seen == [6, 7, 8, 9]
    assert torch.equal(killed.value, whole.value)


def test_a_loss_that_is_not_finite_ends_a_fit(tmp_path: Path) -> None:
    def broken(micro: int) -> Batch:
        batch = draw(micro)
        return batch if micro < 20 else Batch(batch.latents * float("nan"), batch.noise, batch.timesteps, batch.ids)

    with pytest.raises(DivergedError, match="line: the loss was nan by step 40 of 50"):
        tune(Tuner(Line(), course(steps=50)), broken, tmp_path / "state.pt", "line")


def test_a_foreign_state_is_named(tmp_path: Path) -> None:
    file = tmp_path / "state.pt"
    file.write_bytes(b"nothing")
    with pytest.raises(DataError, match=r"state\.pt: not a state of this fit .*; move it away to begin the fit anew"):
        tune(Tuner(Line(), course()), draw, file, "line")
    torch.save({"trained": {"other": torch.zeros(1)}, "optimiser": {}, "step": 1, "micro": 1}, file)
    with pytest.raises(DataError, match="it holds other tensors"):
        tune(Tuner(Line(), course()), draw, file, "line")
