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
from fcbench.build.records import Item, Photo, Reject
from fcbench.build.scorer import BATCH, TAKEN, score
from fcbench.build.screen import Screen
from fcbench.build.steps import Step, steps_of
from fcbench.build.write import FEATURES
from fcbench.errors import FcbenchError
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


def loaded(folder: DataFolder, cache: Path, *config: str, **more: Any) -> list[dict[str, Any]]:
    """The rows of the split train, with a cache of its own: that of the user knows datasets by their names alone."""
    rows: list[dict[str, Any]] = load_dataset(
        str(folder.path), *config, split="train", cache_dir=str(cache), **more
    ).to_list()
    return rows


def test_its_columns_are_the_photos_own_and_can_be_filtered_by(built: DataFolder, tmp_path: Path) -> None:
    rows = loaded(built, tmp_path)
    assert rows
    for row in rows:
        assert row["light"] == pytest.approx(read_image(built.photo(row["id"])).mean(), abs=1e-3)
        assert row["letters"] == len(row["caption"])
    middle = float(np.median([row["light"] for row in rows]))
    light = loaded(built, tmp_path, filters=[("light", ">=", middle)])
    assert [row["id"] for row in light] == [row["id"] for row in rows if row["light"] >= middle]
    assert 0 < len(light) < len(rows)
    beside = loaded(built, tmp_path, "annotations")
    assert [row["light"] for row in beside] == [row["light"] for row in rows]


def test_what_is_told_of_the_build_names_them(built: DataFolder) -> None:
    told = read_json(built.build)
    assert told["scored"] == ["letters", "light"]
    assert told["models"]["scorer"] == "s1"
    assert "`min_face_pixels` and, by the scorer, `letters`, `light` are" in built.card.read_text()


def test_an_imagefolder_has_them_too(built: DataFolder, tmp_path: Path) -> None:
    export(built, "imagefolder", tmp_path / "pictures")
    rows = parquet.read_table(tmp_path / "pictures" / "train" / "metadata.parquet").to_pylist()
    own = {row["id"]: row["light"] for row in loaded(built, tmp_path / "cache")}
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


class Picky:
    """Scores every second photo, and fails where there is none."""

    def scores(self, images: Sequence[Image], captions: Sequence[str]) -> list[dict[str, float]]:
        light = np.stack(images).mean(axis=(1, 2, 3))
        return [{"light": float(value)} if place % 2 else {} for place, value in enumerate(light)]


def test_rejects_pass_and_a_scorer_is_never_asked_of_no_photo(tmp_path: Path) -> None:
    rejects = [Reject(f"r{number:03d}", "takedown", "screen", "listed") for number in range(BATCH + 1)]
    photos = [photo(tmp_path, name, None, GOOD) for name in ("a", "b")]
    items: list[Item] = [*rejects[:-1], photos[0], rejects[-1], photos[1]]
    step = next(step for step in steps_of(Screen(), ("scorer",)) if step.name == "score")
    stack = Stack("picky", {"scorer": Picky}, 64)
    done = list(step(items, stack, lambda count, seconds: None))
    assert [item.id for item in done] == [item.id for item in items]
    assert [item for item in done if isinstance(item, Reject)] == rejects
    scored = [item for item in done if isinstance(item, Photo)]
    assert [item.scores.get("light") for item in scored] == [None, 90.0]
    assert all(item.flags == () for item in scored)


def test_the_names_that_are_taken_are_all_columns_that_there_are() -> None:
    assert FEATURES.keys() | {"file_name", "segmap_file_name"} == TAKEN


@pytest.mark.parametrize(
    ("answers", "told"),
    [
        ([], "0 answers for 1 photos"),
        ([{"a": float("nan")}], "'a': nan"),
        ([{"not a name": 1.0}], "'not a name': 1.0"),
        ([{"sharpness": 1.0, "file_name": 2.0, "mine": 3.0}], "columns file_name, sharpness are the dataset's own"),
        ([{"a": 1e39}], "'a': 1e\\+39"),
        ([{"a": None}], "'a': None"),
    ],
)
def test_an_answer_that_is_no_column_of_numbers_is_refused(
    answers: list[dict[str, Any]], told: str, tmp_path: Path
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


def test_a_small_number_stays_what_it_is(tmp_path: Path) -> None:
    (scored,) = score([photo(tmp_path, "one", None, GOOD)], Same({"tiny": 3e-6}))
    assert isinstance(scored, Photo)
    assert scored.scores["tiny"] == pytest.approx(3e-6)
