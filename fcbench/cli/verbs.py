"""The verbs, each a few lines: what it needs is imported when it is called."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from fcbench.cli.arguments import OUT, Device, Out, StackName, Suites
from fcbench.cli.reports import report, score
from fcbench.errors import UsageError

if TYPE_CHECKING:
    from fcbench.config import Suite

app = typer.Typer(
    help="Benchmark and dataset toolkit for subject-driven text-to-image generation around FastComposer.",
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


@app.callback()
def options(
    version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show the trace of an error.")] = False,
) -> None:
    """Options of every verb; ``main`` has already taken both from the arguments, they are here for the help."""


@app.command("build-data")
def build_data(
    source: Annotated[
        str, typer.Option(help="world, or what --images holds: folder, ffhq, webdataset, parquet.")
    ] = "world",
    images: Annotated[Path | None, typer.Option(help="Folder of the photos, the tree of FFHQ, or archives.")] = None,
    name: Annotated[str, typer.Option(help="Name of the dataset; without one, that of the source.")] = "",
    photos: Annotated[int | None, typer.Option(min=1, help="How many photos the world draws; else 1000.")] = None,
    seed: Annotated[int | None, typer.Option(min=0, help="Other people in the world's photos; else 0.")] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="Only the source's first N photos, for a trial.")] = None,
    short_side: Annotated[int, typer.Option(min=64, help="Photos are shrunk to this shorter side, in pixels.")] = 1024,
    assign: Annotated[str, typer.Option(help="How phrases are given to segments: hungarian, or greedy.")] = "hungarian",
    recaption: Annotated[
        bool, typer.Option("--recaption", help="Ask the captioner for every photo, whatever caption it brings.")
    ] = False,
    together: Annotated[
        str,
        typer.Option(help="Not in two splits either, as in author,alike: an author's photos, those that look alike."),
    ] = "",
    stack: StackName = "mini",
    plan: Annotated[bool, typer.Option("--plan", help="Only tell what it would need and what is missing.")] = False,
    licences: Annotated[str, typer.Option(help="Only these, as in by,cc0,pd,usgov; else all.")] = "",
    exclude: Annotated[Path | None, typer.Option(help="File of ids and sources that were taken down.")] = None,
    update: Annotated[bool, typer.Option("--update", help="Let a dataset that is there take this recipe.")] = False,
    retry: Annotated[list[str] | None, typer.Option(help="Try again what was rejected so; may be repeated.")] = None,
    engine: Annotated[str, typer.Option(help="local, or ray: on the cluster of RAY_ADDRESS.")] = "local",
    workers: Annotated[int, typer.Option(min=0, help="Processes; 0: one a GPU, else one a core up to 8.")] = 0,
    shards: Annotated[str, typer.Option(help="Label only part K/N, for an array of tasks, or what is free.")] = "",
    max_broken: Annotated[float, typer.Option(min=0, max=1, help="Exit 1 beyond this share of them.")] = 0.05,
    device: Device = "auto",
    out: Out = OUT,
) -> None:
    """Turn photos into a captioned, segmented dataset.

    Writes OUT/data/NAME. A build that was stopped or killed goes on when the same command is given again.
    """
    from fcbench import store
    from fcbench.build import command

    if source == "world" and images is not None:
        raise UsageError(f"--images {images}: the world draws its own photos; say what is there: --source folder")
    if source != "world" and photos is not None:
        raise UsageError(f"--photos {photos}: only the world draws as many as it is told; leave it away")
    if source != "world" and seed is not None:
        raise UsageError(f"--seed {seed}: only the world draws its people; leave it away")
    name = name or Path(source).resolve().name  # a folder may be the source itself
    if name == ".." or Path(name).name != name:
        raise UsageError(f"--name {name}: a name, not a path: the dataset lies in OUT/data/NAME")
    if shards and (update or retry):
        raise UsageError(
            f"--{'update' if update else 'retry'} takes over the whole dataset: give it without --shards; only what "
            "changes is computed"
        )
    asked = command.Asked(
        source=source,
        name=name,
        photos=photos or 1000,
        seed=seed or 0,
        stack_name=stack,
        device=device,
        licences=licences,
        exclude=exclude,
        engine_name=engine,
        workers=workers,
        images=images,
        short_side=short_side,
        assignment=assign,
        recaption=recaption,
        limit=limit,
        together=tuple(sorted({word.strip() for word in together.split(",")} - {""})),
    )
    if plan:
        from fcbench.build.plan import plan_build

        print("\n".join(plan_build(asked, out)))
        return
    folder = store.data_folder(out, name)
    if shards:
        done, there = command.label(out, asked, shards)
        print(f"{folder.path}: {done} of {there} shards are labelled; without --shards the tables are written")
        return
    counts = command.build(out, asked, update=update, retry=retry or ())
    print(f"{folder.path}: {counts.summary}")
    for absent in command.idle_exclusions(out, asked):
        print(
            f"fcbench: {exclude}: {absent!r} takes no photo out: none that was taken in is called so", file=sys.stderr
        )
    if counts.failed > max_broken:
        print(f"fcbench: {counts.failed:.1%} of the photos are broken: see {folder.rejects}", file=sys.stderr)
        raise typer.Exit(1)


@app.command()
def train(
    data: Annotated[
        str, typer.Option(help="Name of the dataset in OUT/data, or the path of one, ffhq_fastcomposer's too.")
    ] = "world",
    recipe: Annotated[str, typer.Option("--recipe", "--config", help="Name or YAML file.")] = "mini",
    settings: Annotated[list[str] | None, typer.Option("--set", help="A key of the recipe, KEY=VALUE.")] = None,
    name: Annotated[str, typer.Option(help="Name of the checkpoint.")] = "fastcomposer",
    save_every: Annotated[int | None, typer.Option(min=0, help="Steps between checkpoints; else the recipe's.")] = None,
    keep: Annotated[int | None, typer.Option(min=0, help="How many of them stay; else the recipe's.")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Only go on: an error where nothing was begun.")] = False,
    device: Device = "auto",
    out: Out = OUT,
) -> None:
    """Train FastComposer on a dataset.

    Writes OUT/checkpoints/NAME, and how it went to NAME.training beside it. A training that was stopped or killed
    goes on when the same command is given again. Several GPUs: torchrun --nproc-per-node 8 -m fcbench train ...
    """
    from fcbench import store
    from fcbench.config import Recipe, load_yaml, set_keys

    plan = set_keys(load_yaml(recipe, Recipe, "recipes"), _options(settings or []))
    given = {"save_every": save_every, "keep": keep}
    plan = plan.model_copy(update={key: value for key, value in given.items() if value is not None})
    checkpoint = store.checkpoint_folder(out, name)
    folder = store.TrainingFolder(checkpoint)
    if resume and not (folder.begun.exists() or folder.finished.exists()):
        raise UsageError(f"{checkpoint}: no training was begun there; leave --resume away to begin one")

    from fcbench.fastcomposer import processes
    from fcbench.fastcomposer import train as training
    from fcbench.fastcomposer.checkpoint import MODELS
    from fcbench.stacks import load_stack

    stack = load_stack(plan.stack, device=processes.process_device(device), unrounded=MODELS)
    training.train(store.dataset_path(out, data), checkpoint, stack, plan)
    if processes.is_first():
        place = [] if plan.stack == "mini" else ["--suite", "celeba-single", "--stack", plan.stack]
        drawing = ["--method", "fastcomposer", "--checkpoint", str(checkpoint), "--variant", name]
        print(f"{checkpoint}: trained; draw with it: {shlex.join(['fcbench', 'run', *place, *drawing])}")


@app.command()
def run(
    suite: Suites = None,
    method: Annotated[list[str] | None, typer.Option(help="Name or module:Class; may be repeated.")] = None,
    settings: Annotated[list[str] | None, typer.Option("--set", help="A method's option, KEY=VALUE.")] = None,
    variant: Annotated[str, typer.Option(help="Name for these options: the run becomes METHOD@VARIANT.")] = "",
    stack: Annotated[str | None, typer.Option(help="Another stack than the suite's.")] = None,
    random_weights: Annotated[bool, typer.Option("--random-weights", help="Measure time and memory only.")] = False,
    low_memory: Annotated[
        bool, typer.Option("--low-memory", help="Encoders leave the GPU after use, the VAE decodes in tiles.")
    ] = False,
    checkpoint: Annotated[str | None, typer.Option(help="Another FastComposer checkpoint than the stack's.")] = None,
    alpha: Annotated[str | None, typer.Option(help="A run for each: 0,0.5,1, or in even steps 0,0.2,...,1.")] = None,
    device: Device = "auto",
    out: Out = OUT,
    fail_fast: Annotated[bool, typer.Option("--fail-fast", help="Stop at the first case that fails.")] = False,
    sanity: Annotated[
        bool, typer.Option("--sanity", help="Instead of a method: real photos, other people, the photo copied.")
    ] = False,
    keep_fits: Annotated[
        bool, typer.Option("--keep-fits", help="Keep what tuning made, in the run's folder kept.")
    ] = False,
    shards: Annotated[
        str, typer.Option(help="Draw one part only, K/N: a command for each GPU, with its --device, or machine.")
    ] = "",
) -> None:
    """Draw every case of a suite with a method.

    Writes OUT/runs/SUITE/METHOD. Without --suite it draws mini-single and mini-pair; without --method, all methods that
    need no tuning, or FastComposer alone with --alpha or --checkpoint. A run that was stopped continues where it was.
    With --alpha a run is called METHOD@alpha-0.2.
    """
    from itertools import product

    from fcbench.config import load_suites
    from fcbench.parts import part_of
    from fcbench.run import run_suite
    from fcbench.run.possible import refuse_any_impossible
    from fcbench.run.sweep import sweep

    chosen, part = _options(settings or []), part_of(shards) if shards else None
    variants: list[tuple[str, dict[str, str]]] = sweep(alpha, variant) if alpha is not None else [(variant, {})]
    methods = method or (_untuned_methods() if alpha is None and checkpoint is None else ["fastcomposer"])
    plans = [plan for name in suite or ("mini-single", "mini-pair") for plan in load_suites(name)]
    if sanity:
        given: dict[str, object] = {"--method": method, "--set": settings, "--variant": variant, "--alpha": alpha}
        given |= {"--checkpoint": checkpoint, "--random-weights": random_weights, "--low-memory": low_memory}
        given |= {"--fail-fast": fail_fast, "--keep-fits": keep_fits, "--shards": shards}
        _write_sanity(plans, stack, out, given)
        return
    refuse_any_impossible(plans, methods, [chosen | swept for _, swept in variants], out)
    failed = 0
    for plan in plans:
        for name, (label, swept) in product(methods, variants):
            summary = run_suite(
                plan,
                name,
                out=out,
                label=name.rpartition(":")[2] + (f"@{label}" if label else ""),
                options=chosen | swept,
                stack_name=stack,
                device=device,
                random_weights=random_weights,
                low_memory=low_memory,
                checkpoint=checkpoint,
                fail_fast=fail_fast,
                keep_fits=keep_fits,
                part=part,
            )
            failed += summary.failed
    if failed:
        raise typer.Exit(1)


for verb in (score, report):
    app.command()(verb)


@app.command()
def demo(device: Device = "auto", out: Out = OUT) -> None:
    """Build, train a little, draw, report: all of it small.

    It draws with the weights that ship; its own few training steps are there to be seen. Prints the page's path last.
    """
    build_data(name="demo", photos=200, device=device, out=out)
    train(data="demo", recipe="mini-demo", name="demo", device=device, out=out)
    suites = ["mini-demo-tuned", "mini-demo"]
    run(suite=suites, sanity=True, device=device, out=out)
    try:
        run(suite=["mini-demo"], device=device, out=out)
        run(suite=["mini-demo-tuned"], method=_methods(), device=device, out=out)
    finally:
        report(suite=suites, device=device, out=out)


@app.command()
def doctor() -> None:
    """Say what is missing, and the command that mends it."""
    from fcbench.doctor import examine

    findings = examine()
    for finding in findings:
        print(finding)
    if any(finding.mend and finding.needed for finding in findings):
        raise typer.Exit(1)


def _options(settings: Sequence[str]) -> dict[str, str]:
    chosen = {}
    for setting in settings:
        key, equals, value = setting.partition("=")
        if not equals:
            raise UsageError(f"--set {setting}: expected KEY=VALUE")
        chosen[key] = value
    return chosen


def _write_sanity(plans: Sequence[Suite], stack: str | None, out: Path, given: Mapping[str, object]) -> None:
    """Write the yardsticks; UsageError for an option in ``given``, those of a method, which nothing here reads."""
    from fcbench.run.sanity import write_sanity

    if unread := [option for option, value in given.items() if value]:
        raise UsageError(f"--sanity draws with no method: leave {', '.join(unread)} away")
    for plan in plans:
        for folder in write_sanity(plan, out=out, stack_name=stack):
            print(folder.path)


def _untuned_methods() -> list[str]:
    from fcbench import plugins

    methods = {name: plugins.load("methods", name) for name in _methods()}
    return [name for name, method in methods.items() if not method.capabilities.needs_tuning]


def _methods() -> list[str]:
    from fcbench import plugins

    return plugins.names("methods")
