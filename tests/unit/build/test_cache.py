"""What steps leave on disk: written whole, and what has come to harm is told by its name."""

from __future__ import annotations

import gzip
from collections.abc import Callable
from pathlib import Path

import pytest

from fcbench.build.cache import Kept, find, keep, load
from fcbench.build.records import Reject
from fcbench.errors import DataError
from fcbench.store import DataFolder

REJECTS = [Reject(f"photo-{number}", "truncated", "ingest", f"{number} pixels") for number in range(40)]


@pytest.fixture
def folder(tmp_path: Path) -> DataFolder:
    return DataFolder(tmp_path)


@pytest.fixture
def kept(folder: DataFolder) -> Kept:
    return keep(folder, "ingest", 0, "key", REJECTS, {"seconds": 1.5})


def test_what_is_kept_is_found_with_its_facts_and_items(folder: DataFolder, kept: Kept) -> None:
    found = find(folder, "ingest", 0, "key")
    assert found == kept
    assert load(folder, kept) == REJECTS
    assert find(folder, "ingest", 0, "other") is None


def cut(whole: bytes) -> bytes:
    return whole[: len(whole) // 2]


def flipped(whole: bytes) -> bytes:
    """A byte of the compressed stream is another one."""
    middle = len(whole) // 2
    return whole[:middle] + bytes([whole[middle] ^ 0xFF]) + whole[middle + 1 :]


def no_json(whole: bytes) -> bytes:
    return gzip.compress(gzip.decompress(whole) + b"{")


@pytest.mark.parametrize("harm", [cut, flipped, no_json])
def test_a_result_that_came_to_harm_is_named(folder: DataFolder, kept: Kept, harm: Callable[[bytes], bytes]) -> None:
    kept.path.write_bytes(harm(kept.path.read_bytes()))
    with pytest.raises(DataError, match=rf"^{kept.path}: broken \(.+\); delete it and run the command again$"):
        load(folder, kept)


def test_a_result_without_its_line_of_facts_is_as_if_it_were_not_there(folder: DataFolder, kept: Kept) -> None:
    for whole in (b"", kept.path.read_bytes()[:20], b"no gzip"):
        kept.path.write_bytes(whole)
        assert find(folder, "ingest", 0, "key") is None
