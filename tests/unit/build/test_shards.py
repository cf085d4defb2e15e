"""The unit of work: pure, committed whole, kept by content, the same bytes whoever computes it."""

from __future__ import annotations

import gzip
import multiprocessing
import os
import random
import re
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow.parquet as parquet
import pytest
import yaml

from fcbench.build import BuildCounts, build_data, build_shards, pipeline
from fcbench.build import shard as shard_module
from fcbench.build.card import write_card
from fcbench.build.engine import Workers, devices_for, preparing_for
from fcbench.build.match import match
from fcbench.build.records import Item
from fcbench.build.screen import Screen, licence_family
from fcbench.build.steps import Step
from fcbench.errors import FcbenchError, UsageError
from fcbench.files import locked, read_json, read_rows
from fcbench.stacks import load_stack
from fcbench.store import DataFolder, data_folder
from tests.toys.build_toys import PHOTOS, DyingWorld, drive, stack_file, tables


def ids_of(folder: DataFolder) -> list[str]:
    return sorted(i for path in folder.path.glob("data/*.parquet") for i in parquet.read_table(path)["id"].to_pylist())


@pytest.mark.timeout(900)
def test_killed_at_twenty_random_moments_it_ends_in_the_same_bytes(
    built: DataFolder, toys: Path, tmp_path: Path
) -> None:
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["tests.toys.build_toys", "fcbench.build.write", "fcbench.build.card"])
    moments, killed, rounds = random.Random(7), 0, 0
    while killed < 20:
        rounds += 1
        folder, finished = data_folder(tmp_path / str(rounds), "world"), False
        while not finished:
            process = context.Process(target=drive, args=(str(tmp_path / str(rounds)), str(toys), PHOTOS))
            process.start()
            if killed < 20:
                _wait_for(folder, process, progress_of(folder) + moments.randint(0, 8))
                process.join(moments.uniform(0, 0.02))
            else:
                process.join()
            finished = process.exitcode is not None
            if not finished:
                process.kill()
                process.join()
                killed += 1
        assert process.exitcode == 0
        assert read_json(folder.build) == read_json(built.build)  # tells what differs, where bytes do not
        assert tables(folder) == tables(built)
        assert ids_of(folder) == [f"{number:09d}" for number in range(PHOTOS)]
        assert not list(folder.path.rglob("*.tmp"))


def progress_of(folder: DataFolder) -> int:
    """How far a build is: 20 working copies count as much as one file of any other kind."""
    there = list(folder.path.rglob("*.*"))
    copies = sum(path.parent == folder.photos for path in there)
    return copies // 20 + len(there) - copies


def _wait_for(folder: DataFolder, process: Any, progress: int) -> None:
    while process.is_alive() and progress_of(folder) < progress:
        time.sleep(0.005)


@pytest.mark.timeout(900)
def test_two_workers_give_the_same_bytes_also_when_one_is_killed(built: DataFolder, tmp_path: Path) -> None:
    dying = tmp_path / "dies"
    dying.touch()
    stack = stack_file(tmp_path / "dying", dies=str(dying))
    plain = load_stack(str(stack_file(tmp_path)))
    asked = replace(plain, digests=load_stack(str(stack)).digests)
    build_data(tmp_path, photos=PHOTOS, stack=asked, engine=Workers(str(stack), ["cpu", "cpu"]), progress=None)
    assert not dying.exists()
    assert _rows(data_folder(tmp_path, "world")) == _rows(built)


def _rows(folder: DataFolder) -> dict[str, Any]:
    """Every table without the recipe's signature, which names the stack's weights."""
    found = {}
    for path in sorted(folder.path.rglob("*.parquet")):
        table = parquet.read_table(path)
        kept = [name for name in table.column_names if name != "recipe"]
        found[str(path.relative_to(folder.path))] = table.select(kept).to_pylist()
    return found


@pytest.mark.timeout(900)
def test_workers_without_models_take_photos_in_ahead_also_when_one_is_killed(
    built: DataFolder, tmp_path: Path, toys: Path
) -> None:
    dying, taken_in = tmp_path / "dies", data_folder(tmp_path, "world").work / "ingest"
    dying.touch()
    stack = load_stack(str(stack_file(tmp_path / "waiting", awaits=str(taken_in))))
    job = pipeline.job_of(tmp_path, stack, photos=PHOTOS)
    job = replace(job, source=DyingWorld(PHOTOS, 0, 64, dies=str(dying)))
    told: Counter[str] = Counter()

    def tell(step: str, count: int, seconds: float) -> None:
        told[step] += count

    engine = Workers(str(tmp_path / "waiting" / "toys.yaml"), ["cpu"], preparing=2)
    engine.run(job, range(3), tell)
    assert not dying.exists()
    assert set(told.values()) == {PHOTOS}
    engine.run(job, range(3), tell)  # all is there: nobody is sent ahead
    assert set(told.values()) == {2 * PHOTOS}
    asked = replace(load_stack(str(toys)), digests=stack.digests)
    build_data(tmp_path, photos=PHOTOS, stack=asked, progress=None)
    assert _rows(data_folder(tmp_path, "world")) == _rows(built)


