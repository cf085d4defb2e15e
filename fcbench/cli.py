"""The command line: arguments and exit codes only. Each verb imports what it needs when it is called."""

from __future__ import annotations

import sys
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from typer.exceptions import TyperException

from fcbench import __version__
from fcbench.errors import FcbenchError, UsageError, did_you_mean

if TYPE_CHECKING:
    from fcbench.config import Suite

app = typer.Typer(
    help="Benchmark and dataset toolkit for subject-driven text-to-image generation around FastComposer.",
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
world_app = typer.Typer(help="Look at the miniature world.", rich_markup_mode=None)
app.add_typer(world_app, name="world")
checkpoint_app = typer.Typer(help="Handle FastComposer checkpoints.", rich_markup_mode=None)
app.add_typer(checkpoint_app, name="checkpoint")
suite_app = typer.Typer(help="Look at suites, and make one of your own people.", rich_markup_mode=None)
app.add_typer(suite_app, name="suite")

Out = Annotated[Path, typer.Option(help="Folder that everything lands under.")]
StackName = Annotated[str, typer.Option("--stack", help="mini, sd15, or a YAML file of your own.")]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:1.")]
Suites = Annotated[list[str] | None, typer.Option("--suite", help="Name or YAML file; may be repeated.")]
OUT = Path("out")

STOPPED = 130
"""The exit code after Ctrl-C, which typer also returns where it caught the interrupt itself."""


@app.callback()
def options(
    version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show the trace of an error.")] = False,
) -> None:
    """Options of every verb; ``main`` has taken both from the arguments already, they stand here for the help."""


@app.command("build-data")
def build_data(
    source: Annotated[str, typer.Option(help="world, or a folder of photos.")] = "world",
    name: Annotated[str, typer.Option(help="Name of the dataset.")] = "world",
    photos: Annotated[int, typer.Option(min=1, help="How many photos the world draws.")] = 1000,
    stack: StackName = "mini",
    device: Device = "auto",
    out: Out = OUT,
) -> None:
    """Turn photos into a captioned, segmented dataset.

    Writes OUT/data/NAME.
    """
    from fcbench import build, store
    from fcbench.stacks import load_stack

    counts = build.build_data(out, source=source, name=name, photos=photos, stack=load_stack(stack, device=device))
    print(f"{store.data_folder(out, name).path}: {counts.summary}")


@app.command()
def train(
    data: Annotated[
        str, typer.Option(help="Name of the dataset in OUT/data, or the path of one, ffhq_fastcomposer's too.")
    ] = "world",
    recipe: Annotated[str, typer.Option("--recipe", "--config", help="Name or YAML file.")] = "mini",
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
    from fcbench.config import Recipe, load_yaml

    plan = load_yaml(recipe, Recipe, "recipes")
    given = {"save_every": save_every, "keep": keep}
    plan = plan.model_copy(update={key: value for key, value in given.items() if value is not None})
    checkpoint = store.checkpoint_folder(out, name)
    folder = store.TrainingFolder(checkpoint)
    if resume and not (folder.begun.exists() or folder.finished.exists()):
        raise UsageError(f"{checkpoint}: no training was begun there; leave --resume away to begin one")

    from fcbench.fastcomposer import processes
    from fcbench.fastcomposer import train as training
    from fcbench.stacks import load_stack

    stack = load_stack(plan.stack, device=processes.process_device(device))
    training.train(store.dataset_path(out, data), checkpoint, stack, plan)
    if processes.is_first():
        print(f"{checkpoint}: trained; draw with it: fcbench run --checkpoint {checkpoint} --variant {name}")


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
    device: Device = "auto",
    out: Out = OUT,
    fail_fast: Annotated[bool, typer.Option("--fail-fast", help="Stop at the first case that fails.")] = False,
    sanity: Annotated[
        bool, typer.Option("--sanity", help="Instead of a method: real photos, other people, the photo copied.")
    ] = False,
) -> None:
    """Draw every case of a suite with a method.

    Writes OUT/runs/SUITE/METHOD. Without --suite mini-single and mini-pair are drawn, without --method all that need
    no tuning. A run that was stopped continues where it was.
    """
    from fcbench.config import load_suites
    from fcbench.run import run_suite

    chosen = _options(settings or [])
    failed = 0
    for plan in [plan for name in suite or ("mini-single", "mini-pair") for plan in load_suites(name)]:
        if sanity:
            _write_sanity(plan, out)
            continue
        for name in method or _untuned_methods():
            summary = run_suite(
                plan,
                name,
                out=out,
                label=name.rpartition(":")[2] + (f"@{variant}" if variant else ""),
                options=chosen,
                stack_name=stack,
                device=device,
                random_weights=random_weights,
                low_memory=low_memory,
                checkpoint=checkpoint,
                fail_fast=fail_fast,
            )
            failed += summary.failed
    if failed:
        raise typer.Exit(1)


@app.command()
def score(
    pictures: Annotated[Path | None, typer.Argument(help="Pictures named by case; else the runs in OUT.")] = None,
    suite: Suites = None,
    name: Annotated[str, typer.Option(help="What the pictures' method is called: METHOD or METHOD@VARIANT.")] = "",
    images_per_subject: Annotated[int, typer.Option(min=0, help="How many photos of each subject it was given.")] = 1,
    metric: Annotated[list[str] | None, typer.Option(help="Another metric beside the usual; may be repeated.")] = None,
    stack: Annotated[str | None, typer.Option(help="Another stack to judge with than the run's.")] = None,
    device: Device = "auto",
    out: Out = OUT,
) -> None:
    """Score pictures of any method, or the runs in OUT.

    With PICTURES: a folder of pictures named by case, which become the run OUT/runs/SUITE/NAME; the contract is in
    docs/pictures.md, and fcbench suite show SUITE --cases lists the names. Costs stay empty: they were not measured.
    """
    if pictures is not None:
        _adopt(pictures, suite or [], name, images_per_subject, out)
    for plan in _reported(suite, out):
        _score(plan, metric or (), stack, device, out)


@app.command()
def report(
    suite: Suites = None,
    stack: Annotated[str | None, typer.Option(help="Another stack to judge with than the run's.")] = None,
    device: Device = "auto",
    out: Out = OUT,
) -> None:
    """Score what is not scored yet and write the leaderboards.

    Writes OUT/reports/SUITE. Without --suite every suite that has runs.
    """
    from fcbench.report import write_report

    for name in _reported(suite, out):
        _score(name, (), stack, device, out)
        print(write_report(out, name))


@app.command()
def demo(device: Device = "auto", out: Out = OUT) -> None:
    """Build, train a little, draw, report: all of it small.

    It draws with the weights that ship; its own few training steps are there to be seen. Prints the page's path last.
    """
    build_data(name="demo", photos=200, device=device, out=out)
    train(data="demo", recipe="mini-demo", name="demo", device=device, out=out)
    try:
        run(suite=["mini-demo"], device=device, out=out)
    finally:
        report(suite=["mini-demo"], device=device, out=out)


@app.command()
def doctor() -> None:
    """Say what is missing, and the command that mends it."""
    from fcbench.doctor import examine

    findings = examine()
    for finding in findings:
        print(finding)
    if any(finding.mend and finding.needed for finding in findings):
        raise typer.Exit(1)


@app.command("make-stack")
def make_stack(
    name: Annotated[str, typer.Argument(help="mini: the only one that is trained here.")] = "mini",
    minutes: Annotated[float, typer.Option(min=0, help="Stop after so long; the same command goes on.")] = 120,
    device: Device = "auto",
    out: Annotated[Path, typer.Option(help="Folder of the stack.")] = OUT / "stack",
) -> None:
    """Train the miniature stack from nothing.

    Judges, codec and base, then FastComposer on built data. Writes OUT/stack.yaml with a folder a role, and a card of
    scores on people that no training saw.
    """
    from fcbench import build, make_stack, store
    from fcbench.config import Recipe, load_suites, load_yaml
    from fcbench.fastcomposer.train import train
    from fcbench.loop import Clock
    from fcbench.report import leaderboard
    from fcbench.stacks import load_stack

    if name != "mini":
        raise UsageError(f"no stack {name!r} is trained here: known: mini")
    clock, work, description = Clock(minutes), out / "work", str(out / "stack.yaml")
    make_stack.make_base(out, work, clock, device=device)
    stack = load_stack(description, device=device)
    build.build_data(work, photos=make_stack.PHOTOS, stack=stack)
    plan = load_yaml("mini", Recipe, "recipes")
    train(store.data_folder(work, "world").path, out / "fastcomposer", stack, plan, clock)
    boards = {}
    for suite in [suite for known in ("mini-single", "mini-pair") for suite in load_suites(known)]:
        run(suite=[suite.name], stack=description, device=device, out=work)
        report(suite=[suite.name], stack=description, device=device, out=work)
        boards[suite.name] = leaderboard(work, suite.name)
    make_stack.write_card(out, load_stack(description), work, boards)
    print(f"{out / 'README.md'}: the card; draw with it: fcbench run --stack {description}")


@world_app.command("show")
def show(
    rows: Annotated[int, typer.Option(min=1, help="People, one a row.")] = 6,
    seed: Annotated[int, typer.Option(help="Other people and scenes.")] = 0,
    out: Out = OUT,
) -> None:
    """Draw a sheet of people, alone and in scenes.

    Writes OUT/world.png.
    """
    from fcbench.store import write_image
    from fcbench.world.sheet import draw_sheet

    write_image(out / "world.png", draw_sheet(rows, seed=seed))
    print(out / "world.png")


@suite_app.command("show")
def show_suite(
    suite: Annotated[str, typer.Argument(help="Name or YAML file.")],
    cases: Annotated[bool, typer.Option("--cases", help="All cases as CSV: name, prompt, seed, photos.")] = False,
    out: Out = OUT,
) -> None:
    """Say what a suite asks for, and what of its people is missing."""
    from fcbench.config import load_suites
    from fcbench.run import suites

    for plan in load_suites(suite):
        print(suites.case_table(plan, out) if cases else suites.describe(plan, out))


@suite_app.command("check")
def check_suite(suite: Annotated[str, typer.Argument(help="Name or YAML file.")]) -> None:
    """Name everything that is missing of a suite's people, as of your copy of CelebA; exit code 1 if anything is."""
    from fcbench.config import load_suites
    from fcbench.run.suites import missing_people

    found = {plan.name: missing_people(plan) for plan in load_suites(suite)}
    for name, missing in found.items():
        print("\n".join([f"{name}: {len(missing)} missing", *missing]) if missing else f"{name}: nothing is missing")
    if any(found.values()):
        raise typer.Exit(1)


@suite_app.command("new")
def new_suite(
    name: Annotated[str, typer.Argument(help="The suite's name, in-kebab-case.")],
    people: Annotated[Path, typer.Option(help="A folder with one folder of photos a person, the reference first.")],
    prompts: Annotated[Path, typer.Option(help="YAML: people: {ann: woman}, prompts: {context: ['{} in the snow']}.")],
    pairs: Annotated[int, typer.Option(min=0, help="Draw so many pairs instead of single people.")] = 0,
    seeds: Annotated[int, typer.Option(min=1, help="Pictures of each subject and prompt.")] = 4,
    stack: StackName = "sd15",
) -> None:
    """Make a suite of your own people and prompts: writes NAME.yaml here."""
    from fcbench.run import suites

    path = suites.new_suite(name, people, prompts, stack=stack, pairs=pairs, seeds=seeds)
    print(f"{path}: look at it with: fcbench suite show {path}; draw it with: fcbench run --suite {path}")


@checkpoint_app.command("convert")
def convert_checkpoint(
    source: Annotated[str, typer.Argument(help="Official pytorch_model.bin, our folder, or a hub id.")],
    target: Annotated[Path, typer.Argument(help="What to write: a folder, or a file that ends in .bin.")],
    stack: StackName = "sd15",
    random_weights: Annotated[bool, typer.Option("--random-weights", help="Take architectures only.")] = False,
) -> None:
    """Turn the official file into our folder, or our folder into the official file, bit for bit.

    The stack is the one that the checkpoint was trained on: it gives the architectures and the frozen weights.
    """
    from fcbench.fastcomposer.convert import convert
    from fcbench.stacks import load_stack

    print(convert(source, target, load_stack(stack, random_weights=random_weights)))


def _options(settings: Sequence[str]) -> dict[str, str]:
    chosen = {}
    for setting in settings:
        key, equals, value = setting.partition("=")
        if not equals:
            raise UsageError(f"--set {setting}: expected KEY=VALUE")
        chosen[key] = value
    return chosen


def _write_sanity(plan: Suite, out: Path) -> None:
    from fcbench.run.sanity import write_sanity

    for folder in write_sanity(plan, out=out):
        print(folder.path)


def _adopt(pictures: Path, suites: Sequence[str], name: str, images_per_subject: int, out: Path) -> None:
    """Take a folder of pictures over as a run."""
    from fcbench.config import load_suites
    from fcbench.run.pictures import adopt

    plans = [plan for suite in suites for plan in load_suites(suite)]
    if len(plans) != 1 or not name:
        raise UsageError(f"{pictures}: --suite must name the one suite that they are of, --name their method")
    folder = adopt(plans[0], pictures, out=out, label=name, images_per_subject=images_per_subject)
    print(f"{folder.path}: {len(folder.generations())} pictures, {len(folder.failures())} cases without one")


def _score(suite: str, named: Sequence[str], stack: str | None, device: str, out: Path) -> None:
    """Score what is not scored yet of a suite's runs."""
    from fcbench import store
    from fcbench.score import chosen_metrics, needs_scoring, score_run
    from fcbench.stacks import load_stack

    metrics = chosen_metrics(named)
    for folder in store.runs_of(out, suite):
        judge = stack or store.read_json(folder.config)["stack_file"]
        if needs_scoring(folder, metrics, load_stack(judge).digests):
            score_run(folder, load_stack(judge, device=device), metrics)


def _untuned_methods() -> list[str]:
    from fcbench import plugins

    methods = {name: plugins.load("methods", name) for name in plugins.names("methods")}
    return [name for name, method in methods.items() if not method.capabilities.needs_tuning]


def _reported(names: Sequence[str] | None, out: Path) -> list[str]:
    """The suites to report on; a collection's name stands for its suites."""
    from fcbench import config, store

    there = store.suites_with_runs(out)
    if names is None and not there:
        raise UsageError(f"{out}: no runs there; make one with: fcbench run")
    return there if names is None else [suite.name for name in names for suite in config.load_suites(name)]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; the exit code: 0, 1, 2 for wrong usage, 130 for Ctrl-C."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    debug = "--debug" in words
    if "--version" in words:
        print(f"fcbench {__version__}")
        return 0
    failure: BaseException
    try:
        code = app([word for word in words if word != "--debug"] or ["--help"], "fcbench", standalone_mode=False) or 0
        if code != STOPPED:
            return code
        failure = KeyboardInterrupt()
    except (Exception, KeyboardInterrupt) as error:
        failure = error
    if debug:
        traceback.print_exception(failure)
    message, code = explain(failure)
    print(f"fcbench: {' '.join(message.split())}", file=sys.stderr)
    return code


def explain(error: BaseException) -> tuple[str, int]:
    """What to tell a person about an error, and the exit code."""
    if isinstance(error, FcbenchError):
        return str(error), error.exit_code
    if isinstance(error, (KeyboardInterrupt, typer.Abort)):
        return "stopped", STOPPED
    if isinstance(error, TyperException):
        word, known = getattr(error, "option_name", ""), getattr(error, "possibilities", None)
        return (
            f"no such option: {word}; {did_you_mean(word, known)}" if known else error.format_message(),
            error.exit_code,
        )
    if isinstance(error, ModuleNotFoundError):
        return f"the package {error.name!r} is not installed; what mends it: fcbench doctor", 1
    if isinstance(error, OSError):
        return f"{error.filename or 'the system says'}: {error.strerror or error}", 1
    return f"{type(error).__name__}: {error} (a bug: run again with --debug to see where)", 1
