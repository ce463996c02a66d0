"""The catalogue of a database: which tracks there are, where their fingerprints lie, and what is known of them.

One sqlite file in WAL mode with synchronous=FULL: what is committed is on the disk, and a reader sees the state of
one moment whatever a writer does. Beside it lies a copy, as of when the last writer ended: should a disk damage the
catalogue, the copy answers in its place.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import sqlite3
import tempfile
import weakref
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from nafp import errors

FILE, COPY = "catalogue.sqlite", "catalogue.copy.sqlite"
_WAIT_S = 60.0  # For another process' transaction: those of a writer take milliseconds.
# Of sqlite: what says nothing about the file itself.
_PASSING = (
    sqlite3.SQLITE_BUSY,
    sqlite3.SQLITE_LOCKED,
    sqlite3.SQLITE_CANTOPEN,
    sqlite3.SQLITE_READONLY,
    sqlite3.SQLITE_FULL,
    sqlite3.SQLITE_IOERR,
)
_SCHEMA = """
create table about (key text primary key, value text not null) without rowid;
create table tracks (
    id integer primary key autoincrement, name not null unique, seconds real not null,
    first_row integer not null, n_rows integer not null, crc integer not null,
    digest text unique, added text not null, damage text not null default '');
create table metadata (
    track integer not null references tracks (id) on delete cascade, key text not null, value text not null,
    primary key (track, key)) without rowid;
create table sources (
    path primary key, n_bytes integer not null, changed_ns integer not null, digest text not null,
    track integer not null references tracks (id) on delete cascade) without rowid;
create index sources_by_content on sources (n_bytes, digest);
create index sources_by_track on sources (track);
create table segments (
    id integer primary key autoincrement, file text not null, first_row integer not null, n_rows integer not null,
    n_bytes integer not null, crc integer not null);
