from __future__ import annotations

import csv
import io
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from datasets import Image, List, load_dataset

from fcbench.build import build_data, ingest
from fcbench.build.engine import Here, Workers
from fcbench.build.pipeline import job_of
from fcbench.build.progress import Progress
from fcbench.errors import DataError, UsageError
from fcbench.files import write_image
from fcbench.images import read_image
from fcbench.masks import Rle, decode_mask, encode_mask
from fcbench.stacks import load_stack
from fcbench.store import DataFolder, data_folder
from fcbench.types import Stack
from fcbench.world import Scene
from fcbench.world.render import Render, render
from tests.toys.build_toys import stack_file

PHOTOS = 65


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory, stack: Stack) -> DataFolder:
    out = tmp_path_factory.mktemp("out")
    build_data(out, photos=PHOTOS, stack=stack, progress=None)
    return data_folder(out, "world")


def table_bytes(folder: DataFolder) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.path.rglob("*.parquet"))}


def rows_of(folder: DataFolder, cache: Path, **options: Any) -> list[dict[str, Any]]:
    loaded = load_dataset(str(folder.path), cache_dir=str(cache), **options)
    return [row for split in loaded.values() for row in split]


def test_hugging_face_loads_the_folder_without_a_script(built: DataFolder, tmp_path: Path) -> None:
    loaded = load_dataset(str(built.path), cache_dir=str(tmp_path))
    assert set(loaded) == {"train", "validation", "test"}
    assert sum(split.num_rows for split in loaded.values()) == PHOTOS
    train = loaded["train"]
    assert isinstance(train.features["image"], Image)
    assert isinstance(train.features["segments"], List)
    row = train[0]
    original = read_image(built.photo(row["id"]))
    np.testing.assert_array_equal(np.asarray(row["image"]), original)
    sidecar = json.loads(built.sidecar(row["id"]).read_text())
    assert row["caption"] == sidecar["caption"]
    assert [s["person_id"] for s in row["segments"]] == [person["person_id"] for person in sidecar["people"]]


def test_streaming_gives_the_same_rows(built: DataFolder, tmp_path: Path) -> None:
    streamed = rows_of(built, tmp_path, streaming=True)
    loaded = rows_of(built, tmp_path)
    assert [(r["id"], r["caption"], r["segments"]) for r in streamed] == [
        (r["id"], r["caption"], r["segments"]) for r in loaded
    ]


def test_rows_hold_together(built: DataFolder, tmp_path: Path) -> None:
    for row in rows_of(built, tmp_path):
        for phrase in row["noun_phrases"]:
            assert row["caption"][phrase["start"] : phrase["end"]] == phrase["text"]
        for segment in row["segments"]:
            mask = decode_mask(segment["rle"])
            x1, y1, x2, y2 = segment["bbox"]
            assert mask.shape == (row["height"], row["width"]) == (64, 64)
            assert mask.sum() == mask[y1:y2, x1:x2].sum() == segment["area"] > 0
            assert row["noun_phrases"][segment["phrase_index"]]["start"] == segment["start"]
            assert segment["phrase"].split()[-1] in ("man", "woman")
            assert 0 <= segment["match_score"] <= 1
        assert len({segment["start"] for segment in row["segments"]}) == len(row["segments"])


def test_nobody_is_in_two_splits_of_the_world(built: DataFolder, tmp_path: Path) -> None:
    loaded = load_dataset(str(built.path), cache_dir=str(tmp_path))
    people = [{s["person_id"] for row in split for s in row["segments"]} for split in loaded.values()]
    assert sum(map(len, people)) == len(set.union(*people))


def test_build_json_tells_counts_recipe_versions_and_accuracy(built: DataFolder) -> None:
    told = json.loads(built.build.read_text())
    counts = told["counts"]
    assert counts["inputs"] == PHOTOS == counts["accepted"] + sum(counts["rejected"].values())
    assert counts["matching"]["single"]["accuracy"] == 1.0
    assert 0 < counts["matching"]["all"]["accuracy"] < 1
    assert told["recipe"]["matcher"] == "m1"
    assert "spacy" in told["versions"]


