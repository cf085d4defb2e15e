"""The verbs ``score`` and ``report``."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from fcbench.cli.arguments import OUT, Device, Out, Suites
from fcbench.errors import FcbenchError, UsageError


def score(
    pictures: Annotated[Path | None, typer.Argument(help="Pictures named by case; else the runs in OUT.")] = None,
    suite: Suites = None,
    name: Annotated[str, typer.Option(help="What the pictures' method is called: METHOD or METHOD@VARIANT.")] = "",
    images_per_subject: Annotated[int, typer.Option(min=0, help="How many photos of each subject it was given.")] = 1,
    sees: Annotated[
        list[str] | None, typer.Option(help="What it used beside prompt and photos, as insightface; may be repeated.")
    ] = None,
    note: Annotated[str, typer.Option(help="A line for the row's note, as the base model.")] = "",
    metric: Annotated[list[str] | None, typer.Option(help="Another metric beside the usual; may be repeated.")] = None,
    stack: Annotated[str | None, typer.Option(help="Another stack to judge with than the run's.")] = None,
    device: Device = "auto",
    out: Out = OUT,
) -> None:
    """Score pictures of any method, or the runs in OUT.

    With PICTURES: a folder of pictures named by case, which become the run OUT/runs/SUITE/NAME. Costs stay empty: they
    were not measured. fcbench suite show SUITE --cases lists the names; docs/pictures.md, installed as
    fcbench/_data/docs/pictures.md, says the rest.
    """
    if pictures is not None:
        told = {"images_per_subject": images_per_subject, "sees": sees or (), "note": note, "stack_name": stack}
        _adopt(pictures, suite or [], name, out, told)
    elif name or images_per_subject != 1 or sees or note:
        options = "--name, --images-per-subject, --sees and --note"
        raise UsageError(f"{options} tell of pictures made elsewhere: name their folder")
    for plan in _reported(suite, out):
        _score(plan, metric or (), stack, device, out)


def report(
    suite: Suites = None,
    stack: Annotated[str | None, typer.Option(help="Another stack to judge with than the run's.")] = None,
    merge: Annotated[
        list[Path] | None, typer.Option(help="Another machine's OUT, whose runs are copied in first; may be repeated.")
    ] = None,
    check: Annotated[
        bool, typer.Option("--check", help="Write nothing; fail if a leaderboard, or a published one, is out of date.")
    ] = False,
    baseline: Annotated[
        str | None,
        typer.Option(help="The run that methods are compared with, as METHOD@VARIANT; else stable-diffusion."),
    ] = None,
    against: Annotated[
        Path | None, typer.Option(help="Reports to compare quality with, as reports/; published: those that ship.")
    ] = None,
    publish: Annotated[Path | None, typer.Option(help="Copy the leaderboards to this folder, as reports/.")] = None,
    device: Device = "auto",
    out: Out = OUT,
) -> None:
    """Score what is not scored yet and write the leaderboards.

    Writes OUT/reports/SUITE; without --suite, for every suite that has runs.
    """
    from fcbench import report

    if check:
        from fcbench.score import chosen_metrics

        options = {"--merge": merge, "--baseline": baseline, "--against": against, "--publish": publish}
        if given := [option for option, value in options.items() if value]:
            raise UsageError(f"--check writes nothing: leave {', '.join(given)} away")
        reported = None if suite is None else _reported(suite, out)
        _check([*report.stale_reports(out, chosen_metrics(()), reported), *_unscored(reported, stack, out)])
        return
    for other in merge or []:
        for name in _reported(suite, other):
            for folder in report.merge(out, other, name):
                print(f"{folder.path}: copied")
    _write_reports(_reported(suite, out), stack, device, out, against, baseline, publish)


def _write_reports(
    names: Sequence[str],
    stack: str | None,
    device: str,
    out: Path,
    against: Path | None,
    baseline: str | None,
    publish: Path | None,
) -> None:
    """Score and report each suite; of several, one that fails is named, and the others are still reported."""
    from fcbench import report, store
    from fcbench.report.against import earlier_report
    from fcbench.report.board import check_baseline

    for name in names:  # refused before anything is scored
        try:
            if against is not None:
                earlier_report(against, name)
            if baseline is not None:
                check_baseline(baseline, [folder.label for folder in store.runs_of(out, name)], name)
        except UsageError as error:
            others = "".join(f" --suite {other}" for other in names if other != name)
            raise UsageError(f"{error}{others and f'; the others alone:{others}'}") from error
    failed = False
    for name in names:
        try:
            _score(name, (), stack, device, out)
            print(report.write_report(out, name, earlier=against, baseline=baseline))
            if publish is not None:
                print(report.publish(out, name, publish))
        except FcbenchError as error:
            if len(names) == 1:
                raise
            print(f"fcbench: {error}", file=sys.stderr)
            failed = True
    if failed:
        raise typer.Exit(1)


def _check(reasons: Sequence[str]) -> None:
    for reason in reasons:
        print(reason, file=sys.stderr)
    if reasons:
        raise typer.Exit(1)
    print("every leaderboard is up to date")


def _unscored(suites: Sequence[str] | None, stack: str | None, out: Path) -> Iterator[str]:
    """The runs whose scores do not fit what lies there now: pictures, photos, judges, the code of metrics.

    Runs whose stack is not on this machine are passed over.
    """
    from fcbench import store
    from fcbench.files import read_json
    from fcbench.report.runs import under
    from fcbench.score import metrics_of, needs_scoring
    from fcbench.stacks import load_stack

    for suite in store.suites_with_runs(out) if suites is None else suites:
        for folder in store.runs_of(out, suite):
            try:
                digests = load_stack(stack or store.judging_stack(read_json(folder.config))).digests
            except (FcbenchError, KeyError):
                continue
            try:
                names = needs_scoring(folder, metrics_of(folder), digests)
            except FcbenchError as error:
                yield str(error)
                continue
            if names:
                anew = shlex.join(["fcbench", "report", "--suite", suite, *under(out)])
                other = "; if another stack judged, name it to both with --stack"
                yield f"{folder.path}: {', '.join(names)} would be scored anew; run: {anew}{other}"


def _adopt(pictures: Path, suites: Sequence[str], name: str, out: Path, told: Mapping[str, Any]) -> None:
    """Adopt a folder of pictures as a run; ``told`` is what else ``adopt`` is told of them."""
    from fcbench.config import load_suites
    from fcbench.run.pictures import adopt

    plans = [plan for suite in suites for plan in load_suites(suite)]
    if len(plans) != 1 or not name:
        raise UsageError(f"{pictures}: --suite must name the one suite that they are of, --name their method")
    folder = adopt(plans[0], pictures, out=out, label=name, **told)
    print(f"{folder.path}: {len(folder.generations())} pictures, {len(folder.failures())} cases without one")


def _score(suite: str, named: Sequence[str], stack: str | None, device: str, out: Path) -> None:
    """Score what is not scored yet of a suite's runs."""
    from fcbench import store
    from fcbench.files import read_json
    from fcbench.score import metrics_of, needs_scoring, score_run
    from fcbench.stacks import load_stack

    for folder in store.runs_of(out, suite):
        metrics = metrics_of(folder, named)
        judge = stack or store.judging_stack(read_json(folder.config))
        if needs_scoring(folder, metrics, load_stack(judge).digests):
            score_run(folder, load_stack(judge, device=device), metrics)


def _reported(names: Sequence[str] | None, out: Path) -> list[str]:
    """The suites to report on, by their names where they have runs; a collection's name stands for its suites."""
    from fcbench import store

    there = store.suites_with_runs(out)
    if names is None and not there:
        raise UsageError(f"{out}: no runs there; make one with: fcbench run")
    if names is None:
        return there
    try:
        return [found for name in names for found in ([name] if name in there else _named(name))]
    except UsageError as error:
        absent = ", ".join(name for name in names if name not in there)
        raise UsageError(f"{out}: no runs there of {absent}; {error}") from error


def _named(suite: str) -> list[str]:
    from fcbench.config import load_suites

    return [plan.name for plan in load_suites(suite)]
