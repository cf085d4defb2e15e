"""``run_suite`` with real workers: what kills them, what they say, and that a continued run draws the same bytes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from fcbench import run, store
from fcbench.config import Suite, load_yaml
from fcbench.errors import FcbenchError, MethodError, UsageError
from fcbench.files import locked, read_json, write_image

TOYS = Path(__file__).parent.parent / "toys"


@pytest.fixture
def suite(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A suite file of ann and bo, two prompts each; workers get the toy stack."""
    nouns = {"ann": "woman", "bo": "man"}
    for name in nouns:
        write_image(tmp_path / "photos" / name / "0.png", np.full((4, 4, 3), len(name), np.uint8))
    prompts = [
        {"id": "snow", "kind": "context", "text": "{} in the snow"},
        {"id": "red-hat", "kind": "accessory", "text": "{} wearing a red hat"},
    ]
    people = {"source": "folder", "path": "photos", "nouns": nouns}
    path = tmp_path / "toy.yaml"
    path.write_text(yaml.safe_dump({"name": "toy", "subjects": people, "prompts": prompts}))
    monkeypatch.syspath_prepend(TOYS)
    start = run.START.replace("from fcbench", "import run_toys; run_toys.install_stack(); from fcbench", 1)
    monkeypatch.setattr(run, "START", start)
    return path


def draw(suite: Path, out: str = "out", **settings: Any) -> run.RunSummary:
    return run.run_suite(load_yaml(suite, Suite), "run_toys:Painter", out=suite.parent / out, **settings)


def pictures(summary: run.RunSummary) -> dict[str, bytes]:
    return {row.case.id: row.image.read_bytes() for row in summary.folder.generations()}


def driver(suite: Path, **environment: str) -> subprocess.Popen[str]:
    command = [sys.executable, str(TOYS / "run_driver.py"), str(suite), "run_toys:Painter", str(suite.parent / "out")]
    return subprocess.Popen(
        command,
        env={**os.environ, **environment, "PYTHONPATH": os.pathsep.join(sys.path)},
        stderr=subprocess.PIPE,
        text=True,
        # a shell's background job ignores Ctrl-C, and what it starts inherits that
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )


def test_a_run_killed_from_within_continues_to_the_same_bytes(
    suite: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("TOY_KILL", "bo.red-hat")
    with pytest.raises(FcbenchError, match="was killed, as the system does when memory runs out; run the same command"):
        draw(suite)
    monkeypatch.delenv("TOY_KILL")
    continued = draw(suite)
    assert (continued.cases, continued.drawn, continued.failed) == (4, 2, 0)
    assert pictures(continued) == pictures(draw(suite, "uninterrupted"))
    capfd.readouterr()
    again = draw(suite)
    assert (again.cases, again.drawn, again.failed) == (4, 0, 0)
    assert f"all 4 cases are in {again.folder.path}; nothing to do" in capfd.readouterr().err


def test_a_worker_dies_with_who_started_it_and_the_run_continues(suite: Path) -> None:
    process = driver(suite, TOY_HANG="bo.red-hat")
    assert process.stderr is not None
    assert any(line == "hanging\n" for line in process.stderr)
    process.kill()
    process.stderr.read()  # ends when the worker, too, is gone
    process.wait()
    process.stderr.close()
    continued = draw(suite)
    assert (continued.cases, continued.drawn) == (4, 2)
    assert pictures(continued) == pictures(draw(suite, "uninterrupted"))


def test_ctrl_c_reaches_the_worker_and_what_was_committed_stays(suite: Path) -> None:
    process = driver(suite, TOY_HANG="bo.red-hat")
    assert process.stderr is not None
    assert any(line == "hanging\n" for line in process.stderr)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate()
    assert process.returncode == 130
    assert "Traceback" not in said
    folder = store.run_folder(suite.parent / "out", "toy", "Painter")
    assert [row.case.id for row in folder.generations()] == ["ann.red-hat.0", "ann.snow.0"]


def test_a_run_that_another_command_draws_is_left_to_it(suite: Path) -> None:
    folder = store.run_folder(suite.parent / "out", "toy", "Painter")
    with locked(folder.lock, "busy"), pytest.raises(UsageError, match="another command draws this run; wait for it"):
        draw(suite)
    assert draw(suite).drawn == 4


def test_commands_that_draw_parts_of_a_run_draw_them_at_the_same_time(suite: Path) -> None:
    folder = store.run_folder(suite.parent / "out", "toy", "Painter")
    with locked(folder.lock, "busy", shared=True):
        assert draw(suite, part=(1, 2)).drawn == 2


def test_an_interrupted_worker_interrupts_its_parent(suite: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TOY_INTERRUPT", "ann.snow")
    with pytest.raises(KeyboardInterrupt):
        draw(suite)


def test_failures_are_counted_and_told_in_a_line_each(suite: Path, capfd: pytest.CaptureFixture[str]) -> None:
    summary = draw(suite, options={"fails_on": "ann"})
    assert (summary.cases, summary.drawn, summary.failed) == (4, 2, 2)
    failed, end = capfd.readouterr().err.splitlines()
    assert failed == "toy Painter: failed: ann: ValueError: a toy's failure"
    assert end.endswith(f"{summary.folder.path}; 2 of 4 failed, see {summary.folder.path / 'failures'}")


def test_a_suite_s_options_are_the_method_s_unless_the_run_sets_others(suite: Path) -> None:
    described = yaml.safe_load(suite.read_text()) | {"options": {"run_toys:Painter": {"shade": 5}, "other": {"x": 1}}}
    suite.write_text(yaml.safe_dump(described))
    assert read_json(draw(suite, "a").folder.config)["options"]["shade"] == 5
    assert read_json(draw(suite, "b", options={"shade": "7"}).folder.config)["options"]["shade"] == 7


def test_what_a_worker_raises_its_parent_raises(suite: Path) -> None:
    with pytest.raises(MethodError, match="ann: ValueError: a toy's failure") as caught:
        draw(suite, options={"fails_on": "ann"}, fail_fast=True)
    assert "in fit" in str(caught.value.__cause__)
    with pytest.raises(UsageError, match="Painter has no option 'shde': did you mean shade"):
        draw(suite, options={"shde": "1"})
    with pytest.raises(UsageError, match=r"options\.shade: 0 there, 2 now"):
        draw(suite, options={"shade": "2", "fails_on": "ann"})


def test_a_variant_has_a_folder_of_its_own(suite: Path) -> None:
    plain, shaded = draw(suite), draw(suite, label="Painter@dark", options={"shade": "2"})
    assert store.runs_of(suite.parent / "out", "toy") == [plain.folder, shaded.folder]
    assert read_json(shaded.folder.config)["variant"] == "dark"
    assert pictures(plain).keys() == pictures(shaded).keys()
    assert not set(pictures(plain).values()) & set(pictures(shaded).values())


@pytest.mark.parametrize("label", ["a/b", "../up", ".hidden"])
def test_a_label_that_is_no_folder_name_is_refused(suite: Path, label: str) -> None:
    with pytest.raises(UsageError, match="cannot name a run's folder"):
        draw(suite, label=label)
