"""The command ``build-data``: what it is told, refuses, and passes on."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

from fcbench import cli
from fcbench.build.rows import Rows
from fcbench.store import data_folder


@pytest.mark.parametrize(
    ("given", "name"), [([], "world"), (["--source", "PHOTOS"], "album"), (["--source", "PHOTOS", "--name", "b"], "b")]
)
def test_a_dataset_is_called_after_its_source(
    given: list[str], name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "album").mkdir()
    Image.new("RGB", (64, 64)).save(tmp_path / "album" / "a.png")
    arguments = [str(tmp_path / "album") if part == "PHOTOS" else part for part in given]
    assert cli.main(["build-data", "--plan", *arguments, "--out", str(tmp_path / "out")]) == 0
    assert f"under {tmp_path / 'out' / 'data' / name}," in capsys.readouterr().out


@pytest.mark.parametrize(
    ("given", "told"),
    [
        (["--name", "../x"], "--name ../x: a name, not a path"),
        (["--name", ".."], "--name ..: a name, not a path"),
        (["--update", "--shards", "1/2"], "--update takes over the whole dataset: give it without --shards"),
        (["--retry", "oom", "--shards", "1/2"], "--retry takes over the whole dataset: give it without --shards"),
    ],
)
def test_a_build_that_would_land_elsewhere_or_halves_an_update_is_refused(
    given: list[str], told: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["build-data", *given, "--out", str(tmp_path / "out")]) == 2
    assert told in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_what_is_excluded_and_not_there_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    listed, out = tmp_path / "down.txt", str(tmp_path / "out")
    listed.write_text("000000003\nfcbench.world, seed 0, photo 3\n000000004.png\n# 000000005\n")
    arguments = ["build-data", "--photos", "6", "--workers", "1", "--out", out, "--exclude", str(listed)]
    assert cli.main(arguments) == 0
    lines = [line for line in capsys.readouterr().err.splitlines() if "takes no photo out" in line]
    assert lines == [f"fcbench: {listed}: '000000004.png' takes no photo out: none that was taken in is called so"]


def test_a_page_of_a_dataset_that_is_not_there_says_how_to_make_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["data", "show", "faces", "--out", str(tmp_path)]) == 2
    assert "no data/*.parquet there; make it with: fcbench build-data" in capsys.readouterr().err


def test_a_seed_draws_other_people_and_is_in_the_command_that_takes_photos_out(tmp_path: Path) -> None:
    for seed in (0, 3):
        arguments = ["--photos", "6", "--seed", str(seed), "--name", f"seed-{seed}", "--workers", "1"]
        assert cli.main(["build-data", *arguments, "--device", "cpu", "--out", str(tmp_path)]) == 0
    folders = {seed: data_folder(tmp_path, f"seed-{seed}") for seed in (0, 3)}
    people: list[set[str]] = []
    for seed, folder in folders.items():
        rows = [row for split in Rows(folder).splits for row in Rows(folder).of(split, ("source", "segments"))]
        assert {row["source"].partition(", photo")[0] for row in rows} == {f"fcbench.world, seed {seed}"}
        people.append({segment["person_id"] for row in rows for segment in row["segments"]})
    assert all(people)
    assert not people[0] & people[1]
    assert " --seed 3 " in folders[3].card.read_text()
    assert "--seed" not in folders[0].card.read_text()
