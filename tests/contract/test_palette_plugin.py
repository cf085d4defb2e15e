"""Somebody else's tuned method: installed by pip, found by name, run on single subjects and on a pair."""

from __future__ import annotations

import json
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path
from typing import Any

import pytest
import yaml

from fcbench import cli, plugins, store
from fcbench.testing import check_method
from fcbench.types import Stack, Subject
from tests.toys.tuned_toys import tiny_subjects

PACKAGE = Path(__file__).parent / "palette_plugin"

PEOPLE = {"source": "world", "first": 1_500_000, "count": 3, "photos": 5}
PROMPTS = [{"id": "snow", "kind": "context", "text": "{} in the snow"}]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where pip has put the package."""
    folder = tmp_path_factory.mktemp("palette")
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-index", "--no-deps"]
    subprocess.run([*pip, "--target", str(folder / "site"), str(wheel(folder))], check=True)
    return folder / "site"


def wheel(folder: Path) -> Path:
    """What hatchling would build, which a machine without network may lack."""
    project = tomllib.loads((PACKAGE / "pyproject.toml").read_text())["project"]
    info = f"palette_plugin-{project['version']}.dist-info"
    groups = project["entry-points"].items()
    files = {
        "palette_plugin.py": (PACKAGE / "palette_plugin.py").read_text(),
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {project['name']}\nVersion: {project['version']}\n",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        f"{info}/entry_points.txt": "\n".join(
            f"[{group}]\n" + "\n".join(f"{name} = {value}" for name, value in entries.items())
            for group, entries in groups
        ),
    }
    files[f"{info}/RECORD"] = "".join(f"{name},,\n" for name in [*files, f"{info}/RECORD"])
    path = folder / f"palette_plugin-{project['version']}-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as archive:
        for name, text in files.items():
            archive.writestr(name, text)
    return path


@pytest.fixture(autouse=True)
def _installed(site: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(site)


def suite(folder: Path, name: str, **more: Any) -> str:
    path = folder / f"{name}.yaml"
    path.write_text(yaml.safe_dump({"name": name, "subjects": PEOPLE, "prompts": PROMPTS, **more}))
    return str(path)


def test_it_is_offered_beside_ours() -> None:
    assert {"palette", "stable-diffusion", "dreambooth"} <= set(plugins.names("methods"))


def test_it_keeps_the_contract(tmp_path: Path) -> None:
    subjects: list[Subject] = tiny_subjects(tmp_path)
    stack = Stack("none", {}, image_size=16)
    check_method(plugins.load("methods", "palette", {"strength": "0.9"}), stack, subjects, tmp_path / "work")


@pytest.mark.weights
def test_it_runs_on_single_subjects_and_a_pair_reuses_their_fits(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    singles, pair = suite(tmp_path, "singles"), suite(tmp_path, "pairs", group=2, pairs=2)
    words = ["run", "--method", "palette", "--keep-fits", "--device", "cpu", "--out", str(out)]
    assert cli.main([*words, "--suite", singles]) == 0, capsys.readouterr().err
    costs = {path: path.stat().st_mtime_ns for path in (out / "fits").glob("*/cost.json")}
    assert len(costs) == 3
    assert cli.main([*words, "--suite", pair]) == 0, capsys.readouterr().err
    assert {path: path.stat().st_mtime_ns for path in (out / "fits").glob("*/cost.json")} == costs
    run = store.run_folder(out, "pairs", "palette")
    rows = run.generations()
    assert len(rows) == 2
    alone = {
        row.case.subjects[0].id: row.fit_seconds for row in store.run_folder(out, "singles", "palette").generations()
    }
    for row in rows:
        assert row.fit_seconds >= sum(alone[subject.id] for subject in row.case.subjects)
        assert row.stored_bytes == (run.kept("+".join(s.id for s in row.case.subjects)) / "colour.npy").stat().st_size
    assert json.loads(run.config.read_text())["images_per_subject"] == 5
    prepared = [path for path in (out / "prepared").glob("*/palette-*") if path.is_dir()]
    assert prepared
    assert all(path.with_suffix(".json").exists() for path in prepared)