"""


class Track(NamedTuple):
    """A track of a database. name: its path when it was added; metadata: title, artist, any key.

    digest: of its audio; damage: what the decoder said of a file that gave less than its header promised.
    """

    id: int
    name: str
    seconds: float
    first_row: int
    n_rows: int
    crc: int = 0
    digest: str | None = None
    added: str = ""
    damage: str = ""
    metadata: Mapping[str, str] = {}

    @property
    def path(self) -> str:
        return self.name


class Segment(NamedTuple):
    """An index file over rows first_row .. first_row + n_rows - 1 of the log."""

    id: int
    file: str
    first_row: int
    n_rows: int
    n_bytes: int
    crc: int


class Catalogue:
    """An open catalogue. trouble: why it is the copy that is read, "" when it is not.

    Raises FileNotFoundError, and ValueError for a damaged one: when writing, or when there is no copy.
    """

    def __init__(self, folder: str | os.PathLike, *, write: bool = False):
        self.folder, self.trouble = Path(folder), ""
        path, copy = self.folder / FILE, self.folder / COPY
        if not path.exists() and not copy.exists():
            raise errors.NotFound(f"{path}: no such catalogue")
        try:
            if not path.exists():
                raise sqlite3.DatabaseError("the file is missing")
            self._connection = _connected(path, write=write)
            self.about(), self.counts(), self.segments()
        except sqlite3.DatabaseError as error:
            if getattr(error, "sqlite_errorcode", 0) & 0xFF in _PASSING:
                raise
            if write or not copy.exists():
                raise errors.Invalid(
                    f"{path}: is damaged: {error}. "
                    + (
                        f"nafp verify {folder} --repair puts its copy in its place"
                        if copy.exists()
                        else "Restore the folder from a copy, or add the files again"
                    )
                ) from error
            self.trouble = f"{path}: is damaged: {error}; its copy is read, as of when the last writer ended"
            self._connection = _connect(f"file:{_quoted(copy)}?mode=ro&immutable=1")
        weakref.finalize(self, self._connection.close)

    @classmethod
    def create(cls, folder: str | os.PathLike, about: Mapping[str, Any]) -> None:
        """Writes an empty catalogue, whole or not at all; `about` as `about()` gives it back."""
        path = Path(folder) / FILE
        partial = path.with_name(f"{FILE}.new")
        partial.unlink(missing_ok=True)
        connection = sqlite3.connect(partial, isolation_level=None)
        connection.execute("pragma journal_mode = wal")
        connection.executescript(f"begin; {_SCHEMA} commit;")
        rows = [(key, json.dumps(value)) for key, value in about.items()]
        connection.executemany("insert into about values (?, ?)", rows)
        connection.close()
        os.replace(partial, path)

    def close(self) -> None:
        self._connection.close()

    @contextlib.contextmanager
    def moment(self) -> Iterator[None]:
        """Within, everything read is of one moment."""
        self._connection.execute("begin")
        try:
            yield
        finally:
            self._connection.execute("rollback")

    @contextlib.contextmanager
    def change(self) -> Iterator[None]:
        """Within, everything written becomes durable together at the end, or not at all."""
        self._connection.execute("begin immediate")
        try:
            yield
            self._connection.execute("commit")
        except BaseException:
            if self._connection.in_transaction:
                self._connection.execute("rollback")
            raise

    def about(self) -> dict[str, Any]:
        """Returns what the database says of itself."""
        return {key: json.loads(value) for key, value in self._rows("select key, value from about")}

    def tell(self, about: Mapping[str, Any]) -> None:
        """Changes what the database says of itself."""
        rows = [(key, json.dumps(value)) for key, value in about.items()]
        self._connection.executemany("insert or replace into about values (?, ?)", rows)

    def places(self) -> list[tuple[int, str, float, int, int]]:
        """Lists (id, name, seconds, first row, number of rows) of all tracks, by first row."""
        found = self._rows("select id, name, seconds, first_row, n_rows from tracks order by first_row, id")
        return [(number, _text(name), *rest) for number, name, *rest in found]

    def segments(self) -> list[Segment]:
        """Lists the index files by first row."""
        columns = ", ".join(Segment._fields)
        return [Segment(*row) for row in self._rows(f"select {columns} from segments order by first_row")]

    def counts(self) -> tuple[int, int, float]:
        """Counts tracks, their rows and their seconds."""
        return next(self._rows("select count(*), ifnull(sum(n_rows), 0), ifnull(sum(seconds), 0.0) from tracks"))

    def track(self, which: int | str) -> Track:
        """Returns a track by number or name, with its metadata. Raises KeyError."""
        column = "id" if isinstance(which, int) else "name"
        found = self._tracks(f"where {column} = ?", (which if column == "id" else _stored(which),))
        for track in found:
            return track
        raise errors.UnknownTrack(f"{self.folder} has no track {which!r}")

    def tracks(self) -> Iterator[Track]:
        """Yields all tracks with their metadata, by number."""
        return self._tracks("order by id", ())

    def has_name(self, name: str) -> bool:
        """Tells whether there is a track of this name."""
        return bool(list(self._rows("select 1 from tracks where name = ?", (_stored(name),))))

    def by_digest(self, digest: str) -> str | None:
        """Returns the name of the track with this audio, if there is one."""
        return self._name("select name from tracks where digest = ?", (digest,))

    def by_source(self, path: str, n_bytes: int, changed_ns: int) -> str | None:
        """Returns the name of the track that came from this very file, unchanged since."""
        where = "where path = ? and n_bytes = ? and changed_ns = ?"
        return self._name(
            f"select name from tracks join sources on id = track {where}",
            (_stored(path), n_bytes, changed_ns),
        )

    def by_content(self, n_bytes: int, digest: str) -> str | None:
        """Returns the name of the track that came from a file with these bytes."""
        where = "where n_bytes = ? and sources.digest = ?"
        return self._name(f"select name from tracks join sources on id = track {where}", (n_bytes, digest))

    def has_size(self, n_bytes: int) -> bool:
        """Tells whether a track came from a file of this size."""
        return bool(list(self._rows("select 1 from sources where n_bytes = ? limit 1", (n_bytes,))))

    def insert(self, track: Track) -> int:
        """Adds a track; returns its number. Raises ValueError for a name that is there."""
        fields = ("name", "seconds", "first_row", "n_rows", "crc", "digest", "added", "damage")
        values = [getattr(track, field) for field in fields]
        values[0] = _stored(track.name)
        marks = ", ".join("?" * len(fields))
        try:
            done = self._connection.execute(f"insert into tracks ({', '.join(fields)}) values ({marks})", values)
        except sqlite3.IntegrityError as error:
            raise errors.Invalid(f"{track.name}: a track of this name, or with this audio, is there") from error
        number = int(done.lastrowid or 0)
        self.describe(number, track.metadata)
        return number

    def describe(self, number: int, metadata: Mapping[str, str]) -> None:
        """Sets metadata of a track; an empty value takes a key away."""
        rows = [(number, str(key), str(value)) for key, value in metadata.items()]
        self._connection.executemany("insert or replace into metadata values (?, ?, ?)", rows)
        self._connection.execute("delete from metadata where value = ''")

    def note_source(self, path: str, n_bytes: int, changed_ns: int, digest: str, track: str) -> None:
        """Remembers that a file holds the audio of a track."""
        self._connection.execute(
            "insert or replace into sources select ?, ?, ?, ?, id from tracks where name = ?",
            (_stored(path), n_bytes, changed_ns, digest, _stored(track)),
        )

    def delete(self, names: Sequence[str]) -> int:
        """Takes tracks out; returns how many there were."""
        rows = [(_stored(name),) for name in names]
        return self._connection.executemany("delete from tracks where name = ?", rows).rowcount

    def move(self, first_rows: Sequence[tuple[int, int]], crcs: Sequence[tuple[int, int]]) -> None:
        """Gives tracks new places in the log and new checksums: (value, number of the track) each."""
        self._connection.executemany("update tracks set first_row = ? where id = ?", first_rows)
        self._connection.executemany("update tracks set crc = ? where id = ?", crcs)

    def replace_segments(self, gone: Sequence[int], new: Sequence[Segment]) -> None:
        """Puts index files in the place of others, by number."""
        self._connection.executemany("delete from segments where id = ?", [(number,) for number in gone])
        marks = ", ".join("?" * (len(Segment._fields) - 1))
        columns = ", ".join(Segment._fields[1:])
        self._connection.executemany(
            f"insert into segments ({columns}) values ({marks})",
            [tuple(segment[1:]) for segment in new],
        )

    def copy(self) -> None:
        """Writes the copy anew, whole or not at all."""
        partial = self.folder / f"{COPY}.new"
        partial.unlink(missing_ok=True)
        with contextlib.closing(sqlite3.connect(partial)) as target:
            self._connection.backup(target)
            target.execute("pragma journal_mode = delete")
        with open(partial, "rb") as file:
            os.fsync(file.fileno())
        os.replace(partial, self.folder / COPY)

    @staticmethod
    def restore(folder: Path) -> None:
        """Puts the copy in the place of a damaged catalogue; for the holder of the lock."""
        for suffix in ("-wal", "-shm"):
            (folder / f"{FILE}{suffix}").unlink(missing_ok=True)
        shutil.copyfile(folder / COPY, folder / f"{FILE}.new")
        with contextlib.closing(sqlite3.connect(folder / f"{FILE}.new")) as copied:
            copied.execute("pragma journal_mode = wal")
        os.replace(folder / f"{FILE}.new", folder / FILE)

    def complaint(self) -> str:
        """Returns what sqlite finds wrong with the file, "" for nothing."""
        if self.trouble:
            return self.trouble.partition(": ")[2]
        found = [row[0] for row in self._rows("pragma integrity_check(5)")]
        return "" if found == ["ok"] else "; ".join(found)

    def _rows(self, query: str, values: Sequence[Any] = ()) -> Iterator[tuple]:
        return self._connection.execute(query, values)

    def _name(self, query: str, values: Sequence[Any]) -> str | None:
        for (name,) in self._rows(f"{query} limit 1", values):
            return _text(name)
        return None

    def _tracks(self, where: str, values: Sequence[Any]) -> Iterator[Track]:
        columns = "id, name, seconds, first_row, n_rows, crc, digest, added, damage"
        for number, name, *rest in self._connection.execute(f"select {columns} from tracks {where}", values).fetchall():
            known = dict(self._rows("select key, value from metadata where track = ? order by key", (number,)))
            yield Track(number, _text(name), *rest, known)


def _connected(path: Path, *, write: bool) -> sqlite3.Connection:
    writable = write or os.access(path.parent, os.W_OK)
    connection = _connect(f"file:{_quoted(path)}?mode={'rw' if writable else 'ro'}")
    try:
        connection.execute("pragma synchronous = full")
        connection.execute("pragma foreign_keys = on")
        connection.execute("select 1 from about").fetchone()
    except sqlite3.OperationalError as error:
        if write or getattr(error, "sqlite_errorcode", 0) & 0xFF not in _PASSING[2:]:
            raise
        connection.close()
        return _unwritable(path)  # Read-only, or a full disk.
    return connection


def _unwritable(path: Path) -> sqlite3.Connection:
    """Reads a catalogue into memory, where sqlite cannot put the files by which processes share one.

    What a killed writer left in the log of changes counts: then both are read from a place that can be written.
    """
    changes = path.with_name(f"{path.name}-wal")
    memory = sqlite3.connect(":memory:", isolation_level=None, check_same_thread=False)
    with tempfile.TemporaryDirectory(prefix="nafp-") as folder:
        uri = f"file:{_quoted(path)}?mode=ro&immutable=1"
        if changes.exists() and changes.stat().st_size:
            for file in (path, changes):
                shutil.copy(file, folder)
            uri = f"file:{_quoted(Path(folder) / path.name)}?mode=rw"
        with contextlib.closing(_connect(uri)) as found:
            found.backup(memory)
    return memory


def _connect(uri: str) -> sqlite3.Connection:
    return sqlite3.connect(uri, uri=True, timeout=_WAIT_S, isolation_level=None, check_same_thread=False)


def _quoted(path: Path) -> str:
    return path.resolve().as_posix().replace("%", "%25").replace("?", "%3f").replace("#", "%23")


def _stored(name: str) -> str | bytes:
    """File names are bytes, not text: one that is no text is kept as bytes."""
    try:
        name.encode()
    except UnicodeEncodeError:
        return os.fsencode(name)
    return name


def _text(name: str | bytes) -> str:
    return os.fsdecode(name) if isinstance(name, bytes) else name