def test_the_same_seed_gives_the_same_bytes(built: DataFolder, stack: Stack, tmp_path: Path) -> None:
    build_data(tmp_path, photos=PHOTOS, stack=stack, progress=None)
    again = data_folder(tmp_path, "world")
    assert table_bytes(again) == table_bytes(built)
    assert again.build.read_bytes() == built.build.read_bytes()


def test_a_killed_build_continues_to_the_same_bytes(
    built: DataFolder, stack: Stack, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn = 0

    def counted(scene: Scene, size: int) -> Render:
        nonlocal drawn
        drawn += 1
        if drawn == 31:
            raise KeyboardInterrupt
        return render(scene, size)

    monkeypatch.setattr(ingest, "render", counted)
    with pytest.raises(KeyboardInterrupt):
        build_data(tmp_path, photos=PHOTOS, stack=stack, progress=None)
    folder = data_folder(tmp_path, "world")
    assert not folder.build.exists()
    folder.photo("000000003").write_bytes(b"\x89PNG cut short by a power cut")
    stale = folder.photos / ".000000030.png.abc.tmp"
    stale.touch()
    build_data(tmp_path, photos=PHOTOS, stack=stack, progress=None)
    assert drawn == 31 + (PHOTOS - 30) + 1
    assert not stale.exists()
    assert table_bytes(folder) == table_bytes(built)


def test_a_finished_build_says_so_and_does_nothing(built: DataFolder, stack: Stack) -> None:
    before, told = built.build.stat().st_mtime_ns, io.StringIO()
    counts = build_data(built.path.parent.parent, photos=PHOTOS, stack=stack, progress=told)
    assert "built already" in told.getvalue()
    assert counts.accepted == PHOTOS
    assert built.build.stat().st_mtime_ns == before


def test_another_recipe_in_the_same_folder_is_refused(built: DataFolder, stack: Stack) -> None:
    before = table_bytes(built)
    with pytest.raises(UsageError, match="photos 65 there, 64 asked, seed 0 there, 1 asked"):
        build_data(built.path.parent.parent, photos=64, seed=1, stack=stack, progress=None)
    assert table_bytes(built) == before


@pytest.mark.parametrize(("seed", "size"), [(1, 64), (0, 32)])
def test_an_update_to_another_seed_or_size_draws_all_photos_anew(
    seed: int, size: int, stack: Stack, tmp_path: Path
) -> None:
    asked: Any = {"photos": 3, "seed": seed, "stack": replace(stack, image_size=size), "progress": None}
    build_data(tmp_path / "updated", photos=3, stack=stack, progress=None)
    build_data(tmp_path / "updated", **asked, update=True)
    build_data(tmp_path / "anew", **asked)
    updated, anew = (table_bytes(data_folder(tmp_path / name, "world")) for name in ("updated", "anew"))
    assert updated == anew


def test_progress_tells_rate_and_time_left(stack: Stack, tmp_path: Path) -> None:
    told = io.StringIO()
    build_data(tmp_path, photos=3, stack=stack, progress=told)
    assert told.getvalue().startswith("photos 3/3, ")
    assert told.getvalue().endswith("/s, 0 s left\n")


def test_progress_tells_a_step_s_own_rate_of_what_was_timed(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [0.0]
    monkeypatch.setattr("fcbench.build.progress.monotonic", lambda: clock[0])
    progress = Progress(100, 2, told := io.StringIO())
    for now, step, count, seconds in (
        (10.0, "ingest", 40, 0.0),  # there before: no time was spent on them
        (11.0, "ingest", 60, 1.0),
        (21.0, "caption", 20, 10.0),
        (22.0, "caption", 20, 10.0),  # another worker's: a rate is of one
        (32.0, "caption", 30, 0.0),
        (33.0, "caption", 30, 1.0),
    ):
        clock[0] = now
        progress.tell(step, count, seconds)
    assert told.getvalue().splitlines() == [
        "photos 20/100, 2.0/s, 40 s left (ingest)",
        "photos 60/100, 2.9/s, 14 s left (caption: 2.0/s a worker)",
        "photos 85/100, 2.7/s, 6 s left (caption: 2.0/s a worker)",
        "photos 100/100, 3.0/s, 0 s left",
    ]


@pytest.mark.parametrize("workers", [0, 2])
def test_every_step_s_time_is_told_as_it_is_spent_and_none_where_nothing_is_done(workers: int, tmp_path: Path) -> None:
    file = str(stack_file(tmp_path))
    job = job_of(tmp_path, load_stack(file), photos=6)
    engine = Workers(file, ["cpu"] * workers) if workers else Here(load_stack(file))
    steps = ["ingest", *[step.name for step in job.steps]]
    for timed in (True, False):  # the second time all is there
        heard: list[tuple[str, int, float]] = []
        engine.run(job, range(len(job.shards)), lambda *told, heard=heard: heard.append(told))
        assert [sum(count for name, count, _ in heard if name == step) for step in steps] == [6] * len(steps)
        assert {seconds > 0 for *_, seconds in heard} == {timed}


def person_in(shape: tuple[int, int], **more: Any) -> dict[str, Any]:
    mask = np.zeros(shape, bool)
    mask[shape[0] // 4 : shape[0] // 2, shape[1] // 4 :] = True
    return {"mask": encode_mask(mask), **more}


def put(folder: Path, name: str, sidecar: dict[str, Any] | str | None, size: tuple[int, int] = (40, 30)) -> None:
    """A picture in a grey of its own, and beside it a JSON sidecar or a caption."""
    write_image(folder / name, np.full((*size, 3), sum(name.encode()) % 256, np.uint8))
    if isinstance(sidecar, dict):
        (folder / name).with_suffix(".json").write_text(json.dumps(sidecar))
    elif sidecar is not None:
        (folder / name).with_suffix(".txt").write_text(sidecar)


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """One good picture, and one of each kind of bad ones."""
    folder = tmp_path / "photos"
    good = {"caption": "a man on the beach", "people": [person_in((40, 30))]}
    put(folder, "good.png", good)
    put(folder, "sub/good.png", {**good, "licence": {"author": "Ann", "licence": "CC-BY-4.0"}})
    put(folder, "uncaptioned.png", None)
    put(folder, "blank.png", "  \n")
    put(folder, "unsegmented.png", "a man on the beach")
    put(folder, "nothing.png", {**good, "caption": "!!!"})
    put(folder, "unnamed.png", {**good, "caption": "a red hat"})
    put(folder, "hollow.png", {**good, "people": [{"mask": encode_mask(np.zeros((40, 30), bool))}]})
    put(folder, "not-json.png", None)
    (folder / "not-json.json").write_text("{")
    put(folder, "other-size.png", {**good, "people": [person_in((64, 64))]})
    put(folder, "bad-runs.png", {**good, "people": [{"mask": Rle(size=[40, 30], counts="0")}]})
    put(folder, "latin.png", None)
    (folder / "latin.txt").write_bytes("a caf\xe9".encode("latin-1"))
    whole = (folder / "good.png").read_bytes()
    (folder / "cut.png").write_bytes(whole[: len(whole) // 2])
    (folder / "empty.jpg").touch()
    (folder / "words.webp").write_text("not a picture")
    return folder


EXPECTED = {
    **{"truncated": 1, "empty_file": 1, "not_an_image": 1},
    **{"sidecar_error": 4, "caption_empty": 2, "no_phrase": 1, "no_segment": 2, "no_match": 1},
}


def test_every_photo_of_a_folder_is_accepted_or_rejected_with_its_reason(
    photos: Path, stack: Stack, tmp_path: Path
) -> None:
    counts = build_data(tmp_path / "out", source=str(photos), name="mine", stack=stack, progress=None)
    assert {reason: count for reason, count in counts.rejected.items() if count} == EXPECTED
    assert (counts.inputs, counts.accepted) == (15, 2)
    folder = data_folder(tmp_path / "out", "mine")
    rejects = load_dataset(str(folder.path), "rejects", cache_dir=str(tmp_path / "cache"), split="train")
    assert len(set(rejects["id"])) == 13
    assert all(message for message in rejects["message"])
    rows = rows_of(folder, tmp_path / "cache")
    assert {(row["author"], row["licence"]) for row in rows} == {("unknown", "unknown"), ("Ann", "CC-BY-4.0")}
    assert {row["source"] for row in rows} == {"good.png", "sub/good.png"}


def test_attribution_names_who_made_a_photo_and_under_which_licence(stack: Stack, tmp_path: Path) -> None:
    credit = {
        **{"author": "Zoë", "title": "At the sea", "source": "https://example.org/photos/1"},
        **{"licence": "CC-BY-4.0", "licence_url": "https://creativecommons.org/licenses/by/4.0/"},
    }
    put(tmp_path / "in", "a.png", {"caption": "a man", "people": [person_in((40, 30))], "licence": credit})
    build_data(tmp_path, source=str(tmp_path / "in"), name="mine", stack=stack, progress=None)
    with data_folder(tmp_path, "mine").attribution.open(encoding="utf-8", newline="") as file:
        (told,) = csv.DictReader(file)
    assert credit.items() <= told.items()


def test_large_pictures_shrink_with_their_masks(stack: Stack, tmp_path: Path) -> None:
    put(tmp_path / "in", "a.png", {"caption": "a man", "people": [person_in((512, 256))]}, size=(512, 256))
    build_data(tmp_path, source=str(tmp_path / "in"), name="mine", stack=stack, short_side=64, progress=None)
    (row,) = rows_of(data_folder(tmp_path, "mine"), tmp_path / "cache")
    assert (row["height"], row["width"]) == (128, 64)
    assert row["segments"][0]["bbox"] == [16, 32, 64, 64]
    assert row["changes"] == "resized, converted to PNG"


def test_an_update_with_another_short_side_makes_other_copies(stack: Stack, tmp_path: Path) -> None:
    put(tmp_path / "in", "a.png", {"caption": "a man", "people": [person_in((512, 256))]}, size=(512, 256))
    given: Any = {"source": str(tmp_path / "in"), "name": "mine", "stack": stack, "progress": None}
    build_data(tmp_path, **given, short_side=64)
    build_data(tmp_path, **given, short_side=128, update=True)
    (row,) = rows_of(data_folder(tmp_path, "mine"), tmp_path / "cache")
    assert (row["height"], row["width"]) == np.asarray(row["image"]).shape[:2] == (256, 128)


def test_the_photos_of_a_build_can_be_built_again(built: DataFolder, stack: Stack, tmp_path: Path) -> None:
    build_data(tmp_path, source=str(built.photos), name="again", stack=stack, progress=None)

    def essence(folder: DataFolder) -> set[tuple[Any, ...]]:
        rows = rows_of(folder, tmp_path / "cache" / folder.path.name)
        return {(r["caption"], r["image"].tobytes(), json.dumps(r["segments"])) for r in rows}

    assert essence(data_folder(tmp_path, "again")) == essence(built)


def test_a_folder_of_nothing_usable_is_an_error_that_says_why(stack: Stack, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no such folder"):
        build_data(tmp_path, source=str(tmp_path / "nowhere"), stack=stack, progress=None)
    (tmp_path / "in").mkdir()
    with pytest.raises(DataError, match="no pictures"):
        build_data(tmp_path, source=str(tmp_path / "in"), stack=stack, progress=None)
    put(tmp_path / "in", "a.png", None)
    with pytest.raises(DataError, match=r"caption_empty 1.*STEM\.txt: then --update"):
        build_data(tmp_path, source=str(tmp_path / "in"), stack=stack, progress=None)
    (tmp_path / "in" / "a.txt").write_text("a man in the snow")
    with pytest.raises(DataError, match=r"no photo was accepted \(no_segment 1\)"):
        build_data(tmp_path, source=str(tmp_path / "in"), stack=stack, progress=None, update=True)
