"""Draw a suite with a method: ``out/runs/<suite>/<method>[@variant]``, in a fresh process that is measured."""

from __future__ import annotations

import contextlib
import json
import signal
import subprocess
import sys
from collections.abc import Generator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from fcbench import errors, store
from fcbench.config import Suite
from fcbench.errors import FcbenchError
from fcbench.files import locked
from fcbench.run.cases import case_seed, cases_of, subjects_of
from fcbench.run.label import refuse_label
from fcbench.run.progress import Progress

__all__ = ["RunSummary", "case_seed", "cases_of", "run_suite", "subjects_of"]

START = "import sys; sys.path[:] = sys.argv[1:]; from fcbench.run.worker import main; main()"
"""The worker imports from where its parent does."""

PATIENCE_SECONDS = 10
"""How long a worker may take to stop when it is asked to; killing it loses no more than its batch."""


@dataclass(frozen=True)
class RunSummary:
    """How a run ended: the suite's cases, those drawn now, and those without a picture."""

    folder: store.RunFolder
    cases: int
    drawn: int
    failed: int


def run_suite(
    suite: Suite,
    method_name: str,
    *,
    out: Path,
    label: str | None = None,
    options: Mapping[str, str] | None = None,
    stack_name: str | None = None,
    device: str = "auto",
    random_weights: bool = False,
    low_memory: bool = False,
    checkpoint: str | None = None,
    fail_fast: bool = False,
    keep_fits: bool = False,
    part: tuple[int, int] | None = None,
) -> RunSummary:
    """Draw the cases of ``suite`` that are not there yet; reports progress on standard error.

    ``part``: the groups of one task of several, which may be at work in the run's folder at the same time.

    ``options`` are the method's, over those that the suite gives it. ``keep_fits`` saves each fitted sampler in the
    run's ``kept`` folder.

    A method's failure leaves its cases without a picture and is counted; under ``fail_fast`` it raises MethodError.
    Raises UsageError for a method, option or suite that do not fit each other or the existing run,
    MissingError for absent weights, FcbenchError for a full disk or a worker that died.
    """
    from fcbench.run.worker import Job

    label = label or method_name.rpartition(":")[2]
    refuse_label(label)
    job = Job(
        suite=suite.model_dump(mode="json"),
        suite_file=suite.asked_as,
        method=method_name,
        options=suite.options_of(method_name, options or {}),
        label=label,
        stack=stack_name or suite.stack,
        out=str(out),
        device=device,
        random_weights=random_weights,
        low_memory=low_memory,
        checkpoint=checkpoint,
        fail_fast=fail_fast,
        keep_fits=keep_fits,
        part=part,
    )
    folder = store.run_folder(out, suite.name, label)
    progress = Progress(" ".join((suite.name, label, *(["/".join(map(str, part))] if part else []))), folder)
    busy = f"{folder.path}: another command draws this run; wait for it, or give this one a name with --variant"
    with (
        locked(folder.lock, busy, shared=part is not None),
        contextlib.closing(progress),
        contextlib.closing(_events(asdict(job))) as events,
    ):
        for event in events:
            progress.tell(event)
    return RunSummary(folder, progress.cases, progress.drawn, progress.missing)


def _events(job: dict[str, Any]) -> Generator[dict[str, Any]]:
    """Start a worker on ``job`` and yield its events to the end; raises what it raised."""
    command = [sys.executable, "-c", START, *sys.path]
    worker = subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, encoding="utf-8", start_new_session=True
    )
    assert worker.stdin is not None
    assert worker.stdout is not None
    last: dict[str, Any] = {"event": "none"}
    try:
        with contextlib.suppress(BrokenPipeError):
            worker.stdin.write(json.dumps(job) + "\n")
            worker.stdin.flush()
        for line in worker.stdout:
            last = json.loads(line)
            yield last
    except BaseException:
        _stop(worker, ready=last["event"] != "none")
        raise
    worker.communicate()
    _raise_told(last, worker.returncode)


def _raise_told(last: Mapping[str, Any], code: int) -> None:
    match last["event"]:
        case "end":
            return
        case "interrupted":
            raise KeyboardInterrupt
        case "error":
            kind: type[FcbenchError] = getattr(errors, last["kind"])
            raise kind(last["message"]) from RuntimeError(f"in the worker:\n{last['trace']}")
    raise FcbenchError(f"the worker {_death(code)}; run the same command again to continue")


def _stop(worker: subprocess.Popen[str], *, ready: bool) -> None:
    """Ask a worker to stop, if it can hear that yet; kill it if it does not."""
    try:
        if ready:
            worker.send_signal(signal.SIGINT)
            worker.wait(PATIENCE_SECONDS)
    except (subprocess.TimeoutExpired, KeyboardInterrupt):
        pass
    finally:
        worker.kill()
        worker.communicate()


def _death(code: int) -> str:
    if code == -signal.SIGKILL:
        return "was killed, as the system does when memory runs out"
    return f"died of {signal.Signals(-code).name}" if code < 0 else f"ended early with exit code {code}"
