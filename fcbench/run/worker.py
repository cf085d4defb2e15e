"""The process that a run happens in: load, warm up, fit, draw, commit. One method each, so its memory is its own.

Reads a job, one JSON line, from standard input, and dies when that is closed: it never outlives its parent.
Writes events, one JSON line each, to standard output; what a plug-in prints goes to standard error.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

from fcbench import plugins, store
from fcbench.config import Suite
from fcbench.errors import FcbenchError
from fcbench.parts import take
from fcbench.run.cases import Group, groups_of, photo_digests, subject_groups, subjects_of, suite_digest
from fcbench.run.draw import Drawing
from fcbench.run.measure import MEASURED, meter_of
from fcbench.run.possible import refuse_impossible
from fcbench.run.record import (
    describe_method,
    describe_recipe,
    describe_stack,
    describe_surroundings,
    refuse_changes,
    refuse_other_versions,
    where_stack,
)

Emit: TypeAlias = Callable[[dict[str, Any]], None]
"""Tells the parent something: {"event": start | batch | failed | end | error | interrupted, ...}."""


@dataclass(frozen=True)
class Job:
    """What to run; plain values, so that it can be sent as JSON."""

    suite: dict[str, Any]
    suite_file: str
    method: str
    options: dict[str, str]
    label: str
    stack: str
    out: str
    device: str
    random_weights: bool
    low_memory: bool
    checkpoint: str | None
    fail_fast: bool
    keep_fits: bool = False
    part: Sequence[int] | None = None
    """Which groups: those of task ``part[0]`` of ``part[1]``; None: all."""


def work(job: Job, emit: Emit) -> None:
    """Draw what is missing of a run, reporting progress; raises what ``run_suite`` raises."""
    from fcbench.fastcomposer.hub import pin
    from fcbench.stacks import load_stack

    suite, out = Suite.model_validate(job.suite), Path(job.out)
    method = plugins.load("methods", job.method, job.options)
    subjects = subjects_of(suite, out)
    refuse_impossible(job.method, method.capabilities, suite, subjects)
    groups = groups_of(suite, subjects)
    mine = groups if job.part is None else take(groups, (job.part[0], job.part[1]))
    stack = load_stack(job.stack, device=job.device, random_weights=job.random_weights, low_memory=job.low_memory)
    checkpoint = job.checkpoint or stack.checkpoint
    stack.checkpoint = pin(checkpoint) if checkpoint else None
    meter = meter_of(stack)
    folder = store.run_folder(out, suite.name, job.label)
    record = {
        "method": job.method,
        "label": job.label,
        "variant": job.label.partition("@")[2] or None,
        **describe_method(method),
        "recipe": describe_recipe(method, stack),
        "suite": suite.name,
        "suite_file": job.suite_file,
        "suite_note": suite.note,
        "suite_digest": suite_digest(suite, subjects),
        "subject_groups": subject_groups(suite, subjects),
        "photos": photo_digests(subjects),
        "cases": sum(len(group.cases) for group in groups),
        **describe_stack(stack),
        **where_stack(job.stack),
        "checkpoint_file": job.checkpoint,
        **describe_surroundings(meter),
        **dict.fromkeys(MEASURED),
    }
    missing = _missing(mine, folder)
    refuse_other_versions(out, suite.name, record["suite_digest"])
    refuse_changes(folder, record, finished=not missing)
    emit({"event": "start", "cases": sum(len(group.cases) for group in mine), "missing": len(missing)})
    if missing:
        kept = {"fail_fast": job.fail_fast, "keep_fits": job.keep_fits}
        drawing = Drawing(folder, method, stack, meter, record, emit, task=job.part[0] if job.part else None, **kept)
        drawing.draw(mine)
    emit({"event": "end", "missing": len(_missing(mine, folder))})


def main() -> None:
    """Do the job on standard input."""
    signal.signal(signal.SIGINT, _interrupt)
    events = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)

    def emit(event: dict[str, Any]) -> None:
        events.write(json.dumps(event) + "\n")
        events.flush()

    try:
        job = Job(**json.loads(sys.stdin.readline()))
        threading.Thread(target=_die_with_parent, daemon=True).start()
        work(job, emit)
    except KeyboardInterrupt:
        emit({"event": "interrupted"})
    except FcbenchError as error:
        emit({"event": "error", "kind": type(error).__name__, "message": str(error), "trace": traceback.format_exc()})
    except Exception as error:
        message = f"{type(error).__name__}: {error} (a bug: run again with --debug to see where)"
        emit({"event": "error", "kind": "FcbenchError", "message": message, "trace": traceback.format_exc()})


def _missing(groups: Sequence[Group], folder: store.RunFolder) -> list[str]:
    return [case.id for group in groups for case in group.cases if not folder.is_done(case.id)]


def _interrupt(*_: object) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # once is enough: what follows commits and leaves
    raise KeyboardInterrupt


def _die_with_parent() -> None:
    while os.read(0, 1):  # not sys.stdin, whose lock would be held when the interpreter ends
        pass
    os._exit(1)
