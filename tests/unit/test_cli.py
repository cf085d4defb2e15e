"""The command line: help, versions, and what a mistake of any kind looks like."""

from __future__ import annotations

import contextlib
import errno
import subprocess
import sys
from pathlib import Path

import pytest

from fcbench import __version__, cli
from fcbench.errors import DataError, MethodError, MissingError, UsageError

VERBS = ["build-data", "train", "run", "score", "report", "suite", "demo", "doctor", "make-stack", "world"]
VERBS += ["checkpoint"]
HEAVY = ["torch", "numpy", "pandas", "transformers", "diffusers", "spacy", "PIL", "rich"]


@pytest.mark.parametrize("command", [["--help"], ["run", "--help"], ["--version"]])
def test_help_imports_nothing_heavy(command: list[str]) -> None:
    program = f"import sys; from fcbench.cli import main; main({command}); print(*sys.modules, file=sys.stderr)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert not set(HEAVY) & set(done.stderr.split())


def test_a_command_alone_shows_every_verb(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main([]) == 0
    out = capsys.readouterr().out
    assert all(f"  {verb} " in out for verb in VERBS)
    assert "..." not in out.partition("Commands:")[2], "a verb's line is cut short"


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_has_help(verb: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main([verb, "--help"]) == 0
    assert f"Usage: fcbench {verb}" in capsys.readouterr().out


def test_version_is_the_package_s(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["--version"]) == 0
    assert capsys.readouterr().out == f"fcbench {__version__}\n"


@pytest.mark.parametrize(
    ("command", "message"),
    [
        (["rnu"], "Did you mean 'run'?"),
        (["world", "shwo"], "Did you mean 'show'?"),
        (["run", "--suit", "x"], "no such option: --suit; did you mean --suite?"),
        (["run", "--suite", "mini-singel"], "did you mean mini-single?"),
        (["run", "--suite", "mini-demo", "--method", "fastcompser"], "did you mean fastcomposer?"),
        (
            ["run", "--sanity", "--method", "fastcomposer", "--variant", "a", "--stack", "mini"],
            "--sanity draws with no method: leave --method, --variant away",
        ),
        (
            ["run", "--sanity", "--set", "a=1", "--alpha", "0,1", "--checkpoint", "x"],
            "--sanity draws with no method: leave --set, --alpha, --checkpoint away",
        ),
        (
            ["report", "--check", "--against", "published", "--publish", "p"],
            "--check writes nothing: leave --against, --publish away",
        ),
        (
            ["run", "--sanity", "--random-weights", "--low-memory", "--fail-fast", "--keep-fits"],
            "--sanity draws with no method: leave --random-weights, --low-memory, --fail-fast, --keep-fits away",
        ),
        (["run", "--set", "alpha"], "--set alpha: expected KEY=VALUE"),
        (["build-data", "--photos", "0"], "--photos"),
        (
            ["build-data", "--images", "d"],
            "--images d: the world draws its own photos; say what is there: --source folder",
        ),
        (["build-data", "--source", "folder", "--images", "d", "--photos", "5"], "--photos 5: only the world draws"),
        (["build-data", "--source", "folder", "--images", "d", "--seed", "5"], "--seed 5: only the world draws"),
        (["build-data", "--limit", "5"], "--limit 5: the world draws as many photos as it is told: give --photos 5"),
        (["build-data", "--source", "folder", "--images", "d", "--limit", "0"], "--limit"),
        (["report"], "out: no runs there; make one with: fcbench run"),
        (["train", "--recipe", "none.yaml"], "none.yaml: no such file"),
        (["checkpoint", "convert", "a.bin", "b", "--stack", "mni"], "did you mean mini?"),
        (["train", "--config", "mini.yaml", "--resume"], "no training was begun there; leave --resume away"),
        (["train", "--keep", "-1"], "--keep"),
        (["train"], "out/data/world: no dataset"),
        (["train", "--set", "steps"], "--set steps: expected KEY=VALUE"),
        (["train", "--set", "stpes=3"], "--set stpes=3: unknown key 'stpes': did you mean steps?"),
        (["train", "--set", "steps=many"], "--set steps=many: steps: Input should be a valid integer"),
        (["train", "--set", "text_only=1.5"], "--set text_only=1.5: text_only: Input should be less than or equal"),
        (["train", "--set", "stack=mni"], "did you mean mini?"),
    ],
)
def test_wrong_usage_is_told_in_one_line_and_exits_with_2(
    command: list[str],
    message: str,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    with contextlib.chdir(tmp_path):
        assert cli.main(command) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.startswith("fcbench: ")
    assert error.count("\n") == 1


@pytest.mark.parametrize(
    ("error", "code", "message"),
    [
        (UsageError("no such suite"), 2, "fcbench: no such suite\n"),
        (DataError("photo.png: broken"), 1, "fcbench: photo.png: broken\n"),
        (MissingError("no weights"), 1, "fcbench: no weights\n"),
        (MethodError("two\nlines"), 1, "fcbench: two lines\n"),
        (KeyboardInterrupt(), 130, "fcbench: stopped\n"),
        (OSError(errno.ENOSPC, "No space left on device", "out/x"), 1, "fcbench: out/x: No space left on device\n"),
        (MemoryError("Unable to allocate 2 GiB"), 1, "fcbench: out of memory: Unable to allocate 2 GiB\n"),
        (ModuleNotFoundError("", name="spacy"), 1, "fcbench: the package 'spacy' is not installed"),
        (ZeroDivisionError("by zero"), 1, "fcbench: ZeroDivisionError: by zero (a bug: run again with --debug"),
    ],
)
def test_every_error_has_its_exit_code_and_one_line(
    error: BaseException, code: int, message: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*arguments: object, **options: object) -> None:
        raise error

    monkeypatch.setattr(cli, "app", fail)
    assert cli.main(["run"]) == code
    told = capsys.readouterr().err
    assert told.startswith(message)
    assert told.count("\n") == 1


@pytest.mark.parametrize("command", [["--debug", "run", "--set", "x"], ["run", "--set", "x", "--debug"]])
def test_debug_shows_the_trace_wherever_it_stands(command: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(command) == 2
    assert "Traceback (most recent call last)" in capsys.readouterr().err


def test_ctrl_c_exits_with_130(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def interrupt(*arguments: object, **options: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("fcbench.world.sheet.draw_sheet", interrupt)
    assert cli.main(["world", "show"]) == 130
    assert capsys.readouterr().err.endswith("fcbench: stopped\n")