@pytest.mark.parametrize(
    ("cores", "devices", "ahead"),
    [
        (16, ["cpu"] * 2, 0),
        (16, ["cuda:0"], 15),
        (16, ["cuda:0"] * 3, 13),
        (64, ["cuda:0"], 32),
        (2, ["cuda:0"] * 3, 1),
    ],
)
def test_beside_gpus_the_cores_that_are_left_take_photos_in_ahead(
    cores: int, devices: list[str], ahead: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: range(cores))
    assert preparing_for(devices) == ahead


@pytest.mark.parametrize(("cores", "asked", "workers"), [(3, 0, 3), (8, 0, 8), (20, 0, 8), (3, 12, 12)])
def test_without_a_gpu_each_core_has_a_worker_up_to_eight_unless_more_are_asked_for(
    cores: int, asked: int, workers: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: range(cores))
    assert devices_for("cpu", asked) == ["cpu"] * workers


def test_what_a_worker_raises_arrives(tmp_path: Path, toys: Path) -> None:
    engine = Workers(str(tmp_path / "none.yaml"), ["cpu"])
    with pytest.raises(UsageError, match="no such stack file"):
        build_data(tmp_path, photos=5, stack=load_stack(str(toys)), engine=engine, progress=None)


@pytest.mark.timeout(900)
def test_workers_die_with_their_parent(tmp_path: Path, toys: Path) -> None:
    command = [sys.executable, "-m", "tests.toys.build_toys", str(tmp_path), str(toys), "2000", "2"]
    parent = subprocess.Popen(command, start_new_session=True)
    work = data_folder(tmp_path, "world").photos
    for _ in range(600):
        if work.is_dir() and len(os.listdir(work)) > 10:
            break
        time.sleep(0.1)
    parent.send_signal(signal.SIGKILL)
    parent.wait()
    for _ in range(300):
        if not _alive(parent.pid):
            break
        time.sleep(0.1)
    assert not _alive(parent.pid)


def _alive(group: int) -> bool:
    """Whether a process of a session that was started for the test lives; those that ended unwaited do not count."""
    for status in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = status.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[3]) == group and fields[0] != "Z":
            return True
    return False


