"""``--max-broken``: a build of which too much is broken is written, and its exit code says so."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from fcbench import cli
from fcbench.files import write_image
from fcbench.masks import encode_mask
from fcbench.store import data_folder
from tests.toys.build_toys import stack_file


@pytest.fixture
def words(tmp_path: Path) -> list[str]:
    """The command for four photos: two that are good, one that is cut short, one of a licence that is not asked for."""
    images = tmp_path / "images"
    for number, licence in enumerate(("CC-BY-4.0", "CC-BY-4.0", "CC-BY-4.0", "CC-BY-NC-4.0")):
        write_image(images / f"{number}.png", np.full((64, 64, 3), 40 * number, np.uint8))
        people = [{"mask": encode_mask(np.ones((64, 64), bool))}]
        told = {"caption": "a man", "people": people, "licence": {"licence": licence}}
        (images / f"{number}.json").write_text(json.dumps(told))
    (images / "2.png").write_bytes((images / "2.png").read_bytes()[:-30])
    place = ["--source", "folder", "--images", str(images), "--name", "own", "--licences", "by"]
    stack = ["--stack", str(stack_file(tmp_path)), "--device", "cpu", "--workers", "1"]
    return ["build-data", *place, *stack, "--out", str(tmp_path / "out")]


@pytest.mark.parametrize(("given", "code"), [(["0.25"], 0), (["0.24"], 1), ([], 1), (["0"], 1), (["1"], 0)])
def test_the_exit_code_tells_whether_too_many_photos_are_broken(
    given: list[str], code: int, words: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = data_folder(tmp_path / "out", "own")
    for _ in range(2):  # a build that is there already is not better for it
        assert cli.main([*words, *(["--max-broken", *given] if given else [])]) == code
        told = capsys.readouterr()
        assert told.out.startswith(
            f"{folder.path}: 2 of 4 photos, rejected: 1 truncated, 1 licence_excluded; duplicates: 0; "
        )
        line = f"fcbench: 25.0% of the photos are broken: see {folder.rejects}"
        assert (line in told.err.splitlines()) == bool(code)
        assert folder.build.exists()


def test_without_a_broken_photo_nothing_is_too_much(
    words: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "images" / "2.png").unlink()
    assert cli.main([*words, "--max-broken", "0"]) == 0
    told = capsys.readouterr()
    assert "2 of 3 photos, rejected: 1 licence_excluded" in told.out
    assert "are broken" not in told.err
