"""What is written is there whole or not at all, and what was there before is not lost."""

from __future__ import annotations

import errno
from pathlib import Path

import pyarrow
import pyarrow.parquet as parquet
import pytest

from fcbench.errors import DataError, FcbenchError
from fcbench.files import atomic, atomic_folder, read_rows, remove_temporaries


def files_in(folder: Path) -> dict[str, str]:
    return {str(path.relative_to(folder)): path.read_text() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture
def role(tmp_path: Path) -> Path:
    with atomic_folder(tmp_path / "role") as folder:
        (folder / "weights").write_text("old")
        assert not (tmp_path / "role").exists()
    return tmp_path / "role"


def test_a_folder_takes_another_s_place_whole(role: Path) -> None:
    with atomic_folder(role) as folder:
        (folder / "new").write_text("new")
        assert files_in(role) == {"weights": "old"}
    assert files_in(role.parent) == {"role/new": "new"}


def test_one_that_fails_on_the_way_leaves_what_was_there(role: Path) -> None:
    def fill() -> None:
        with atomic_folder(role) as folder:
            (folder / "new").write_text("half")
            raise OSError(errno.ENOSPC, "No space left")

    with pytest.raises(FcbenchError, match=r"cannot write .*role: No space left"):
        fill()
    assert files_in(role.parent) == {"role/weights": "old"}


@pytest.mark.parametrize(
    "error",
    [
        RuntimeError("[enforce fail at inline_container.cc:672] . unexpected pos 64 vs 0"),
        RuntimeError("Error while serializing: I/O error: File too large (os error 27)"),
    ],
)
def test_a_full_disk_is_told_as_one_whoever_says_so(error: Exception, role: Path) -> None:
    for place in (atomic(role / "file"), atomic_folder(role)):
        with pytest.raises(FcbenchError, match=r"^cannot write .*role.*: No space left on device$"), place:
            raise error
    with pytest.raises(RuntimeError, match=r"^else$"), atomic(role / "file"):
        raise RuntimeError("else")
    assert files_in(role.parent) == {"role/weights": "old"}


def test_one_that_cannot_take_its_place_leaves_what_was_there(role: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rename = Path.rename

    def refuse(self: Path, target: Path) -> Path:
        if target == role and (self / "new").exists():
            raise PermissionError(errno.EACCES, "Permission denied", str(self))
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", refuse)
    with pytest.raises(FcbenchError, match=r"cannot write .*role: Permission denied"), atomic_folder(role) as folder:
        (folder / "new").write_text("new")
    assert files_in(role.parent) == {"role/weights": "old"}


def test_what_killed_programs_left_is_removed_folders_too(role: Path) -> None:
    (role / ".vae.1.tmp").mkdir()
    (role / ".vae.1.tmp" / "half").write_text("half")
    (role / ".card.2.tmp").write_text("half")
    remove_temporaries(role)
    assert files_in(role.parent) == {"role/weights": "old"}


def test_rows_of_parquet_are_streamed_in_order_and_a_broken_file_is_named(tmp_path: Path) -> None:
    path = tmp_path / "rows.parquet"
    parquet.write_table(pyarrow.table({"n": [*range(70)], "name": ["x"] * 70}), path)
    assert [row["n"] for row in read_rows(path)] == [*range(70)]
    assert next(read_rows(path, ["name"])) == {"name": "x"}
    path.write_bytes(path.read_bytes()[:-9])
    with pytest.raises(DataError, match=r"rows\.parquet: not a Parquet file that can be read"):
        next(read_rows(path))
