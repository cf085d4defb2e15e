"""The miniature's checkpoint as an official file, from the command line: converted, drawn with, converted back."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from fcbench import cli

pytestmark = pytest.mark.weights

OURS = Path(cli.__file__).parents[1] / "stacks" / "mini" / "fastcomposer"
SUITE = """
name: one
stack: mini
subjects: {source: world, first: 1001000, count: 1, photos: 1}
group: 1
prompts: [{id: snow, kind: context, text: "{} in the snow"}]
seeds: [0]
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working folder, with official/pytorch_model.bin and a suite of one case."""
    monkeypatch.chdir(tmp_path)
    Path("one.yaml").write_text(SUITE)
    assert cli.main(["checkpoint", "convert", str(OURS), "official", "--stack", "mini"]) == 0
    return tmp_path


def test_the_command_converts_there_and_back(folder: Path) -> None:
    for source, target in (("official", "ours"), ("ours", "back.bin")):
        assert cli.main(["checkpoint", "convert", source, target, "--stack", "mini"]) == 0
    one, two = (torch.load(file, weights_only=True) for file in ("official/pytorch_model.bin", "back.bin"))
    assert list(one) == list(two)
    assert all(one[name].dtype == two[name].dtype and torch.equal(one[name], two[name]) for name in one)


def test_pictures_from_the_official_file_are_those_from_our_folder(folder: Path) -> None:
    draw = ["run", "--suite", "one.yaml", "--method", "fastcomposer", "--set", "steps=2", "--device", "cpu"]
    assert cli.main(draw) == 0
    assert cli.main([*draw, "--checkpoint", "official/pytorch_model.bin", "--variant", "official"]) == 0
    own, official = (
        [file.read_bytes() for file in sorted(Path("out/runs/one", label, "images").glob("*.png"))]
        for label in ("fastcomposer", "fastcomposer@official")
    )
    assert len(own) == 1
    assert own == official


def test_a_checkpoint_cut_short_stops_the_run_with_one_line(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    whole = Path("official/pytorch_model.bin")
    Path("cut.bin").write_bytes(whole.read_bytes()[: whole.stat().st_size // 2])
    draw = ["run", "--suite", "one.yaml", "--method", "fastcomposer", "--device", "cpu", "--checkpoint", "cut.bin"]
    assert cli.main(draw) == 1
    assert capsys.readouterr().err.splitlines()[-1].startswith("fcbench: cut.bin: cut short")
