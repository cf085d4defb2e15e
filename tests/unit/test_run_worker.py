"""The worker in this process: what it draws, measures and puts on record."""

from __future__ import annotations

import contextlib
import json
import shutil
import sys
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest

from fcbench import store
from fcbench.errors import UsageError
from fcbench.files import locked, read_json
from fcbench.run import cases, worker
from fcbench.run.draw import Drawing
from fcbench.run.measure import Cost, ResidentMeter
from fcbench.run.record import describe_method
from fcbench.store import RunFolder
from fcbench.types import Capabilities, Stack
from tests.unit.toy_run import Toy


class Scripted:
    """A meter whose phases cost what it is told, one after the other."""

    kind, device, peak_reserved, peak_device = "allocated", "Abacus", 800, 900

    def __init__(self, *costs: tuple[float, int]) -> None:
        self._costs = iter(costs)

    def settle(self) -> None: ...

    @contextlib.contextmanager
    def phase(self) -> Iterator[Cost]:
        cost = Cost()
        yield cost
        cost.seconds, cost.peak_bytes = next(self._costs)


@pytest.fixture
def measured(toy: Toy, monkeypatch: pytest.MonkeyPatch) -> RunFolder:
    """A run of known costs: a picture to warm up, a fit, three pictures alone, a batch; then fits and batches."""
    warm_up, alone = (9.0, 99), [(0.5, 30), (0.25, 50), (2.0, 40)]
    ann, bo, cy = [(2.0, 10), (3.0, 70)], [(1.0, 80), (4.0, 60)], [(7.0, 20), (5.0, 20)]
    meter = Scripted(warm_up, ann[0], *alone, ann[1], *bo, *cy)
    monkeypatch.setattr(worker, "meter_of", lambda stack: meter)
    return toy()


def test_every_case_is_committed_with_its_picture(toy: Toy) -> None:
    folder = toy()
    rows = folder.generations()
    assert [row.case.id for row in rows] == [f"{s}.{p}.0" for s in ("ann", "bo", "cy") for p in ("red-hat", "snow")]
    assert all(row.image.exists() for row in rows)
    assert len({row.image.read_bytes() for row in rows}) == len(rows)
    assert folder.failures() == {}


def test_a_case_costs_its_group_s_fit_and_its_share_of_its_batch(measured: RunFolder) -> None:
    rows = measured.generations()
    seconds = [(row.fit_seconds, row.sample_seconds) for row in rows]
    assert seconds == [(2, 1.5), (2, 1.5), (1, 2), (1, 2), (7, 2.5), (7, 2.5)]
    peaks = [(row.fit_peak_bytes, row.sample_peak_bytes, row.peak_bytes) for row in rows]
    assert peaks == [(10, 70, 70), (10, 70, 70), (80, 60, 80), (80, 60, 80), (20, 20, 20), (20, 20, 20)]


def test_a_picture_alone_costs_the_median_of_three_and_the_highest_peak(measured: RunFolder) -> None:
    record = read_json(measured.config)
    assert (record["warm_up_seconds"], record["single_seconds"]) == (9, 0.5)
    assert (record["single_seconds_range"], record["single_peak_bytes"]) == ([0.25, 2], 50)
    assert (record["peak_reserved"], record["peak_device"]) == (800, 900)


def test_tasks_that_share_a_run_draw_what_one_command_does_and_the_first_measures(toy: Toy) -> None:
    whole = {row.case.id: row.image.read_bytes() for row in toy().generations()}
    shutil.rmtree(toy.path / "out")
    folder = toy.work({}, "Painter", {}, part=(2, 2))
    assert [row.case.id for row in folder.generations()] == ["bo.red-hat.0", "bo.snow.0"]
    assert toy.events[0] == {"event": "start", "cases": 2, "missing": 2}
    assert read_json(folder.config)["single_seconds"] is None
    toy.work({}, "Painter", {}, part=(1, 2))
    assert {row.case.id: row.image.read_bytes() for row in folder.generations()} == whole
    record = read_json(folder.config)
    assert record["single_seconds"] > 0
    assert record["cases"] == 6
    toy.work({}, "Painter", {}, part=(2, 2))
    assert read_json(folder.config) == record
    assert toy.events[-1] == {"event": "end", "missing": 0}


