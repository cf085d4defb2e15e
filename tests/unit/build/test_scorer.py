"""Columns by a scorer of one's own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as parquet
import pytest
from datasets import load_dataset

from fcbench.build import build_data
from fcbench.build import shard as shard_module
from fcbench.build.export import export
from fcbench.build.scorer import score
from fcbench.build.steps import Step
from fcbench.errors import FcbenchError, UsageError
from fcbench.files import read_json
from fcbench.images import read_image
from fcbench.stacks.clip_score import ClipScore
from fcbench.store import DataFolder, data_folder
from fcbench.types import Image, Stack
from tests.unit.build.conftest import HashMatcher
from tests.unit.build.test_quality import GOOD, photo

PHOTOS = 40


class Brightness:
    """Two columns: the picture's mean, and the caption's letters."""

    def scores(self, images: Sequence[Image], captions: Sequence[str]) -> list[dict[str, float]]:
        pairs = zip(images, captions, strict=True)
        return [{"light": float(image.mean()), "letters": float(len(caption))} for image, caption in pairs]


class Fixed:
    """Whatever it is given, for every photo."""

    def __init__(self, answers: Sequence[Mapping[str, float]]) -> None:
        self.answers = answers

    def scores(self, images: Sequence[Image], captions: Sequence[str]) -> list[dict[str, float]]:
        return [dict(answer) for answer in self.answers]


class Same:
    """One answer for each photo."""

    def __init__(self, answer: Mapping[str, float]) -> None:
        self.answer = answer

    def scores(self, images: Sequence[Image], captions: Sequence[str]) -> list[dict[str, float]]:
        return [dict(self.answer) for _ in images]


def with_scorer(stack: Stack, scorer: Any, digest: str = "s1") -> Stack:
    loaders, digests = {**stack.load, "scorer": lambda: scorer}, {**stack.digests, "scorer": digest}
    return Stack(stack.name, loaders, stack.image_size, digests=digests)


@pytest.fixture(scope="module")
def built(stack: Stack, tmp_path_factory: pytest.TempPathFactory) -> DataFolder:
    out = tmp_path_factory.mktemp("scored")
    build_data(out, photos=PHOTOS, stack=with_scorer(stack, Brightness()), progress=None)
    return data_folder(out, "world")


def test_its_columns_are_the_photos_own_and_can_be_filtered_by(built: DataFolder) -> None:
    rows = load_dataset(str(built.path), split="train").to_list()
    assert rows
    for row in rows:
        assert row["light"] == pytest.approx(read_image(built.photo(row["id"])).mean(), abs=1e-3)
        assert row["letters"] == len(row["caption"])
    middle = float(np.median([row["light"] for row in rows]))
    light = load_dataset(str(built.path), split="train", filters=[("light", ">=", middle)]).to_list()
    assert [row["id"] for row in light] == [row["id"] for row in rows if row["light"] >= middle]
    assert 0 < len(light) < len(rows)
    beside = load_dataset(str(built.path), "annotations", split="train").to_list()
    assert [row["light"] for row in beside] == [row["light"] for row in rows]


def test_what_is_told_of_the_build_names_them(built: DataFolder) -> None:
    told = read_json(built.build)
    assert told["scored"] == ["letters", "light"]
    assert told["models"]["scorer"] == "s1"
    assert "`min_face_pixels`, `letters` by the scorer, `light` by the scorer are" in built.card.read_text()


def test_an_imagefolder_has_them_too(built: DataFolder, tmp_path: Path) -> None:
    export(built, "imagefolder", tmp_path / "pictures")
    rows = parquet.read_table(tmp_path / "pictures" / "train" / "metadata.parquet").to_pylist()
    own = {row["id"]: row["light"] for row in load_dataset(str(built.path), split="train").to_list()}
    assert {row["id"]: row["light"] for row in rows} == own


def test_another_scorer_runs_nothing_else(stack: Stack, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ran: list[str] = []
    run = shard_module._run

    def counted(step: Step, *rest: Any) -> Any:
        ran.append(step.name)
        return run(step, *rest)

    build_data(tmp_path, photos=PHOTOS, stack=with_scorer(stack, Brightness()), progress=None)
    monkeypatch.setattr(shard_module, "_run", counted)
    other = with_scorer(stack, Same({"liked": 1.0}), digest="s2")
    build_data(tmp_path, photos=PHOTOS, stack=other, update=True, progress=None)
    assert ran == ["score"]
    names = parquet.read_schema(data_folder(tmp_path, "world").shards("train")[0]).names
    assert "liked" in names
    assert not {"light", "letters"} & set(names)
    ran.clear()
    build_data(tmp_path, photos=PHOTOS, stack=stack, update=True, progress=None)
    assert ran == []
    assert "liked" not in parquet.read_schema(data_folder(tmp_path, "world").shards("train")[0]).names


def test_a_column_that_is_there_already_is_refused(stack: Stack, tmp_path: Path) -> None:
    taken = with_scorer(stack, Same({"caption": 1.0, "phash": 2.0, "mine": 3.0}))
    with pytest.raises(UsageError, match="the scorer's columns caption, phash are the dataset's own"):
        build_data(tmp_path, photos=20, stack=taken, progress=None)


@pytest.mark.parametrize(
    ("answers", "told"),
    [
        ([], "0 answers for 1 photos"),
        ([{"a": float("nan")}], "'a': nan"),
        ([{"not a name": 1.0}], "'not a name': 1.0"),
        ([{"sharpness": 1.0}], "sharpness is the dataset's own"),
    ],
)
def test_an_answer_that_is_no_column_of_numbers_is_refused(
    answers: list[dict[str, float]], told: str, tmp_path: Path
) -> None:
    with pytest.raises(FcbenchError, match=told):
        list(score([photo(tmp_path, "one", None, GOOD)], Fixed(answers)))


def test_clip_score_is_the_cosine_of_picture_and_caption() -> None:
    clip = HashMatcher()
    images = [np.full((8, 8, 3), value, np.uint8) for value in (10, 200)]
    captions = ["a man", "a woman in the snow"]
    found = ClipScore(clip).scores(images, captions)  # type: ignore[arg-type]
    seen, read = clip.image_features(images), clip.text_features(captions)
    expected = [float(np.dot(*pair)) for pair in zip(seen, read, strict=True)]
    assert [row["clip_score"] for row in found] == pytest.approx(expected, abs=1e-6)
    assert all(set(row) == {"clip_score"} for row in found)
    assert found[0] != found[1]
