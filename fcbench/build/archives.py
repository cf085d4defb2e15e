"""Pictures packed into archives as a source: WebDataset's tar files, and tables in Parquet.

What lies where is listed once; a shard then reads only its own pictures, each unpacked to a file of its own, so that
they pass the same checks as files.
"""

from __future__ import annotations

import tarfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fcbench.build.ingest import id_of, sidecar_of, take
from fcbench.build.records import Item, Licence, Reject, Sidecar
from fcbench.errors import DataError, UsageError, one_line
from fcbench.files import digest_json
from fcbench.images import FORMATS
from fcbench.store import DataFolder

CAPTIONS = ("caption", "text", "prompt")
IDS = ("id", "key", "__key__")
PICTURES = ("image", "jpg", "jpeg", "png", "webp", "bytes", "img")


@dataclass(frozen=True)
class Piece:
    """Bytes [start, start + size) of an archive."""

    archive: str
    start: int
    size: int


@dataclass(frozen=True)
class Member:
    """A picture in a tar file, and what lies beside it under the same name."""

    name: str
    picture: Piece
    json: Piece | None = None
    text: Piece | None = None


@dataclass(frozen=True)
class WebDataset:
    """The pictures in the tar files under ``root``, in their order."""

    root: Path
    members: Sequence[Member]
    short_side: int

    @classmethod
    def of(cls, root: Path, short_side: int) -> WebDataset:
        """List what the tar files hold; DataError where one is not a tar file, or none holds a picture."""
        members = [member for file in _files(root, "*.tar") for member in list_members(root, file)]
        if not members:
            raise DataError(f"{root}: no pictures in its tar files ({', '.join(sorted(FORMATS))})")
        return cls(root, members, short_side)

    def __len__(self) -> int:
        return len(self.members)

    @property
    def recipe(self) -> dict[str, Any]:
        """The folder, what its archives hold, and the size of the working copies."""
        files = digest_json([repr(member) for member in self.members])
        return {"source": f"webdataset {self.root}", "files": files, "short_side": self.short_side}

    def key(self, part: range) -> str:
        """A digest of the slice's members."""
        return digest_json(["webdataset", self.short_side, [repr(m) for m in self.members[part.start : part.stop]]])

    def ingest(self, folder: DataFolder, part: range) -> Iterator[Item]:
        """Unpack each picture and take it in."""
        for member in self.members[part.start : part.stop]:
            photo_id = id_of(member.name)
            try:
                known = sidecar_of(self._read(member.json), self._read(member.text))
            except ValueError as error:
                yield Reject(photo_id, "sidecar_error", "ingest", f"{member.name}: {one_line(error)}")
                continue
            with _unpacked(folder, photo_id, Path(member.name).suffix, self._read(member.picture) or b"") as file:
                yield take(folder, photo_id, file, member.name, short_side=self.short_side, known=known)

    def _read(self, piece: Piece | None) -> bytes | None:
        if piece is None:
            return None
        with (self.root / piece.archive).open("rb") as archive:
            archive.seek(piece.start)
            return archive.read(piece.size)