def test_of_tasks_that_begin_at_one_moment_with_other_settings_one_is_refused(
    toy: Toy, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = Drawing

    def after_the_other(*parts: Any, **rest: Any) -> Drawing:
        """The first task looks at the run and loads its models; the second does all of its work meanwhile."""
        monkeypatch.setattr(worker, "Drawing", plain)
        toy.work({}, "Painter", {"shade": "200"}, part=(2, 2))
        return plain(*parts, **rest)

    monkeypatch.setattr(worker, "Drawing", after_the_other)
    with pytest.raises(UsageError, match=r"was made with other settings \(options.shade: 200 there, 3 now\)"):
        toy.work({}, "Painter", {"shade": "3"}, part=(1, 2))
    folder = store.run_folder(toy.path / "out", "toy", "Painter")
    assert read_json(folder.config)["options"]["shade"] == 200
    assert {row.case.subjects[0].id for row in folder.generations()} == {"bo"}


def test_a_group_that_another_command_draws_is_refused(toy: Toy) -> None:
    folder = store.run_folder(toy.path / "out", "toy", "Painter")
    with locked(folder.group_lock("bo"), "held"), pytest.raises(UsageError, match="another command draws bo"):
        toy.work({}, "Painter", {}, part=(1, 1))
    assert [row.case.id for row in folder.generations()] == ["ann.red-hat.0", "ann.snow.0"]


def test_a_task_that_is_not_among_them_is_refused(toy: Toy) -> None:
    with pytest.raises(UsageError, match="--shards 3/2: expected a task from 1 to 2"):
        toy.work({}, "Painter", {}, part=(3, 2))


def test_the_run_says_what_it_was_made_with(toy: Toy) -> None:
    record = json.loads(toy(shade="3").config.read_text())
    assert record["method"] == "run_toys:Painter"
    assert record["label"] == "Painter"
    assert record["variant"] is None
    assert record["options"] == {"shade": 3, "fails_on": "", "fails_with": "ValueError", "wrong": ""}
    assert (record["suite"], record["cases"], record["images_per_subject"]) == ("toy", 6, 1)
    assert record["stack_digests"] == {"unet": "u" * 64, "checkpoint": None}
    assert record["memory_kind"] == "resident"
    assert record["load_seconds"] == 0
    assert record["peak_reserved"] is None


def test_a_checkpoint_from_the_hub_is_recorded_by_its_commit(toy: Toy, monkeypatch: pytest.MonkeyPatch) -> None:
    from fcbench.fastcomposer import hub

    monkeypatch.setattr(hub, "_online", lambda name, revision: "c" * 40)
    stack = Stack("toy", {}, 8, checkpoint="owner/name")
    sys.modules["fcbench.stacks"].load_stack = lambda *_, **__: stack  # type: ignore[attr-defined]
    record = json.loads(toy().config.read_text())
    assert record["stack_digests"]["checkpoint"] == f"owner/name@{'c' * 40}"


def test_a_method_sees_the_photos_it_asks_for_and_the_judge_always_has_the_reference(toy: Toy) -> None:
    blind, one, two = (toy(method) for method in ("Blind", "Painter", "Tuned"))
    pictures = [[row.image.read_bytes() for row in folder.generations()] for folder in (blind, one, two)]
    assert all(len(set(versions)) == 3 for versions in zip(*pictures, strict=True))
    assert blind.generations()[0].case.subjects[0].reference.name == "0.png"


def test_what_every_diffusion_method_draws_with_is_loaded_first(toy: Toy) -> None:
    loads = dict.fromkeys(("unet", "vae", "image_encoder", "clip"), dict)
    stack = Stack("toy", loads, 8)
    sys.modules["fcbench.stacks"].load_stack = lambda *_, **__: stack  # type: ignore[attr-defined]
    record = json.loads(toy().config.read_text())
    assert set(stack._loaded) == {"unet", "vae"}
    assert record["load_seconds"] > 0


def test_a_picture_alone_is_measured_as_the_batches_are_when_what_is_loaded_is_held(
    toy: Toy, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a CPU memory counts beyond what was held when it settled: before that it would be the models' own."""
    happened: list[str] = []
    brush = sys.modules["run_toys"].Brush
    plain, settle = brush.__call__, ResidentMeter.settle

    def draw(sampler: Any, prompts: Any, seeds: Any) -> Any:
        happened.append(f"draw {len(prompts)}")
        return plain(sampler, prompts, seeds)

    def settled(meter: ResidentMeter) -> None:
        happened.append("settle")
        settle(meter)

    monkeypatch.setattr(brush, "__call__", draw)
    monkeypatch.setattr(ResidentMeter, "settle", settled)
    toy()
    assert happened[:6] == ["draw 1", "settle", "draw 1", "draw 1", "draw 1", "draw 2"]
    assert happened[6:] == ["settle", "draw 2", "settle", "draw 2"]
    happened.clear()
    toy("Tuned")
    assert happened[:6] == ["settle", "draw 1", "draw 1", "draw 1", "draw 1", "draw 2"]


def test_the_stack_s_u_net_is_not_held_beside_a_method_s_own(toy: Toy) -> None:
    stack = Stack("toy", dict.fromkeys(("unet", "vae"), dict), 8)
    sys.modules["fcbench.stacks"].load_stack = lambda *_, **__: stack  # type: ignore[attr-defined]
    toy("Equipped")
    assert set(stack._loaded) == {"vae"}


def test_batches_do_not_change_pictures_of_the_suite(toy: Toy, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = {row.case.id: row.image.read_bytes() for row in toy("Painter").generations()}
    monkeypatch.setattr(cases, "BATCH_SIZE", 1)
    single = {row.case.id: row.image.read_bytes() for row in toy("Loner").generations()}
    assert single == whole


def test_what_a_method_sees_is_on_record() -> None:
    method: Any = SimpleNamespace(capabilities=Capabilities(max_subjects=1, sees=("insightface", "boxes")))
    assert json.loads(json.dumps(describe_method(method)))["sees"] == ["insightface", "boxes"]
