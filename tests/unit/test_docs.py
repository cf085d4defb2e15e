"""What the pages tell a reader to type or to save works, and is in the packages."""

from __future__ import annotations

import re
import shlex
import sys
import tarfile
import tomllib
from inspect import signature
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pyarrow
import pyarrow.parquet as parquet
import pytest
import yaml

from fcbench import cli, plugins, run, store
from fcbench.build.records import Photo
from fcbench.build.segment import segment
from fcbench.build.source import open_source
from fcbench.config import Recipe, load_suites, load_yaml
from fcbench.fastcomposer.shares import share_of
from fcbench.files import write_image
from fcbench.score import chosen_metrics, score_run
from fcbench.stacks.loading import find_class
from fcbench.stacks.presence import RoleSpec
from fcbench.stacks.sam import load_sam
from fcbench.testing import check_method, check_metric
from fcbench.types import ROLES, Prompt, Score, Stack, Subject
from tests.unit.fake_runs import cases, fake_run, subjects

ROOT = Path(__file__).parents[2]
TOYS = ROOT / "tests" / "toys"
METHODS, METRICS, SUITES, DATA, TRAIN = (
    ROOT / "docs" / f"{page}.md" for page in ("methods", "metrics", "suites", "build-data", "train")
)
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())


def blocks(page: Path, language: str) -> list[str]:
    found = re.findall(r"^```(\w*)\n(.*?)^```$", page.read_text(), re.MULTILINE | re.DOTALL)
    return [text for kind, text in found if kind == language]


def commands(page: Path, verb: str) -> list[list[str]]:
    lines = [line for block in blocks(page, "") for line in block.splitlines()]
    return [shlex.split(line)[1:] for line in lines if line.startswith(f"fcbench {verb}")]


@pytest.fixture
def people(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Subject, Subject]:
    """The working folder of the pages: photos of ann and bo."""
    monkeypatch.chdir(tmp_path)
    files = {name: tuple(tmp_path / "photos" / name / f"{number}.png" for number in range(5)) for name in ("ann", "bo")}
    for shade, (name, paths) in enumerate(files.items()):
        (tmp_path / "photos" / name).mkdir(parents=True)
        for path in paths:
            write_image(path, np.full((12, 8, 3), 60 + 100 * shade, np.uint8))
    return Subject("ann", "woman", files["ann"]), Subject("bo", "man", files["bo"])


@pytest.fixture
def my_module(people: tuple[Subject, Subject], monkeypatch: pytest.MonkeyPatch) -> None:
    """The page's method, saved in the working folder."""
    Path("my_module.py").write_text(blocks(METHODS, "python")[0])
    monkeypatch.setattr(sys, "path", [*sys.path, str(Path.cwd())])
    monkeypatch.delitem(sys.modules, "my_module", raising=False)


@pytest.mark.usefixtures("my_module")
def test_the_method_on_the_page_keeps_the_contract(people: tuple[Subject, Subject], tmp_path: Path) -> None:
    method = plugins.load("methods", "my_module:MyMethod", {"strength": "20"})
    stack = Stack("none", {}, image_size=16)
    check_method(method, stack, people, tmp_path / "work")
    snow = Prompt("snow", "{} in the snow", "context")
    dark, light = (method.fit(stack, [person], seed=0, workdir=tmp_path) for person in people)
    pictures = [sampler([snow], [1])[0].mean() for sampler in (dark, light)]
    assert pictures[1] - pictures[0] > 50


