"""How files are written (whole or not at all), read (with one clear line where that fails) and known (by digest).

A file or folder is written beside its place, flushed to disk and renamed: after a crash it is there whole or not at
all.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import io
import json
import os
import shutil
import sys
import uuid
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from fcbench.errors import DataError, FcbenchError, UsageError, is_disk_full
from fcbench.types import Image

_ROWS = 32
"""How many rows of Parquet are read at once: they may hold photos."""


def write_bytes(path: Path, data: bytes, *, flush: bool = True) -> None:
    """Write a file atomically: after a crash it holds the old bytes or the new, never a part."""
    with atomic(path, flush=flush) as temporary:
        temporary.write_bytes(data)


@contextlib.contextmanager
def atomic(path: Path, *, flush: bool = True) -> Iterator[Path]:
    """A temporary path beside ``path`` that takes its place, flushed, when the block ends without an error.

    ``flush=False`` saves the milliseconds, for tens of thousands of files whose reader makes a broken one again: a
    killed program leaves them whole, a power cut may not.
    """
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield temporary
        if flush:
            with temporary.open("rb") as handle:
                os.fsync(handle.fileno())
        temporary.replace(path)
    except Exception as error:
        _refuse_to_write(path, error)
        raise
    finally:
        temporary.unlink(missing_ok=True)


def _refuse_to_write(path: Path, error: Exception) -> None:
    """FcbenchError where the disk is to blame, whichever library says so and however."""
    if isinstance(error, OSError) and (error.filename is not None or error.errno is not None):
        raise FcbenchError(f"cannot write {path}: {error.strerror or error}") from error
    if not isinstance(error, FcbenchError) and is_disk_full(error):
        raise FcbenchError(f"cannot write {path}: No space left on device") from error


@contextlib.contextmanager
def atomic_folder(path: Path) -> Iterator[Path]:
    """A temporary folder beside ``path`` that takes its place, flushed, when the block ends without an error.

    What was there before is deleted last: it stays where the new one cannot take its place.
    """
    temporary, before = (path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}.tmp") for _ in range(2))
    try:
        temporary.mkdir(parents=True)
        yield temporary
        for file in temporary.rglob("*"):
            if file.is_file():
                with file.open("rb") as handle:
                    os.fsync(handle.fileno())
        _swap(temporary, path, before)
    except Exception as error:
        _refuse_to_write(path, error)
        raise
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    shutil.rmtree(before, ignore_errors=True)


def _swap(temporary: Path, path: Path, before: Path) -> None:
    """Put ``temporary`` in the place of ``path``, which moves to ``before``, and back again where that fails."""
    if path.exists():
        path.rename(before)
    try:
        temporary.rename(path)
    except OSError:
        if before.exists():
            before.rename(path)
        raise


def remove_temporaries(folder: Path, pattern: str = ".*.tmp") -> None:
    """Delete what killed programs left half written in a folder; ``**/.*.tmp`` reaches the folders below, too."""
    for half in folder.glob(pattern):
        if half.is_dir():
            shutil.rmtree(half, ignore_errors=True)
        else:
            half.unlink(missing_ok=True)


@contextlib.contextmanager
def locked(file: Path, busy: str, *, shared: bool = False, waits: bool = False) -> Iterator[None]:
    """Hold a lock file, alone or with others that share it; the system lets go of it whatever happens.

    Where somebody else holds it, ``waits`` prints ``busy`` on standard error and waits; else UsageError says ``busy``.
    """
    file.parent.mkdir(parents=True, exist_ok=True)
    with file.open("a+") as handle:  # NFS: sharing a lock takes a file that is open for reading
        kind = fcntl.LOCK_SH if shared else fcntl.LOCK_EX
        try:
            try:
                fcntl.flock(handle, kind | fcntl.LOCK_NB)
            except BlockingIOError:
                if not waits:
                    raise UsageError(busy) from None
                print(busy, file=sys.stderr, flush=True)
                fcntl.flock(handle, kind)
        except OSError as error:
            why = f"cannot be locked ({error.strerror}): see to it that nothing else is at work there"
            print(f"{file.parent}: {why}", file=sys.stderr)
        yield


@contextlib.contextmanager
def leased(file: Path) -> Iterator[bool]:
    """Hold a lock file unless somebody else does; yields whether it is held. The system lets go whatever happens.

    Where files cannot be locked everybody is told that they hold it.
    """
    file.parent.mkdir(parents=True, exist_ok=True)
    with file.open("a+") as handle:
        held = True
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            held = False
        except OSError:  # no locks here: work may be done twice, which is better than not at all
            pass
        yield held


def write_text(path: Path, text: str) -> None:
    """Write UTF-8 text atomically."""
    write_bytes(path, text.encode())


def write_json(path: Path, value: Any) -> None:
    """Write a value as JSON, keys in the order given, atomically; refuses NaN."""
    write_text(path, json.dumps(value, indent=1, allow_nan=False, default=str) + "\n")


def read_json(path: Path) -> Any:
    """Read JSON; DataError names a file that is not."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise DataError(f"{path}: no such file") from None
    except (UnicodeDecodeError, json.JSONDecodeError) as error:
        raise DataError(f"{path}: not valid JSON ({error}); delete it and run the command again") from error


def read_rows(path: Path, columns: Sequence[str] | None = None) -> Iterator[dict[str, Any]]:
    """The rows of a Parquet file as plain values by column, a few in memory at a time; DataError names a broken one."""
    import pyarrow.parquet as parquet

    try:
        for batch in parquet.ParquetFile(path).iter_batches(_ROWS, columns=columns and list(columns)):
            yield from batch.to_pylist()
    except (OSError, ValueError, KeyError) as error:
        raise DataError(f"{path}: not a Parquet file that can be read ({error})") from error


def write_image(path: Path, image: Image, *, flush: bool = True) -> None:
    """Write a picture as PNG, atomically; equal pictures give equal bytes."""
    from PIL import Image as Pillow

    buffer = io.BytesIO()
    Pillow.fromarray(image).save(buffer, "PNG")
    write_bytes(path, buffer.getvalue(), flush=flush)


def digest_file(path: Path) -> str:
    """Sha256 of a file, in hex."""
    with path.open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


def digest_place(place: str | None) -> str | None:
    """Sha256 of a file, or of a folder's files and their names; anything else is a pinned hub id, its own digest."""
    path = Path(place) if place else None
    if path is None or not path.exists():
        return place
    if path.is_file():
        return digest_file(path)
    files = sorted(file for file in path.rglob("*") if file.is_file())
    return digest_json([[str(file.relative_to(path)), digest_file(file)] for file in files])


def digest_json(value: Any) -> str:
    """Sha256 of a value's canonical JSON, in hex: equal values, equal digest."""
    return hashlib.sha256(json.dumps(value, sort_keys=True, default=str).encode()).hexdigest()
