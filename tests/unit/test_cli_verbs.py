"""What each verb does with its options, the work itself being stood in for."""

from __future__ import annotations

import shlex
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from types import SimpleNamespace

import pytest
from PIL import Image

from fcbench import cli
from fcbench.build.validate import Fault, Findings
from fcbench.cli import verbs
from fcbench.config import Recipe, Suite, load_yaml
from fcbench.errors import DataError, MethodError
from fcbench.store import DataFolder, RunFolder, runs_of
from tests.unit.fake_runs import cases, fake_run, subjects


def test_world_show_draws_a_sheet(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:

    assert cli.main(["world", "show", "--rows", "2", "--out", str(tmp_path)]) == 0
    assert capsys.readouterr().out == f"{tmp_path / 'world.png'}\n"
    with Image.open(tmp_path / "world.png") as sheet:
        assert sheet.width > 4 * sheet.height > 0


@pytest.mark.parametrize("fails", [False, True])
def test_the_demonstration_reports_on_methods_and_yardsticks_even_where_a_picture_failed(
    fails: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    done: list[tuple[str, tuple[str, ...], bool]] = []

    def record(verb: str) -> Callable[..., None]:
        def step(suite: Sequence[str] = (), sanity: bool = False, **options: object) -> None:
            done.append((verb, tuple(suite), sanity))
            if fails and verb == "run" and not sanity:
                raise MethodError("a picture failed")

        return step

    for verb in ("build_data", "train", "run", "report"):
        monkeypatch.setattr(verbs, verb, record(verb))
    assert cli.main(["demo"]) == fails
    both = ("mini-demo-tuned", "mini-demo")
    assert [verb for verb, _, _ in done[:2]] == ["build_data", "train"]
    assert ("run", both, True) in done
    assert done[-1] == ("report", both, False)
    assert done.index(("run", both, True)) < done.index(("report", both, False))


def test_a_suite_of_ones_own_is_reported_by_the_name_that_its_runs_have(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "runs" / "my-suite" / "a").mkdir(parents=True)
    (tmp_path / "runs" / "my-suite" / "a" / "run.json").write_text("{}")
    (tmp_path / "reports" / "my-suite").mkdir(parents=True)
    (tmp_path / "reports" / "my-suite" / "leaderboard.csv").touch()
    assert cli.main(["report", "--check", "--suite", "my-suite", "--out", str(tmp_path)]) == 1
    assert "my-suite" in capsys.readouterr().err
    assert cli.main(["report", "--check", "--suite", "no-suite", "--out", str(tmp_path)]) == 2


def test_a_suite_that_cannot_be_reported_keeps_no_other_from_its_report(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def score(name: str, *_: object) -> None:
        if name == "broken":
            raise DataError("a picture is gone")

    monkeypatch.setattr("fcbench.store.suites_with_runs", lambda out: ["broken", "whole"])
    monkeypatch.setattr("fcbench.cli.reports._score", score)
    monkeypatch.setattr("fcbench.report.write_report", lambda out, name, earlier, baseline: f"page of {name}")
    assert cli.main(["report", "--out", str(tmp_path)]) == 1
    told = capsys.readouterr()
    assert (told.out, told.err) == ("page of whole\n", "fcbench: a picture is gone\n")
    assert cli.main(["report", "--suite", "broken", "--out", str(tmp_path)]) == 1


def test_a_report_takes_in_another_machine_s_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    here, there = tmp_path / "here", tmp_path / "there"
    for out, label in ((here, "a"), (there, "b")):
        fake_run(out, "s", label, cases(subjects(out, "s", 1)))
    monkeypatch.setattr("fcbench.cli.reports._write_reports", lambda *given: None)
    assert cli.main(["report", "--merge", str(there), "--out", str(here)]) == 0
    assert [run.label for run in runs_of(here, "s")] == ["a", "b"]


def test_a_report_is_published_where_it_is_asked_to_be(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake_run(tmp_path, "s", "a", cases(subjects(tmp_path, "s", 2)))
    monkeypatch.setattr("fcbench.cli.reports._score", lambda *given: None)
    assert cli.main(["report", "--publish", str(tmp_path / "public"), "--out", str(tmp_path)]) == 0
    assert (tmp_path / "public" / "s" / "leaderboard.csv").exists()


def test_another_stack_judges_if_it_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    judges: list[str] = []
    fake_run(tmp_path, "s", "a", cases(subjects(tmp_path, "s", 1)), stack_file="mini")
    monkeypatch.setattr("fcbench.stacks.load_stack", lambda name, **given: SimpleNamespace(name=name, digests={}))
    monkeypatch.setattr("fcbench.score.needs_scoring", lambda *given: ["identity"])
    monkeypatch.setattr("fcbench.score.score_run", lambda run, stack, metrics: judges.append(stack.name))
    for stack in ([], ["--stack", "my.yaml"]):
        assert cli.main(["score", *stack, "--out", str(tmp_path)]) == 0
    assert judges == ["mini", "my.yaml"]


def test_a_run_is_drawn_as_its_options_say(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[dict[str, object]] = []

    def drawing(plan: Suite, method: str, **options: object) -> SimpleNamespace:
        asked.append({"suite": plan.name, "method": method, **options})
        return SimpleNamespace(failed=0)

    monkeypatch.setattr("fcbench.run.run_suite", drawing)
    words = ["--suite", "mini-single", "--method", "dreambooth", "--set", "steps=3", "--variant", "few"]
    words += ["--stack", "sd15", "--checkpoint", "mine", "--device", "cuda:1", "--shards", "2/4"]
    words += ["--random-weights", "--low-memory", "--fail-fast", "--keep-fits", "--out", str(tmp_path)]
    assert cli.main(["run", *words]) == 0
    named = {"suite": "mini-single", "method": "dreambooth", "label": "dreambooth@few", "options": {"steps": "3"}}
    places = {"stack_name": "sd15", "checkpoint": "mine", "device": "cuda:1", "part": (2, 4), "out": tmp_path}
    asked_for = dict.fromkeys(("random_weights", "low_memory", "fail_fast", "keep_fits"), True)
    assert asked == [named | places | asked_for]


def test_a_case_that_failed_makes_the_command_exit_with_1(monkeypatch: pytest.MonkeyPatch) -> None:
    failed = iter([1, 0])
    monkeypatch.setattr("fcbench.run.run_suite", lambda *given, **options: SimpleNamespace(failed=next(failed)))
    monkeypatch.setattr("fcbench.run.possible.subjects_of", lambda suite, out: ())
    assert cli.main(["run", "--method", "stable-diffusion"]) == 1


def test_methods_that_tune_are_drawn_only_when_they_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    drawn: list[str] = []

    def drawing(plan: Suite, method: str, **options: object) -> SimpleNamespace:
        drawn.append(method)
        return SimpleNamespace(failed=0)

    monkeypatch.setattr("fcbench.run.run_suite", drawing)
    monkeypatch.setattr("fcbench.run.possible.subjects_of", lambda suite, out: ())
    assert cli.main(["run", "--suite", "mini-single"]) == 0
    assert {"fastcomposer", "stable-diffusion"} <= set(drawn)
    assert not {"dreambooth", "dreambooth-lora", "custom-diffusion", "textual-inversion"} & set(drawn)


@pytest.mark.parametrize(("faults", "code"), [([], 0), ([Fault("bbox", "photo 3", "outside the photo")], 1)])
def test_a_dataset_with_a_fault_makes_its_check_exit_with_1(
    faults: Sequence[Fault], code: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fcbench.build.tokens.tokenizer_of", lambda folder, stack: None)
    monkeypatch.setattr("fcbench.build.validate.validate", lambda folder, tokenizer: Findings(1, Counter(), faults))
    assert cli.main(["data", "validate"]) == code


def test_the_official_layout_is_written_with_the_tokenizer_of_the_dataset_s_stack(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    written: list[tuple[str, object]] = []

    def export(folder: DataFolder, layout: str, target: Path, tokenizer: object) -> dict[str, int]:
        written.append((layout, tokenizer))
        return {}

    monkeypatch.setattr("fcbench.build.tokens.tokenizer_of", lambda folder, stack: f"that of {stack}")
    monkeypatch.setattr("fcbench.build.export.export", export)
    assert cli.main(["data", "export", "ffhq", str(tmp_path), "--stack", "sd15"]) == 0
    assert written == [("fastcomposer", "that of sd15")]


@pytest.mark.parametrize(
    "option", [["--checkpoint", "mine"], ["--alpha", "0.5"], ["--checkpoint", "m", "--alpha", "0"]]
)
def test_a_run_of_what_only_fastcomposer_has_draws_fastcomposer_alone(
    option: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn: list[str] = []

    def drawing(plan: object, method: str, **rest: object) -> SimpleNamespace:
        drawn.append(method)
        return SimpleNamespace(failed=0)

    monkeypatch.setattr("fcbench.run.run_suite", drawing)
    assert cli.main(["run", "--suite", "mini-single", *option]) == 0
    assert drawn == ["fastcomposer"]


def test_a_training_is_told_keys_of_its_recipe_and_its_own_options_last(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trained: list[Recipe] = []
    monkeypatch.setattr("fcbench.fastcomposer.train.train", lambda data, folder, stack, recipe: trained.append(recipe))
    keys = [
        "steps=7",
        "learning_rate=3e-5",
        "gradient_checkpointing=true",
        "start=a/b@main",
        "save_every=2",
        "wandb=",
        "oversample={a hat: 2}",
    ]
    words = [word for key in keys for word in ("--set", key)]
    assert cli.main(["train", *words, "--save-every", "5", "--device", "cpu", "--out", str(tmp_path)]) == 0
    asked = {
        "steps": 7,
        "learning_rate": 3e-5,
        "gradient_checkpointing": True,
        "start": "a/b@main",
        "save_every": 5,
        "oversample": {"a hat": 2.0},
    }
    assert trained == [load_yaml("mini", Recipe, "recipes").model_copy(update=asked)]


def test_yardsticks_are_written_for_the_stack_that_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[str, str | None]] = []

    def write_sanity(plan: Suite, *, out: Path, stack_name: str | None) -> list[RunFolder]:
        asked.append((plan.name, stack_name))
        return []

    monkeypatch.setattr("fcbench.run.sanity.write_sanity", write_sanity)
    verbs.run(suite=["mini-single"], sanity=True, device="cpu", out=tmp_path)
    given = ["--suite", "mini-single", "--sanity", "--stack", "my.safetensors", "--out", str(tmp_path)]
    assert cli.main(["run", *given]) == 0
    assert asked == [("mini-single", None), ("mini-single", "my.safetensors")]


def test_what_is_told_of_pictures_made_elsewhere_is_kept_with_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    kept: list[dict[str, object]] = []

    def adopt(plan: object, pictures: Path, **told: object) -> RunFolder:
        kept.append(told)
        return RunFolder(tmp_path / "run")

    monkeypatch.setattr("fcbench.run.pictures.adopt", adopt)
    told = ["--sees", "insightface", "--sees", "boxes", "--note", "base model: SDXL", "--stack", "sd15"]
    theirs = ["--suite", "mini-single", "--name", "theirs", "--out", str(tmp_path)]
    assert cli.main(["score", str(tmp_path), *theirs, *told]) == 0
    (facts,) = kept
    expected = {"sees": ["insightface", "boxes"], "note": "base model: SDXL", "stack_name": "sd15"}
    assert facts == {"out": tmp_path, "label": "theirs", "images_per_subject": 1, **expected}
    of_no_pictures = {"--note": "base model: SDXL", "--sees": "boxes", "--name": "theirs", "--images-per-subject": "5"}
    for option in of_no_pictures.items():
        assert cli.main(["score", *option]) == 2
        assert "--sees and --note tell of pictures made elsewhere: name their folder" in capsys.readouterr().err


@pytest.mark.parametrize("recipe", ["mini", "paper"])
def test_the_command_that_a_training_prints_draws_its_checkpoint_and_no_other_row(
    recipe: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    drawn: list[tuple[object, ...]] = []

    def drawing(plan: Suite, method: str, **options: object) -> SimpleNamespace:
        drawn.append((plan.group, plan.name.split("-")[0], method, options["label"], options["checkpoint"]))
        return SimpleNamespace(failed=0)

    monkeypatch.setattr("fcbench.fastcomposer.train.train", lambda *given: None)
    monkeypatch.setattr("fcbench.run.run_suite", drawing)
    monkeypatch.setattr("fcbench.run.possible.subjects_of", lambda suite, out: ())
    out = tmp_path / "the out"
    train = ["train", "--data", str(tmp_path), "--recipe", recipe, "--name", "my-own", "--device", "cpu"]
    assert cli.main([*train, "--out", str(out)]) == 0
    program, *words = shlex.split(capsys.readouterr().out.partition("draw with it: ")[2])
    assert program == "fcbench"
    assert cli.main(words) == 0
    told = ("fastcomposer", "fastcomposer@my-own", str(out / "checkpoints" / "my-own"))
    assert drawn == ([(1, "mini", *told), (2, "mini", *told)] if recipe == "mini" else [(1, "celeba", *told)])