@pytest.mark.usefixtures("my_module")
def test_the_method_on_the_page_runs_from_the_working_folder_as_told(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.syspath_prepend(TOYS)
    start = run.START.replace("from fcbench", "import run_toys; run_toys.install_stack(); from fcbench", 1)
    monkeypatch.setattr(run, "START", start)
    nouns = {"ann": "woman", "bo": "man"}
    prompts = [{"id": "snow", "kind": "context", "text": "{} in the snow"}]
    subjects = {"source": "folder", "path": "photos", "nouns": nouns}
    Path("toy.yaml").write_text(yaml.safe_dump({"name": "toy", "subjects": subjects, "prompts": prompts}))
    asked = commands(METHODS, "run --method my_module:MyMethod")
    assert len(asked) == 2
    for words in asked:
        assert cli.main([*words, "--suite", "toy.yaml", "--device", "cpu"]) == 0, capsys.readouterr().err
    assert [folder.label for folder in store.runs_of(Path("out"), "toy")] == ["MyMethod", "MyMethod@strong"]
    assert [len(folder.generations()) for folder in store.runs_of(Path("out"), "toy")] == [2, 2]


def test_the_metric_on_the_page_keeps_the_contract_and_is_scored_as_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path, str(tmp_path)])
    Path("my_metrics.py").write_text(blocks(METRICS, "python")[0])
    (words,) = commands(METRICS, "score")
    metric = chosen_metrics(words[words.index("--metric") + 1 :])["colourfulness"]
    folder = fake_run(tmp_path, "mini-single", "method", cases(subjects(tmp_path, "mini-single", 2)))
    write_image(folder.generations()[0].image, np.full((64, 64, 3), 7, np.uint8))
    stack = Stack("none", {}, image_size=64)
    check_metric(metric, stack, folder.generations())
    score_run(folder, stack, {"colourfulness": metric})
    rows = folder.read_scores("colourfulness")[1]
    grey = rows[folder.generations()[0].case.id]
    assert grey == {"colourfulness": Score(0.0), "warmth": Score(None, "the picture is grey")}
    assert len({row["colourfulness"].value for row in rows.values()}) > 1


