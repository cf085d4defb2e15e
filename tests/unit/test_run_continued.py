"""A run that is begun anew: what is kept, what is drawn again, and what ends it."""

from __future__ import annotations

import sys
from dataclasses import make_dataclass
from pathlib import Path
from typing import Any

import pytest

from fcbench.errors import UsageError
from fcbench.files import read_json, write_json
from fcbench.types import Stack
from tests.unit.toy_run import Toy


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


@pytest.mark.parametrize("change", ["option", "recipe", "suite", "photo", "weights", "code"])
def test_a_run_is_not_continued_with_other_settings(toy: Toy, change: str, monkeypatch: pytest.MonkeyPatch) -> None:
    toy()
    suite: dict[str, Any] = {}
    options: dict[str, str] = {}
    named = "suite toy, or a photo of its people, has changed since .*suites are never edited"
    match change:
        case "option":
            options, named = {"shade": "7"}, "options.shade: 0 there, 7 now.*--variant, or delete the folder"
        case "recipe":
            painter, steps = sys.modules["run_toys"].Painter, make_dataclass("Steps", ["steps"])
            monkeypatch.setattr(painter, "recipe", lambda method, stack: steps(9), raising=False)
            named = "recipe: None there, {'steps': 9} now.*--variant, or delete the folder"
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


@pytest.mark.parametrize(
    ("setting", "named"),
    [
        ({"low_memory": True}, "low_memory: False there, True now"),
        ({"random_weights": True}, "random_weights: False there, True now"),
        ({"sampling": {"steps": 9}}, "sampling.steps: None there, 9 now"),
    ],
)
def test_a_run_is_not_continued_on_a_stack_that_draws_in_another_way(
    toy: Toy, setting: dict[str, Any], named: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    toy()
    stack = Stack("toy", {}, 8, digests={"unet": "u" * 64}, **setting)
    monkeypatch.setattr(sys.modules["fcbench.stacks"], "load_stack", lambda name, **_: stack)
    with pytest.raises(UsageError, match=rf"settings \({named}\): give"):
        toy()


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
