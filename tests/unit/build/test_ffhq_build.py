"""A tree as FFHQ's, built whole: its split, its terms, and whether its faces lie in the people that have a phrase."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from fcbench import cli
from fcbench.build.rows import Row, Rows
from fcbench.files import read_json
from fcbench.masks import decode_mask, encode_mask
from fcbench.store import DataFolder, data_folder
from fcbench.types import Mask
from tests.toys.build_toys import stack_file
from tests.unit.build.test_sources import entry, png

SIDE, SHRUNK = 128, 64
FACE = (20, 10, 60, 50)
INSIDE = ((30.0, 20.0), (50.0, 20.0), (40.0, 32.0), (34.0, 42.0), (46.0, 42.0))


def box(x1: int, y1: int, x2: int, y2: int) -> Mask:
    mask = np.zeros((SIDE, SIDE), bool)
    mask[y1:y2, x1:x2] = True
    return mask


LEFT, RIGHT = box(0, 0, 64, SIDE), box(64, 0, SIDE, SIDE)


@dataclass(frozen=True)
class Known:
    """A photo's caption, its segments by label, the face that the list knows, and whether a named person has it."""

    caption: str
    people: Sequence[tuple[str, Mask]]
    held: bool
    face: tuple[int, int, int, int] = FACE
    landmarks: Sequence[tuple[float, float]] = INSIDE
    category: str = "training"


PHOTOS = {
    0: Known("a man", [("person", LEFT)], True),
    1: Known("a man", [("person", RIGHT)], False),
    2: Known("a man and a woman", [("person", RIGHT), ("person", LEFT)], True),
    3: Known("a man and a dog", [("dog", LEFT), ("person", RIGHT)], False),
    4: Known("a woman", [("person", LEFT)], False, landmarks=[*INSIDE[:4], (70.0, 42.0)]),  # four of five: below 90 %
    5: Known("a woman", [("person", box(0, 0, 38, SIDE))], False),  # its middle lies at 40
    7: Known("a man", [("person", RIGHT)], True, (80, 10, 120, 50), [(x + 60, y) for x, y in INSIDE], "validation"),
}
"""By number; 6 is listed and not there."""


@pytest.fixture
def built(tmp_path: Path) -> DataFolder:
    root, listed = tmp_path / "ffhq", {}
    (root / "in-the-wild-images" / "00000").mkdir(parents=True)
    for number, known in {**PHOTOS, 6: PHOTOS[0]}.items():
        data = png(np.full((SIDE, SIDE, 3), 30 * number, np.uint8))
        told = entry(number, data, face_rect=list(known.face), face_landmarks=[list(spot) for spot in known.landmarks])
        listed[str(number)] = told | {"category": known.category}
        if number == 6:
            continue
        stem = root / "in-the-wild-images" / "00000" / f"{number:05d}"
        stem.with_suffix(".png").write_bytes(data)
        people = [{"label": label, "mask": encode_mask(mask)} for label, mask in known.people]
        stem.with_suffix(".json").write_text(json.dumps({"caption": known.caption, "people": people}))
    (root / "ffhq-dataset-v2.json").write_text(json.dumps(listed))
    words = ["--source", "ffhq", "--images", str(root), "--short-side", str(SHRUNK), "--out", str(tmp_path / "out")]
    words += ["--stack", str(stack_file(tmp_path)), "--device", "cpu", "--workers", "1"]
    assert cli.main(["build-data", *words]) == 0
    return data_folder(tmp_path / "out", "ffhq")


def test_the_share_of_faces_that_lie_in_a_named_person_s_mask_is_the_tree_s_truth(
    built: DataFolder, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = {int(row["id"].rpartition("-")[2]): row for split in Rows(built).splits for row in Rows(built).of(split)}
    assert set(rows) == set(PHOTOS)
    assert built.missing.read_text() == "00006\n"
    for number, row in rows.items():
        assert (row["width"], row["height"]) == (SHRUNK, SHRUNK)
        assert row["known_face"] == PHOTOS[number].held == holds(row, PHOTOS[number])
    assert cli.main(["data", "evaluate", "ffhq", "--out", str(built.path.parent.parent)]) == 0
    share, of = 3 / 7, 7
    face = read_json(built.path / "evaluation.json")["face"]
    assert (face["right"], face["of"]) == (3, of)
    lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith("| face |")]
    assert len(lines) == 1
    assert lines[0].startswith(f"| face | {share:.3f} | ")
    assert lines[0].endswith(f"| {of} |")
    assert lines[0] in built.card.read_text()
    words = ["data", "evaluate", "ffhq", "--out", str(built.path.parent.parent), "--at-least"]
    assert cli.main([*words, "face=0.4"]) == 0
    assert cli.main([*words, "face=0.95"]) == 1
    assert capsys.readouterr().err == "face: 0.429 is below 0.95\n"
    for given in ("face", "face=95", "face=nan"):
        assert cli.main([*words, given]) == 2
        assert f"--at-least {given}: a figure and its least share from 0 to 1" in capsys.readouterr().err


def holds(row: Row, known: Known) -> bool:
    """Whether a person who has a phrase has the middle of the face and nine tenths of its landmarks."""
    scale = SHRUNK / SIDE
    spots = [((known.face[0] + known.face[2]) / 2, (known.face[1] + known.face[3]) / 2), *known.landmarks]
    for segment in row["segments"]:
        if segment["label"] == "person" and segment["phrase"] is not None:
            mask = decode_mask(segment["rle"])
            middle, *inside = [bool(mask[int(y * scale), int(x * scale)]) for x, y in spots]
            if middle and sum(inside) >= 0.9 * len(inside):
                return True
    return False


def test_its_own_split_and_terms_are_kept(built: DataFolder) -> None:
    told = read_json(built.build)
    assert (told["counts"]["inputs"], told["counts"]["accepted"]) == (7, 7)
    assert told["recipe"]["missing"] == "00006"
    assert told["licences"] == {"Attribution License": 7}
    splits = {split: {row["id"] for row in Rows(built).of(split)} for split in Rows(built).splits}
    assert splits["train"] == {f"ffhq-{number:05d}" for number in PHOTOS if number != 7}
    assert {name for split, names in splits.items() if split != "train" for name in names} == {"ffhq-00007"}
    assert "@inproceedings{karras2019style," in built.card.read_text()