@pytest.mark.usefixtures("people")
def test_the_commands_on_the_page_of_suites_make_and_check_and_name_one(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (prompts,) = blocks(SUITES, "yaml")
    Path("prompts.yaml").write_text(prompts)
    asked = commands(SUITES, "suite")
    assert [words[1] for words in asked] == ["new", "new", "check", "show"]
    for words in asked:
        assert cli.main(words) == 0, capsys.readouterr().err
    assert "friends-single: nothing is missing" in capsys.readouterr().out
    (singles,), (pairs,) = load_suites("friends-single.yaml"), load_suites("friends-pair.yaml")
    assert (singles.groups, singles.group, len(singles.seeds), singles.stack) == (2, 1, 4, "sd15")
    assert (pairs.groups, pairs.group) == (1, 2)
    drawn: list[tuple[str, str]] = []

    def drawing(plan: object, method: str, **options: object) -> SimpleNamespace:
        drawn.append((getattr(plan, "name", ""), method))
        return SimpleNamespace(failed=0)

    monkeypatch.setattr("fcbench.run.run_suite", drawing)
    for words in commands(SUITES, "run"):
        assert cli.main(words) == 0, capsys.readouterr().err
    assert drawn == [("friends-single", "fastcomposer"), ("friends-single", "stable-diffusion")]
    assert commands(SUITES, "report") == [["report", "--suite", "friends-single"]]
    assert store.suites_with_runs(Path("out")) == ["friends-single"]


def taken(kind: str, images: Path, data: Path) -> Photo:
    """The one photo of a source, with its segments."""
    source = open_source(kind, photos=0, seed=0, size=64, images=images)
    (item,) = segment(source.ingest(store.DataFolder(data), range(len(source))))
    assert isinstance(item, Photo), item
    return item


@pytest.mark.parametrize("kind", ["folder", "webdataset"])
def test_the_photo_on_the_page_of_data_brings_caption_people_and_terms(kind: str, tmp_path: Path) -> None:
    (told,) = blocks(DATA, "json")
    images = tmp_path / "photos"
    write_image(images / "IMG_1.png", np.full((480, 640, 3), 90, np.uint8))
    (images / "IMG_1.json").write_text(told, encoding="utf-8")
    (images / "IMG_1.txt").write_text("overruled")
    if kind == "webdataset":
        with tarfile.open(images / "0.tar", "w") as archive:
            for file in sorted(images.glob("IMG_1.*")):
                archive.add(file, file.name)
    photo = taken(kind, images, tmp_path / "data")
    assert photo.sidecar.caption == "a woman and a man on a beach"
    assert [(s.person_id, s.label, s.bbox) for s in photo.segments] == [
        ("ann", "person", (40, 0, 290, 480)), ("bo", "person", (310, 0, 600, 480))
    ]  # fmt: skip
    licence = photo.sidecar.licence
    assert (licence.author, licence.licence, licence.source) == ("Zoë", "CC-BY-4.0", "https://example.org/photos/1")
    assert (photo.sidecar.group, photo.sidecar.split) == ("the-sea", "train")


def test_the_columns_on_the_page_of_data_are_read_out_of_a_table(tmp_path: Path) -> None:
    rows = re.findall(r"^\| (picture|caption|terms) \| ([^:\n]*)", DATA.read_text(), re.MULTILINE)
    columns = {what: re.findall(r"`(\w+)`", names) for what, names in rows}
    file = tmp_path / "1.png"
    write_image(file, np.full((80, 80, 3), 90, np.uint8))
    for picture in columns["picture"]:
        for caption in columns["caption"]:
            given = {picture: file.read_bytes(), caption: "a woman", **{term: term for term in columns["terms"]}}
            place = tmp_path / f"{picture}-{caption}"
            place.mkdir()
            parquet.write_table(pyarrow.table({name: [value] for name, value in given.items()}), place / "0.parquet")
            source = open_source("parquet", photos=0, seed=0, size=64, images=place)
            (item,) = source.ingest(store.DataFolder(tmp_path / "data" / place.name), range(1))
            assert isinstance(item, Photo), item
            assert item.sidecar.caption == "a woman"
            assert {getattr(item.sidecar.licence, term) for term in columns["terms"]} == set(columns["terms"])


def test_the_models_on_the_page_of_data_are_named_by_keys_that_their_loaders_take() -> None:
    told = [yaml.safe_load(block) for block in blocks(DATA, "yaml")]
    assert [list(roles) for roles in told] == [["segmenter"], ["segmenter"], ["matcher"], ["scorer"]]
    for roles in told:
        for role, described in roles.items():
            assert role in ROLES
            part = RoleSpec.model_validate(described)
            assert part.path or part.hub
            signature(find_class(part.class_)).bind("place", **(part.model_extra or {}))
    assert told[0]["segmenter"]["labels"] == list(signature(load_sam).parameters["labels"].default)


def test_the_commands_on_the_page_of_training_train_with_the_page_s_recipe_and_the_shipped_ones(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (own,) = blocks(TRAIN, "yaml")
    Path("own.yaml").write_text(own)
    trained: list[tuple[str, str, float]] = []

    def training(data: Path, checkpoint: Path, stack: Stack, recipe: Recipe) -> None:
        trained.append((recipe.name, recipe.start, recipe.learning_rate))

    monkeypatch.setattr("fcbench.fastcomposer.train.train", training)
    for words in commands(TRAIN, "train"):
        assert cli.main([*words, "--device", "cpu"]) == 0, capsys.readouterr().err
    assert trained == [(name, "mit-han-lab/fastcomposer", rate) for name, rate in (("own", 5e-6), ("sd15-more", 1e-5))]


def test_the_page_of_training_names_keys_of_a_recipe_and_numbers_that_share_out_a_batch() -> None:
    text = TRAIN.read_text()
    keys = re.findall(r"^\| (`.+?`) \|", text.partition("## A recipe")[2].partition("\n## ")[0], re.MULTILINE)
    named = {key for cell in keys for key in re.findall(r"`(\w+)`", cell)}
    assert named <= set(Recipe.model_fields)
    assert {"accumulation", "start", "validate_every"} <= named
    rows = [tuple(map(int, row)) for row in re.findall(r"^\| (\d+) \| (\d+) \| (\d+) \|$", text, re.MULTILINE)]
    paper = load_yaml("paper", Recipe, "recipes")
    assert {gpus for gpus, *_ in rows} == {1, 2, 4, 8}
    for gpus, accumulation, share in rows:
        assert share_of(paper.model_copy(update={"accumulation": accumulation}), gpus) == share


def test_the_page_of_training_names_the_checkpoints_that_its_recipe_keeps_on_the_way() -> None:
    recipe = load_yaml("sd15-more", Recipe, "recipes")
    *rest, last = [str(step) for step in range(recipe.save_every, recipe.steps, recipe.save_every)][-recipe.keep :]
    assert f"the checkpoints of steps {', '.join(rest)} and {last}, to be judged beside the last" in TRAIN.read_text()


def anchors(page: Path) -> set[str]:
    """What GitHub calls the headings of a page."""
    prose = re.sub(r"^```.*?^```$", "", page.read_text(), flags=re.MULTILINE | re.DOTALL)
    titles = re.findall(r"^#+ (.+)$", prose, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


def test_every_page_and_heading_that_a_page_links_to_is_there() -> None:
    links = 0
    for page in (*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md"), *ROOT.glob("[br]*/README.md")):
        for link, heading in re.findall(r"\]\((?!https?:)([^)#\s]*)#?([^)]*)\)", page.read_text()):
            target = page.parent / link if link else page
            assert target.exists(), f"{page.name}: {link}"
            assert not heading or heading in anchors(target), f"{page.name}: {link}#{heading}"
            links += 1
    assert links > 50


def test_the_packages_hold_the_pages_and_the_wheel_no_picture_of_them() -> None:
    targets = PROJECT["tool"]["hatch"]["build"]["targets"]
    wheel = targets["wheel"]
    assert set(wheel["only-include"]) - set(wheel["sources"]) == {"fcbench", "baselines"}
    assert wheel["sources"] == {name: f"fcbench/_data/{name}" for name in ("datasets", "reports", "docs")}
    kept = {path.name for path in (ROOT / "docs").iterdir()} - {
        path.name for pattern in wheel["exclude"] for path in ROOT.glob(pattern.lstrip("/"))
    }
    assert kept == {path.name for path in (ROOT / "docs").glob("*.md")}
    sdist = targets["sdist"]["include"]
    assert {"/docs", "/benchmarks", "/Makefile", "/CITATION.cff"} <= set(sdist)
    for pattern in sdist:
        assert list(ROOT.glob(pattern.lstrip("/"))), pattern


def test_the_citation_is_of_this_version_and_names_the_paper() -> None:
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert citation["title"] == PROJECT["project"]["name"]
    assert citation["version"] == PROJECT["project"]["version"]
    assert citation["license"] == PROJECT["project"]["license"]
    (paper,) = citation["references"]
    assert paper["identifiers"][0]["value"] == "arXiv:2305.10431"
    assert paper["title"] in " ".join((ROOT / "README.md").read_text().split())


def test_the_readme_names_every_extra_and_the_oldest_python() -> None:
    readme = (ROOT / "README.md").read_text()
    told = re.findall(r"^\| `(\w+)` \|", readme, re.MULTILINE)
    assert set(told) == set(PROJECT["project"]["optional-dependencies"])
    oldest = PROJECT["project"]["requires-python"].removeprefix(">=")
    assert f"Python {oldest} (tested) or" in readme


def test_the_help_of_score_says_where_its_page_lies(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["score", "--help"]) == 0
    told = " ".join(capsys.readouterr().out.split())
    assert "fcbench/_data/docs/pictures.md" in told
    assert (ROOT / "docs" / "pictures.md").exists()