@dataclass(frozen=True)
class Table:
    """The pictures in the Parquet files under ``root``: ``rows`` are (file, row group, row in it)."""

    root: Path
    rows: Sequence[tuple[str, int, int]]
    short_side: int
    state: str

    @classmethod
    def of(cls, root: Path, short_side: int) -> Table:
        """Count the rows; DataError where a file is not Parquet or has no column of pictures."""
        import pyarrow.parquet as parquet

        rows: list[tuple[str, int, int]] = []
        states = []
        for file in _files(root, "*.parquet"):
            try:
                opened = parquet.ParquetFile(file)
            except (OSError, ValueError) as error:
                raise DataError(f"{file}: not a Parquet file that can be read ({error})") from error
            _picture_column(file, opened.schema_arrow)
            name = file.relative_to(root).as_posix() if root.is_dir() else file.name
            for group in range(opened.num_row_groups):
                rows += [(name, group, row) for row in range(opened.metadata.row_group(group).num_rows)]
            states.append([name, file.stat().st_size, opened.metadata.num_rows])
        if not rows:
            raise DataError(f"{root}: no rows in its Parquet files")
        return cls(root, rows, short_side, digest_json(states))

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def recipe(self) -> dict[str, Any]:
        """The folder, the state of its files, and the size of the working copies."""
        return {"source": f"parquet {self.root}", "files": self.state, "short_side": self.short_side}

    def key(self, part: range) -> str:
        """A digest of the slice and the state of the files."""
        return digest_json(["parquet", self.short_side, self.state, part.start, part.stop])

    def ingest(self, folder: DataFolder, part: range) -> Iterator[Item]:
        """Take in the picture of each row; a row group is read once."""
        import pyarrow.parquet as parquet

        held: tuple[str, int] | None = None
        values: Any = None
        broken = ""
        for name, group, row in self.rows[part.start : part.stop]:
            if held != (name, group):
                file = self.root / name if self.root.is_dir() else self.root
                opened = parquet.ParquetFile(file)
                picture = _picture_column(file, opened.schema_arrow)
                wanted = [n for n in opened.schema_arrow.names if n in (picture, *CAPTIONS, *IDS, *_LICENCE)]
                held, broken = (name, group), ""
                try:
                    values = opened.read_row_group(group, columns=wanted)
                except (OSError, ValueError) as error:
                    broken = one_line(error)
            place = f"{name}/{group}/{row}"
            if broken:
                yield Reject(id_of(f"{place}/row"), "unreadable", "ingest", f"{place}: {broken}")
            else:
                yield self._take(folder, place, values.slice(row, 1).to_pylist()[0])

    def _take(self, folder: DataFolder, place: str, row: dict[str, Any]) -> Item:
        named = next((str(row[key]) for key in IDS if row.get(key) is not None), "")
        photo_id = id_of(f"{place}/{named or 'row'}")
        value = next(row[key] for key in PICTURES if key in row)
        data = value.get("bytes") if isinstance(value, dict) else value
        caption = next((str(row[key]) for key in CAPTIONS if row.get(key)), "")
        licence = Licence(**{name: str(row[name]) for name in _LICENCE if row.get(name)})
        given = {"caption": caption, "licence": licence} if caption else {"licence": licence}
        with _unpacked(folder, photo_id, "", data or b"") as file:
            return take(folder, photo_id, file, place, short_side=self.short_side, known=Sidecar(**given))


_LICENCE = ("author", "title", "source", "licence", "licence_url")


def list_members(root: Path, file: Path) -> list[Member]:
    """The pictures in one tar file, by name; where it is cut short, those that begin before its end."""
    archive = file.relative_to(root).as_posix() if root.is_dir() else file.name
    groups: dict[str, dict[str, tuple[str, Piece]]] = {}
    try:
        with tarfile.open(file, "r:") as opened:
            for info in opened:
                if not info.isreg() or info.name.rpartition("/")[2].startswith("."):
                    continue
                stem, suffix = _split(info.name)
                groups.setdefault(stem, {})[suffix] = (info.name, Piece(archive, info.offset_data, info.size))
    except tarfile.ReadError as error:
        if not groups:
            raise DataError(f"{file}: not a tar file that can be read ({error})") from error
    members = []
    for parts in groups.values():
        found = [part for suffix, part in parts.items() if suffix in FORMATS]
        beside = {suffix: piece for suffix, (_, piece) in parts.items() if suffix in (".json", ".txt")}
        if found:
            name, piece = found[0]
            members.append(Member(f"{archive}/{name}", piece, beside.get(".json"), beside.get(".txt")))
    return members


def _split(name: str) -> tuple[str, str]:
    """WebDataset's key (all up to the first dot of the file's name) and the suffix, in lower case."""
    folder, slash, file = name.rpartition("/")
    stem, _, suffix = file.partition(".")
    return folder + slash + stem, f".{suffix.lower()}"


def _files(root: Path, pattern: str) -> list[Path]:
    if root.is_file():
        return [root]
    found = sorted(root.rglob(pattern)) if root.is_dir() else []
    if not found:
        raise UsageError(f"{root}: no {pattern} there")
    return found


def _picture_column(file: Path, schema: Any) -> str:
    import pyarrow.types as types

    found = next((name for name in PICTURES if name in schema.names), None)
    if found is None:
        raise DataError(f"{file}: no column of pictures ({', '.join(PICTURES)}) among {', '.join(schema.names)}")
    kind = schema.field(found).type
    held = kind.field("bytes").type if types.is_struct(kind) and kind.get_field_index("bytes") >= 0 else kind
    if not (types.is_binary(held) or types.is_large_binary(held)):
        raise DataError(f"{file}: its column {found} holds {kind}, not the bytes of pictures")
    return found


@contextmanager
def _unpacked(folder: DataFolder, photo_id: str, suffix: str, data: bytes) -> Iterator[Path]:
    """The bytes as a file, which is deleted after the block."""
    file = folder.work / "incoming" / f"{photo_id}{suffix.lower()}"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(data)
    try:
        yield file
    finally:
        file.unlink(missing_ok=True)
