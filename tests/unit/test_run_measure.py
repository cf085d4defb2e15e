from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from fcbench.run.calls import Calls
from fcbench.run.measure import LoadClock, ResidentMeter, meter_of, stored_bytes, versions
from fcbench.store import RunFolder
from fcbench.types import Stack

MIB = 2**20
STACK = Stack("toy", {}, 8)


def peak_of(meter: ResidentMeter, mebibytes: int) -> int:
    with meter.phase() as cost:
        block = np.ones(mebibytes * MIB, np.uint8)
        del block
    assert cost.seconds > 0
    return cost.peak_bytes


def test_the_peak_is_seen_though_it_is_gone_when_the_phase_ends() -> None:
    meter = ResidentMeter(STACK)
    meter.settle()
    big = peak_of(meter, 200)
    meter.settle()  # what other tests left of the heap may hold the block, and keep it
    small = peak_of(meter, 40)
    assert 180 * MIB < big < 260 * MIB
    assert 20 * MIB < small < 100 * MIB
    assert meter.peak_device > big


def test_a_mark_that_was_not_reset_is_not_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    meter = ResidentMeter(STACK)
    meter.settle()
    monkeypatch.setattr("fcbench.run.measure._high_water", lambda: 2**50)
    assert peak_of(meter, 40) < 100 * MIB


def test_what_is_held_when_the_meter_settles_is_not_counted() -> None:
    meter = ResidentMeter(STACK)
    held = np.ones(200 * MIB, np.uint8)
    meter.settle()
    assert peak_of(meter, 40) < 120 * MIB
    assert held[-1] == 1


def test_where_the_kernel_keeps_no_mark_memory_is_read_again_and_again(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any, **__: Any) -> int:
        raise PermissionError

    monkeypatch.setattr(Path, "write_text", refuse)
    meter = ResidentMeter(STACK)
    meter.settle()
    with meter.phase() as cost:
        block = np.ones(200 * MIB, np.uint8)
    assert block[0] == 1
    assert cost.peak_bytes > 180 * MIB


def test_a_phase_that_fails_is_still_measured() -> None:
    with pytest.raises(ZeroDivisionError), ResidentMeter(STACK).phase() as cost:
        1 / 0  # noqa: B018
    assert cost.seconds > 0


def test_loading_is_timed_once_though_one_role_loads_another() -> None:
    moments = iter([0.0, 1.0, 3.0, 10.0])
    stack = Stack("toy", {}, 8)
    stack.load = {"unet": lambda: stack.role("vae"), "vae": lambda: "vae"}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("fcbench.run.measure.perf_counter", lambda: next(moments))
        clock = LoadClock(stack)
        assert stack.role("unet") == "vae"
        stack.role("vae")
    assert clock.seconds == 10.0


def test_loading_is_no_part_of_what_a_call_costs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    moments = iter([0.0, 1.0, 4.0, 10.0])
    monkeypatch.setattr("fcbench.run.measure.perf_counter", lambda: next(moments))
    stack = Stack("toy", {"unet": dict}, 8)
    clock = LoadClock(stack)
    with Calls(RunFolder(tmp_path), ResidentMeter(STACK), clock).phase() as cost:
        stack.role("unet")
    assert (cost.seconds, clock.seconds) == (7.0, 3.0)


def test_each_phase_on_a_gpu_has_a_peak_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    used: list[int] = []
    gpu = SimpleNamespace(
        get_device_name=str,
        synchronize=lambda device: None,
        reset_peak_memory_stats=lambda device: used.clear(),
        max_memory_allocated=lambda device: max(used),
        max_memory_reserved=lambda device: 2 * max(used),
        mem_get_info=lambda device: (90 - max(used), 100),
    )
    monkeypatch.setattr("torch.cuda", gpu)
    meter, peaks = meter_of(Stack("toy", {}, 8, device="cuda:1")), []
    for most in (3, 40, 5):
        with meter.phase() as cost:
            used.append(most)
        peaks.append(cost.peak_bytes)
    assert peaks == [3, 40, 5]
    assert (meter.peak_reserved, meter.peak_device) == (80, 50)


def test_what_a_sampler_keeps_is_weighed_and_not_left(tmp_path: Path) -> None:
    class Keeper:
        def __call__(self, prompts: Any, seeds: Any) -> Any: ...

        def save(self, folder: Path) -> None:
            (folder / "deep").mkdir()
            (folder / "a").write_bytes(b"123")
            (folder / "deep" / "b").write_bytes(b"4567")

    assert stored_bytes(Keeper(), tmp_path / "saved") == 7
    assert not (tmp_path / "saved").exists()


def test_the_meter_says_what_it_measures_and_where() -> None:
    meter = meter_of(STACK)
    assert meter.kind == "resident"
    assert meter.device.endswith(" threads")
    assert versions().keys() == {"fcbench", "torch", "diffusers", "transformers", "numpy", "python"}