def test_another_matcher_runs_the_matching_alone(
    built: DataFolder, toys: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ran: list[str] = []
    run = shard_module._run

    def counted(step: Step, *rest: Any) -> Any:
        ran.append(step.name)
        return run(step, *rest)

    monkeypatch.setattr(shard_module, "_run", counted)
    build_data(tmp_path, photos=PHOTOS, stack=load_stack(str(toys)), progress=None)
    assert ran == ["screen", "caption", "phrases", "segment", "quality", "match"] * 3
    ran.clear()
    other = load_stack(str(stack_file(tmp_path / "other", seed=5)))
    with pytest.raises(UsageError, match=r"matcher .* there, .* asked.*give --update"):
        build_data(tmp_path, photos=PHOTOS, stack=other, progress=None)
    build_data(tmp_path, photos=PHOTOS, stack=other, update=True, progress=None)
    assert ran == ["match"] * 3
    assert _rows(data_folder(tmp_path, "world")) != _rows(built)
    ran.clear()
    counts = build_data(
        tmp_path, photos=PHOTOS, stack=other, screen=Screen((), frozenset({"000000061"})), update=True, progress=None
    )
    assert counts.rejected["takedown"] == 1
    assert ran == ["screen", "screen", "caption", "phrases", "segment", "quality", "match", "screen"]


def test_the_card_of_ffhq_names_whose_list_it_comes_from_and_that_list_s_terms(
    built: DataFolder, tmp_path: Path
) -> None:
    told = read_json(built.build)
    plain = built.card.read_text()
    assert "license: cc0-1.0" in plain
    assert "NVIDIA" not in plain
    assert cited(plain) == ["xiao2023fastcomposer"]
    told["recipe"]["source"] = "ffhq /data/ffhq"
    folder = data_folder(tmp_path, "ffhq")
    write_card(folder, BuildCounts(**told["counts"]), told, "fcbench build-data --exclude FILE")
    card = folder.card.read_text()
    assert "license: cc-by-nc-sa-4.0" in card
    assert "NVIDIA's list of them is under CC\nBY-NC-SA 4.0" in card
    assert cited(card) == ["xiao2023fastcomposer", "karras2019style"]
    (paper,) = yaml.safe_load((Path(__file__).parents[3] / "CITATION.cff").read_text())["references"]
    for part in (paper["title"], paper["identifiers"][0]["value"], paper["url"], str(paper["year"])):
        assert f"{{{part}}}" in card
    for author in paper["authors"]:
        assert f"{author['family-names']}, {author['given-names']}".replace("é", r"{\'e}") in card


def cited(card: str) -> list[str]:
    """The keys of a card's BibTeX, each of whose entries has as many braces that open as close."""
    (block,) = re.findall(r"^```bibtex\n(.*?)^```$", card, re.MULTILINE | re.DOTALL)
    entries = block.strip().split("\n\n")
    assert all(entry.count("{") == entry.count("}") for entry in entries)
    return [re.findall(r"^@\w+\{(\w+),$", entry, re.MULTILINE)[0] for entry in entries]


def test_only_files_whose_rows_changed_are_written_again(toys: Path, tmp_path: Path) -> None:
    stack = load_stack(str(toys))
    build_data(tmp_path, photos=PHOTOS, stack=stack, progress=None)
    folder = data_folder(tmp_path, "world")
    files = folder.shards("train")
    before = {path: path.stat().st_mtime_ns for path in files}
    files[1].unlink()
    build_data(tmp_path, photos=PHOTOS, stack=stack, progress=None)
    assert [path.stat().st_mtime_ns != before[path] for path in files[:2]] == [False, True]


def test_each_shard_tells_what_made_it_and_adds_up(built: DataFolder) -> None:
    shards = [read_json(built.provenance(index)) for index in range(3)]
    assert [shard["inputs"] for shard in shards] == [50, 50, 15]
    for shard in shards:
        assert shard["inputs"] == shard["accepted"] + sum(shard["rejected"].values()) + shard["duplicates"]
        assert [step["step"] for step in shard["steps"]][0::6] == ["ingest", "match"]
        assert shard["steps"][-1]["recipe"]["matcher"]
        assert {"torch", "datasets"} <= shard["steps"][-1]["versions"].keys()
        assert all(len(file["sha256"]) == 64 for file in shard["files"])


def test_two_builds_do_not_share_a_folder(toys: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stack = load_stack(str(toys))
    with locked(data_folder(tmp_path, "world").lock, "busy", shared=True), pytest.raises(UsageError, match="at work"):
        build_data(tmp_path, photos=5, stack=stack, progress=None)


def test_working_copies_are_made_anew_where_ingest_has_changed(
    toys: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stack = load_stack(str(toys))
    build_data(tmp_path, photos=5, stack=stack, progress=None)
    copy = data_folder(tmp_path, "world").photo(f"{0:09d}")
    before = copy.stat().st_mtime_ns
    for module in (shard_module, pipeline):
        monkeypatch.setattr(module, "INGEST_VERSION", 1000)
    build_data(tmp_path, photos=5, stack=stack, update=True, progress=None)
    assert copy.stat().st_mtime_ns > before


def test_a_broken_result_of_a_step_is_named(toys: Path, tmp_path: Path) -> None:
    stack = load_stack(str(toys))
    build_shards(tmp_path, (1, 1), photos=5, stack=stack, progress=None)
    (kept,) = (data_folder(tmp_path, "world").work / "match").iterdir()
    whole = gzip.decompress(kept.read_bytes())
    kept.write_bytes(gzip.compress(whole[: len(whole) // 2]))
    with pytest.raises(FcbenchError, match=r"match/.*broken .*delete it and run"):
        build_data(tmp_path, photos=5, stack=stack, progress=None)


def test_rejects_get_another_try_when_asked(toys: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def forgetful(items: Iterator[Item], matcher: Any, assignment: str, sentences: Any = None) -> Iterator[Item]:
        for item in match(items, matcher, assignment):
            if item.id == "000000002":
                raise MemoryError
            yield item

    monkeypatch.setattr("fcbench.build.match.match", forgetful)
    first = build_data(tmp_path, photos=4, stack=load_stack(str(toys)), progress=None)
    assert first.rejected["oom"] == 1
    assert first.failed == 0.25
    assert attempts(tmp_path) == {"000000002": 1}
    for attempt in (2, 3):
        build_data(tmp_path, photos=4, stack=load_stack(str(toys)), retry=["oom", "model_error"], progress=None)
        assert attempts(tmp_path) == {"000000002": attempt}
    monkeypatch.undo()
    again = build_data(tmp_path, photos=4, stack=load_stack(str(toys)), progress=None)
    assert again.rejected["oom"] == 1
    third = build_data(tmp_path, photos=4, stack=load_stack(str(toys)), retry=["oom"], progress=None)
    assert isinstance(third, BuildCounts)
    assert third.rejected["oom"] == 0
    assert attempts(tmp_path) == {}


def attempts(out: Path) -> dict[str, int]:
    """By the rejects' ids which attempt was the last."""
    return {row["id"]: row["attempt"] for row in read_rows(data_folder(out, "world").rejects)}


def test_licences_are_known_by_their_families() -> None:
    names = {
        "Attribution License": "by",
        "Attribution-NonCommercial License": "by-nc",
        "Public Domain Dedication (CC0)": "cc0",
        "Public Domain Mark": "pd",
        "United States Government Work": "usgov",
        "CC-BY-SA-4.0": "by-sa",
        "all rights reserved": "",
    }
    assert {name: licence_family(name) for name in names} == names
    with pytest.raises(UsageError, match="known: by-nc-sa"):
        Screen(("cc9",))
