"""The worker in this process, with toy methods and a stack without roles."""

from __future__ import annotations

import importlib
import itertools
import json
import shutil
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest

from fcbench import store
from fcbench.config import Suite
from fcbench.errors import FcbenchError, MethodError, MissingError, UsageError, WeightsError
from fcbench.files import locked, read_json, write_image, write_json
from fcbench.run import cases, worker
from fcbench.run.draw import Drawing
from fcbench.run.measure import ResidentMeter
from fcbench.run.possible import refuse_any_impossible
from fcbench.run.record import describe_method
from fcbench.run.worker import Job, work
from fcbench.store import RunFolder
from fcbench.types import Capabilities, Stack

PROMPTS = [
    {"id": "snow", "kind": "context", "text": "{} in the snow"},
    {"id": "red-hat", "kind": "accessory", "text": "{} wearing a red hat"},
]


class Toy:
    """A suite of ann, bo and cy under ``path``, two photos and two prompts each, and what the last worker told."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.events: list[dict[str, Any]] = []
        self._nouns = {"ann": "woman", "bo": "man", "cy": "man"}
        for name, k in itertools.product(self._nouns, range(2)):
            self.photograph(name, k, 10 * k + len(name))

    def photograph(self, name: str, k: int, shade: int) -> None:
        write_image(self.path / "photos" / name / f"{k}.png", np.full((4, 4, 3), shade, np.uint8))

    def __call__(self, method: str = "Painter", fail_fast: bool = False, **options: str) -> RunFolder:
        return self.work({}, method, options, fail_fast=fail_fast)

    def suite(self, changes: dict[str, Any]) -> Suite:
        people = {"source": "folder", "path": str(self.path / "photos"), "nouns": self._nouns}
        return Suite.model_validate({"name": "toy", "subjects": people, "prompts": PROMPTS, **changes})

    def work(
        self,
        changes: dict[str, Any],
        method: str,
        options: dict[str, str],
        *,
        fail_fast: bool = False,
        part: tuple[int, int] | None = None,
    ) -> RunFolder:
        suite = self.suite(changes)
        job = Job(
            suite=suite.model_dump(mode="json"),
            suite_file=suite.asked_as,
            method=f"run_toys:{method}",
            options=options,
            label=method,
            stack="toy",
            out=str(self.path / "out"),
            device="cpu",
            random_weights=False,
            low_memory=False,
            checkpoint=None,
            fail_fast=fail_fast,
            part=part,
        )
        self.events = []
        work(job, self.events.append)
        return store.run_folder(self.path / "out", "toy", method)


@pytest.fixture
def toy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Toy:
    monkeypatch.syspath_prepend(Path(__file__).parent.parent / "toys")
    monkeypatch.setitem(sys.modules, "fcbench.stacks", ModuleType("fcbench.stacks"))
    monkeypatch.setitem(sys.modules, "run_toys", importlib.import_module("run_toys"))
    sys.modules["run_toys"].install_stack()
    monkeypatch.setenv("TOY_FITS", str(tmp_path / "fits.txt"))
    return Toy(tmp_path)


def test_every_case_is_committed_with_its_picture_and_its_costs(toy: Toy) -> None:
    folder = toy()
    rows = folder.generations()
    assert [row.case.id for row in rows] == [f"{s}.{p}.0" for s in ("ann", "bo", "cy") for p in ("red-hat", "snow")]
    assert all(row.image.exists() for row in rows)
    assert all(row.fit_seconds > 0 and row.sample_seconds > 0 and row.peak_bytes >= 0 for row in rows)
    assert len({row.image.read_bytes() for row in rows}) == len(rows)
    assert folder.failures() == {}


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
    assert record["warm_up_seconds"] > 0
    low, high = record["single_seconds_range"]
    assert 0 < low <= record["single_seconds"] <= high
    assert record["single_peak_bytes"] >= 0
    assert record["peak_device"] > 0
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


def test_a_finished_run_is_left_alone(toy: Toy) -> None:
    folder = toy()
    before = {path: path.stat().st_mtime_ns for path in folder.path.rglob("*") if path.is_file()}
    toy()
    assert toy.events == [{"event": "start", "cases": 6, "missing": 0}, {"event": "end", "missing": 0}]
    assert {path: path.stat().st_mtime_ns for path in folder.path.rglob("*") if path.is_file()} == before


def test_a_picture_that_was_lost_is_drawn_again(toy: Toy) -> None:
    folder = toy()
    before = {path.name: path.read_bytes() for path in (folder.path / "images").iterdir()}
    lost = folder.generations()[0].image
    lost.unlink()
    toy()
    assert {path.name: path.read_bytes() for path in (folder.path / "images").iterdir()} == before


def test_a_run_of_before_code_was_on_record_is_gone_on_with(toy: Toy, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = toy()
    write_json(folder.config, {**read_json(folder.config), "code": None})
    told = {"plugin": "run_toys:Painter", "package": "theirs 1.0", "digest": "w" * 64}
    monkeypatch.setattr("fcbench.run.record.code_of", lambda *_: told)
    toy()
    folder.row("ann.snow.0").unlink()
    toy()
    assert read_json(folder.config)["code"] == told


def test_a_lost_picture_that_cannot_be_drawn_again_is_a_failure(toy: Toy, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = toy()
    lost = folder.generations()[0]
    lost.image.unlink()
    (folder.path / "work").rename(folder.path / "gone") if (folder.path / "work").exists() else None
    with monkeypatch.context() as patched:
        patched.setattr(sys.modules["run_toys"].Painter, "fit", lambda *_, **__: 1 / 0)
        toy()
    assert lost.case.id in folder.failures()
    assert lost.case.id not in {made.case.id for made in folder.generations()}  # a report can be made of the rest
    toy()
    assert folder.failures() == {}


def test_an_unfinished_batch_is_redone_whole(toy: Toy) -> None:
    folder = toy()
    pictures = {row.case.id: row.image.read_bytes() for row in folder.generations()}
    folder.row("ann.snow.0").unlink()
    folder.image("ann.red-hat.0").write_bytes(b"spoilt")
    untouched = folder.row("bo.snow.0").stat().st_mtime_ns
    toy()
    assert {"event": "batch", "drawn": 2, "news": 1} in toy.events
    assert {row.case.id: row.image.read_bytes() for row in folder.generations()} == pictures
    assert folder.row("bo.snow.0").stat().st_mtime_ns == untouched


def test_batches_do_not_change_pictures_of_the_suite(toy: Toy, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = {row.case.id: row.image.read_bytes() for row in toy("Painter").generations()}
    monkeypatch.setattr(cases, "BATCH_SIZE", 1)
    single = {row.case.id: row.image.read_bytes() for row in toy("Loner").generations()}
    assert single == whole


def test_a_failing_subject_leaves_the_others_alone(toy: Toy) -> None:
    folder = toy(fails_on="bo")
    assert [row.case.subjects[0].id for row in folder.generations()] == ["ann", "ann", "cy", "cy"]
    assert folder.failures() == dict.fromkeys(["bo.snow.0", "bo.red-hat.0"], "ValueError: a toy's failure")
    assert {"event": "failed", "cases": 2, "message": "bo: ValueError: a toy's failure"} in toy.events
    assert toy.events[-1] == {"event": "end", "missing": 2}


def test_the_first_subject_may_fail_before_the_method_is_warm(toy: Toy) -> None:
    folder = toy(fails_on="ann")
    assert len(folder.generations()) == 4
    assert read_json(folder.config)["warm_up_seconds"] > 0


def test_memory_that_runs_out_is_a_failure_of_its_own_name(toy: Toy) -> None:
    assert set(toy(fails_on="bo", fails_with="MemoryError").failures().values()) == {"out of memory"}


def test_a_method_that_ends_the_program_fails_its_own_cases_alone(toy: Toy) -> None:
    folder = toy(fails_on="bo", fails_with="SystemExit")
    assert (len(folder.generations()), set(folder.failures().values())) == (4, {"SystemExit: 2"})


def test_fail_fast_stops_at_the_first_failure(toy: Toy) -> None:
    with pytest.raises(MethodError, match="bo: ValueError: a toy's failure"):
        toy(fails_on="bo", fail_fast=True)


@pytest.mark.parametrize(
    ("kind", "error", "message"),
    [
        ("MissingError", MissingError, "no weights"),
        ("WeightsError", WeightsError, "x.bin: 1 missing"),
        ("disk-full", FcbenchError, "no space left on the disk of"),
        ("torch-disk-full", FcbenchError, "no space left on the disk of"),
    ],
)
def test_what_stops_every_subject_alike_stops_the_run(
    toy: Toy, kind: str, error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message) as caught:
        toy(fails_on="bo", fails_with=kind)
    assert not isinstance(caught.value, MethodError)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ("too-few", "0 pictures for 2 cases"),
        ("float", "gave float32 (8, 8, 3) for an RGB picture, uint8 (8, 8, 3)"),
        ("large", "gave uint8 (10, 10, 3)"),
        ("none", "gave NoneType for a list of 2 pictures"),
    ],
)
def test_pictures_that_are_none_are_a_failure(toy: Toy, wrong: str, message: str) -> None:
    folder = toy(wrong=wrong)
    failures = folder.failures()
    assert len(failures) == 6
    assert "in _check" in read_json(folder.failure("ann.snow.0"))["trace"]
    assert all(message in reason for reason in failures.values())


def test_too_many_subjects_are_refused_before_anything_is_drawn(toy: Toy, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="draws at most 1 in a picture; suite toy wants 2"):
        toy.work({"group": 2, "pairs": 2}, "Loner", {})
    assert not (tmp_path / "out" / "runs").exists()


def test_too_few_photos_are_refused_before_anything_is_drawn(toy: Toy, tmp_path: Path) -> None:
    (tmp_path / "photos" / "cy" / "1.png").unlink()
    with pytest.raises(UsageError, match="wants 2 photos of each subject; suite toy has 1 of cy"):
        toy("Tuned")
    assert not (tmp_path / "out" / "runs").exists()


def test_of_several_runs_all_are_looked_at_before_the_first(toy: Toy, tmp_path: Path) -> None:
    methods, out = ["run_toys:Painter", "run_toys:Tuned"], tmp_path / "out"
    suites = [toy.suite({}), toy.suite({"name": "toy-pair", "group": 2, "pairs": 2})]
    refuse_any_impossible(suites, methods, [{}], out)
    with pytest.raises(UsageError, match="Loner draws at most 1 in a picture; suite toy-pair wants 2"):
        refuse_any_impossible(suites, [*methods, "run_toys:Loner"], [{}], out)
    with pytest.raises(UsageError, match="Painter has no option 'shades'"):
        refuse_any_impossible(suites, methods[:1], [{}, {"shades": "3"}], out)


@pytest.mark.parametrize("change", ["option", "suite", "photo", "weights", "code"])
def test_a_run_is_not_continued_with_other_settings(toy: Toy, change: str, monkeypatch: pytest.MonkeyPatch) -> None:
    toy()
    suite: dict[str, Any] = {}
    options: dict[str, str] = {}
    named = "suite toy, or a photo of its people, has changed since .*suites are never edited"
    match change:
        case "option":
            options, named = {"shade": "7"}, "options.shade: 0 there, 7 now.*--variant, or delete the folder"
        case "suite":
            suite = {"seeds": [1]}
        case "photo":
            toy.photograph("bo", 1, 99)
        case "code":
            monkeypatch.setattr(
                "fcbench.run.record.code_of", lambda *_: {"plugin": "run_toys:Painter", "digest": "w" * 64}
            )
            named = r"code.digest: \w{12}\.\.\. there, wwwwwwwwwwww\.\.\. now.*--variant, or delete"
        case _:
            named = r"stack_digests.unet: uuuuuuuuuuuu\.\.\. there, vvvvvvvvvvvv\.\.\. now.*--variant, or delete"
            monkeypatch.setenv("TOY_DIGEST", "v" * 64)
    with pytest.raises(UsageError, match=named):
        toy.work(suite, "Painter", options)


def test_another_judge_s_weights_do_not_end_a_run(toy: Toy, monkeypatch: pytest.MonkeyPatch) -> None:
    def other(unet: str) -> None:
        digests = {"unet": unet, "clip": "j" * 64}
        monkeypatch.setattr(
            sys.modules["fcbench.stacks"], "load_stack", lambda name, **_: Stack(name, {}, 8, digests=digests)
        )

    folder = toy()
    other("u" * 64)
    assert toy().generations() == folder.generations()
    other("v" * 64)
    with pytest.raises(UsageError, match=r"settings \(stack_digests\.unet: [^;]*\): give"):
        toy()


def test_another_device_is_refused_only_while_something_is_missing(toy: Toy) -> None:
    folder = toy()
    record = read_json(folder.config)
    write_json(folder.config, {**record, "device": "Abacus"})
    toy()
    folder.row("ann.snow.0").unlink()
    with pytest.raises(UsageError, match="device: Abacus there"):
        toy()


def test_a_continued_run_keeps_what_the_first_fit_cost(toy: Toy, tmp_path: Path) -> None:
    folder = toy("Tuned")
    before = folder.generations()
    assert all(row.stored_bytes == 10 for row in before)
    folder.row("ann.snow.0").unlink()
    toy("Tuned")
    assert [row.fit_seconds for row in folder.generations()] == [row.fit_seconds for row in before]
    fits = (tmp_path / "fits.txt").read_text().split("\n")
    assert fits == ["ann fresh", "bo fresh", "cy fresh", "ann fresh", ""]  # its work went when its cases were drawn


def test_a_fit_that_was_cut_short_starts_from_nothing(toy: Toy, tmp_path: Path) -> None:
    folder = toy("Tuned")
    folder.row("ann.snow.0").unlink()
    folder.fit("ann").unlink()
    toy("Tuned")
    assert (tmp_path / "fits.txt").read_text().split("\n")[-2] == "ann fresh"


def test_what_a_method_sees_is_on_record() -> None:
    method: Any = SimpleNamespace(capabilities=Capabilities(max_subjects=1, sees=("insightface", "boxes")))
    assert json.loads(json.dumps(describe_method(method)))["sees"] == ["insightface", "boxes"]
