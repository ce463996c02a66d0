"""The catalogue of a database: its tracks, where their fingerprints lie, their metadata, and the index files.

One sqlite file in WAL mode with synchronous=FULL. A committed change is on the disk, and a reader sees the state of one
moment whatever a writer does. A copy lies beside it, made when the last writer ended. The copy answers if the catalogue
is damaged.
"""

from __future__ import annotations

import contextlib
import json
import operator
import os
import sqlite3
import threading
import weakref
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from nafp import errors
from nafp.database import catalogue_files, facts, records, refusals

FILE, COPY, SIDE_FILES = catalogue_files.FILE, catalogue_files.COPY, catalogue_files.SIDE_FILES
_COUNT_CHANGE = (
    "insert into about values (?, '1') on conflict (key) do update set value = cast(cast(value as integer) + 1 as text)"
)
_CHANGES = "changes"  # The fact that counts what was committed, by which the copy knows its catalogue.
# These say nothing about the file itself.
_NO_DAMAGE = (
    sqlite3.SQLITE_BUSY,
    sqlite3.SQLITE_LOCKED,
    sqlite3.SQLITE_CANTOPEN,
    sqlite3.SQLITE_READONLY,
    sqlite3.SQLITE_FULL,
    sqlite3.SQLITE_IOERR,
)


_left_behind: list[sqlite3.Connection] = []  # Connections of a parent, in a process that was forked.


DatabaseTrack = records.DatabaseTrack
Segment = records.Segment


class Catalogue:
    """An open catalogue.

    trouble: why the copy is read instead of the catalogue, "" if the catalogue itself is read. Opening checks all that
    answers depend on. Raises errors.NotFound if there is neither file, and errors.Invalid for a damaged catalogue that
    is to be written or has no whole copy.
    """

    def __init__(self, folder: str | os.PathLike, *, write: bool = False):
        self.folder, self.trouble = Path(folder), ""
        self._lock, self._is_within, self._process, self._writes = threading.RLock(), False, os.getpid(), write
        self._places, self._columns = list[tuple](), records.Columns.of([])
        self._places_state: tuple[int, int] | None = None
        path, copy = self.folder / FILE, self.folder / COPY
        if not path.exists() and not copy.exists():
            raise errors.NotFound(f"{path}: no such catalogue")
        damage = self._open(path, copy, write=write)
        if damage:
            if write or not copy.exists():
                raise errors.Invalid(f"{path}: is damaged: {damage}. {_remedy(self.folder)}")
            self.trouble = f"{path}: is damaged: {damage}; its copy is read, made when the last writer ended"
            self._open_copy(copy)
        weakref.finalize(self, self._connection.close)

    def _open(self, path: Path, copy: Path, *, write: bool) -> str:
        """Opens the catalogue itself and checks it. Returns what is wrong with it, or ""."""
        if not path.exists():
            return "the file is missing"
        try:
            self._connection = catalogue_files.opened(path, write=write)
            with self.moment():
                changes = self._check()
                is_as_copied = catalogue_files.is_as_stamped(self._connection, copy, changes=changes)
        except (sqlite3.Error, ValueError, TypeError, OverflowError, facts.Wrong) as error:
            if isinstance(error, sqlite3.Error) and catalogue_files.code(error) in _NO_DAMAGE:
                if write:  # The writer says why, and what to do.
                    raise
                raise refusals.unreadable(path, error) from error
            return str(error)
        # A copy that has the bytes of the catalogue, but not of its stamp, has lost its stamp.
        if is_as_copied or catalogue_files.is_copy(self._connection, copy):
            return ""
        self._connection.close()
        return "other bytes than were written: the checksum differs"

    def _open_copy(self, copy: Path) -> None:
        complaint, self._places_state = catalogue_files.copy_complaint(copy), None
        try:
            self._connection = catalogue_files.opened_copy(copy)
            self._check()
        except (sqlite3.Error, ValueError, TypeError, OverflowError, facts.Wrong) as error:
            complaint = complaint or str(error)
        if complaint:
            raise errors.Invalid(
                f"{self.trouble.partition(';')[0]}; and so is its copy, {copy.name}: {complaint}. "
                "Restore the folder from a copy, or add the files again"
            )

    def _check(self) -> int:
        """Checks what answers depend on, and returns how many changes were committed. Raises facts.Wrong."""
        about = self.about()
        facts.check_about(about)
        facts.check_segments(self.segments(), n_rows=about["n_rows"])
        facts.check_places(self.columns(), n_rows=about["n_rows"])
        return about.get(_CHANGES, 0)

    @classmethod
    def create(cls, folder: str | os.PathLike, about: Mapping[str, Any]) -> None:
        """Writes an empty catalogue, whole or not at all. about: the facts that `about()` returns."""
        with catalogue_files.whole(Path(folder) / FILE) as connection:
            connection.executescript(f"begin; {catalogue_files.SCHEMA} commit;")
            rows = [(key, json.dumps(value)) for key, value in about.items()]
            connection.executemany("insert into about values (?, ?)", rows)
            connection.execute("pragma journal_mode = wal")

    def close(self) -> None:
        """Closes the file."""
        self._connection.close()

    def __enter__(self) -> Catalogue:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @contextlib.contextmanager
    def moment(self) -> Iterator[None]:
        """Within the block, all that is read is the state of one moment."""
        with self._lock:
            if self._is_within:  # Of a moment that this thread has begun.
                yield
                return
            self._own().execute("begin")
            self._is_within = True
            try:
                yield
            finally:
                self._is_within = False
                self._connection.execute("rollback")

    @contextlib.contextmanager
    def change(self) -> Iterator[None]:
        """Commits all changes of the block together when it ends well, and none of them otherwise."""
        with self._lock:
            self._own().execute("begin immediate")
            try:
                yield
                self._connection.execute(_COUNT_CHANGE, (_CHANGES,))
                self._connection.execute("commit")
            except BaseException:
                if self._connection.in_transaction:
                    self._connection.execute("rollback")
                raise

    def about(self) -> dict[str, Any]:
        """Returns the facts of the whole database: storage, dim, generation of the log, and others."""
        return {key: json.loads(value) for key, value in self._rows("select key, value from about")}

    def tell(self, about: Mapping[str, Any]) -> None:
        """Changes some of the facts that `about()` returns."""
        rows = [(key, json.dumps(value)) for key, value in about.items()]
        self._connection.executemany("insert or replace into about values (?, ?)", rows)

    def places(self) -> list[tuple[int, str, float, int, int, int]]:
        """Lists (id, name, seconds, first row, number of rows, CRC-32 of these) of all tracks, by first row."""
        state = self.version()
        if state != self._places_state:  # Opening asks twice, and reading takes a while.
            rows = self._rows("select id, name, seconds, first_row, n_rows, crc from tracks order by id")
            places = [row if type(row[1]) is str else (row[0], _text(row[1]), *row[2:]) for row in rows]
            columns = records.Columns.of(places)
            if not columns.are_in_order():  # Mostly they are. sqlite would sort them with their names, for longer.
                places = sorted(places, key=operator.itemgetter(3, 0))
                columns = records.Columns.of(places)
            self._places, self._columns, self._places_state = places, columns, state
        return self._places

    def version(self) -> tuple[int, int]:
        """Returns what changes whenever this catalogue begins to see a commit, its own or that of another writer."""
        ((version,),) = self._rows("pragma data_version")
        return version, self._connection.total_changes

    def columns(self) -> records.Columns:
        """Returns what `places` lists, by column."""
        self.places()
        return self._columns

    def segments(self) -> list[Segment]:
        """Lists the index files by first row."""
        columns = ", ".join(Segment._fields)
        return [Segment(*row) for row in self._rows(f"select {columns} from segments order by first_row")]

    def counts(self) -> tuple[int, int, float]:
        """Counts tracks, their rows and their seconds."""
        return next(self._rows("select count(*), ifnull(sum(n_rows), 0), ifnull(sum(seconds), 0.0) from tracks"))

    def track(self, which: int | str) -> DatabaseTrack:
        """Returns a track by number or name, with its metadata. Raises errors.UnknownTrack."""
        if isinstance(which, int):
            tracks = self._tracks("where id = ?", (which,))
        else:
            tracks = self._tracks("where name = ?", (_stored(which),))
        for track in tracks:
            return track
        raise errors.UnknownTrack(f"{self.folder} has no track {which!r}")

    def tracks(self) -> Iterator[DatabaseTrack]:
        """Yields all tracks with their metadata, by number."""
        return self._tracks("order by id", ())

    def page(self, *, after: int, limit: int, text: str = "") -> list[DatabaseTrack]:
        """Returns the `limit` tracks with the lowest numbers above `after`.

        text: only tracks that have it in their name or metadata; ASCII letters match in both cases.
        """
        contains = "instr(lower({}), lower(?))"
        named = f"({contains.format('name')} or id in (select track from metadata where {contains.format('value')}))"
        where = f"where id > ? and {named if text else 1} order by id limit ?"
        return list(self._tracks(where, (after, *([text] * 2 if text else []), limit)))

    def has_name(self, name: str) -> bool:
        """Returns whether a track has this name."""
        return any(True for _ in self._rows("select 1 from tracks where name = ?", (_stored(name),)))

    def by_digest(self, digest: str) -> str | None:
        """Returns the name of the track with this audio, or None."""
        return self._name("select name from tracks where digest = ?", (digest,))

    def by_source(self, path: str, n_bytes: int, changed_ns: int) -> str | None:
        """Returns the name of the track that came from this file, unchanged since, or None."""
        where = "where path = ? and n_bytes = ? and changed_ns = ?"
        return self._name(
            f"select name from tracks join sources on id = track {where}", (_stored(path), n_bytes, changed_ns)
        )

    def by_content(self, n_bytes: int, digest: str) -> str | None:
        """Returns the name of the track that came from a file with these bytes, or None."""
        where = "where n_bytes = ? and sources.digest = ?"
        return self._name(f"select name from tracks join sources on id = track {where}", (n_bytes, digest))

    def has_size(self, n_bytes: int) -> bool:
        """Returns whether a track came from a file of this size."""
        return any(True for _ in self._rows("select 1 from sources where n_bytes = ? limit 1", (n_bytes,)))

    def insert(self, track: DatabaseTrack) -> int:
        """Adds a track and returns its number. Raises errors.Invalid for a name or audio that is in the catalogue."""
        fields = [name for name in DatabaseTrack._fields if name not in ("id", "metadata")]
        values = [getattr(track, name) for name in fields]
        values[0] = _stored(track.name)
        marks = ", ".join("?" * len(fields))
        try:
            cursor = self._connection.execute(f"insert into tracks ({', '.join(fields)}) values ({marks})", values)
        except sqlite3.IntegrityError as error:
            raise errors.Invalid(
                f"{track.name}: the database has a track of this name, or with this audio, already"
            ) from error
        number = int(cursor.lastrowid or 0)
        self.describe(number, track.metadata)
        return number

    def describe(self, number: int, metadata: Mapping[str, str]) -> None:
        """Sets metadata of a track. An empty value removes its key."""
        rows = [(number, records.words(key), records.words(value)) for key, value in metadata.items()]
        self._connection.executemany("insert or replace into metadata values (?, ?, ?)", rows)
        self._connection.execute("delete from metadata where value = ''")

    def note_source(self, path: str, n_bytes: int, changed_ns: int, digest: str, track: str) -> None:
        """Remembers that a file holds the audio of a track."""
        self._connection.execute(
            "insert or replace into sources select ?, ?, ?, ?, id from tracks where name = ?",
            (_stored(path), n_bytes, changed_ns, digest, _stored(track)),
        )

    def source(self, path: str) -> tuple[int, int, str] | None:
        """Returns size, time of change and digest of a file when its audio was noted, or None."""
        query = "select n_bytes, changed_ns, digest from sources where path = ?"
        return next(self._rows(query, (_stored(path),)), None)

    def rename(self, names: Mapping[str, str]) -> list[str]:
        """Renames tracks, all at once, so that two can exchange their names. names: new name by old name.

        A track that has one of the new names, and gets no other, is deleted. Returns the names of these.
        """
        replaced = [name for name in names.values() if name not in names and self.has_name(name)]
        self.delete(replaced)
        numbers = {old: self.track(old).id for old in names}
        # Names that no file has: the new ones may be taken until all of them are free.
        self._set_names([(f"\0{number}", number) for number in numbers.values()])
        self._set_names([(_stored(names[old]), number) for old, number in numbers.items()])
        return replaced

    def _set_names(self, names: Sequence[tuple[str | bytes, int]]) -> None:
        self._connection.executemany("update tracks set name = ? where id = ?", names)

    def delete(self, names: Sequence[str]) -> int:
        """Removes tracks and returns how many there were."""
        rows = [(_stored(name),) for name in names]
        if self._notes_removals():
            places = "select first_row, n_rows from tracks where name = ?"
            self._connection.executemany(f"insert or replace into removed {places}", rows)
        return self._connection.executemany("delete from tracks where name = ?", rows).rowcount

    def note_removals(self, wanted: bool) -> None:
        """Begins to note the places of removed tracks, with none so far, or ends it."""
        self._connection.execute("drop table if exists removed")
        if wanted:
            self._connection.execute("create table removed (first_row integer primary key, n_rows integer not null)")

    def removed(self) -> list[tuple[int, int]]:
        """Lists (first row, number of rows) of removed tracks that were noted, by first row."""
        return list(self._rows("select * from removed order by first_row")) if self._notes_removals() else []

    def forget_removed(self, first_rows: Sequence[int]) -> None:
        """Forgets removed tracks by first row."""
        self._connection.executemany("delete from removed where first_row = ?", [(first,) for first in first_rows])

    def _notes_removals(self) -> bool:
        return any(True for _ in self._rows("select 1 from sqlite_master where name = 'removed'"))

    def move(self, first_rows: Sequence[tuple[int, int]], crcs: Sequence[tuple[int, int]]) -> None:
        """Sets new places in the log and new checksums, each given as (value, number of the track)."""
        self._connection.executemany("update tracks set first_row = ? where id = ?", first_rows)
        self._connection.executemany("update tracks set crc = ? where id = ?", crcs)

    def replace_segments(self, old: Sequence[int], new: Sequence[Segment]) -> None:
        """Removes index files by number and adds others."""
        self._connection.executemany("delete from segments where id = ?", [(number,) for number in old])
        marks = ", ".join("?" * (len(Segment._fields) - 1))
        columns = ", ".join(Segment._fields[1:])
        self._connection.executemany(
            f"insert into segments ({columns}) values ({marks})", [tuple(segment[1:]) for segment in new]
        )

    def copy(self) -> None:
        """Writes the copy anew, whole or not at all."""
        with self.moment():
            changes = self.about().get(_CHANGES, 0)
            catalogue_files.copied(self._connection, self.folder / COPY, changes=changes)

    def complaint(self) -> str:
        """Returns what sqlite finds wrong with the file, or ""."""
        if self.trouble:
            return self.trouble.partition(": ")[2]
        lines = [row[0] for row in self._rows("pragma integrity_check(5)")]
        return "" if lines == ["ok"] else "; ".join(lines)

    def _rows(self, query: str, values: Sequence[Any] = ()) -> Iterator[tuple]:
        with self._lock:  # Threads share the connection.
            return iter(self._own().execute(query, values).fetchall())

    def _own(self) -> sqlite3.Connection:
        """Returns the connection of this process. sqlite forbids a forked one to use that of its parent."""
        if self._process != os.getpid():
            if self._writes:
                raise errors.Invalid(f"{self.folder}: a forked process cannot go on with the writer of its parent")
            _left_behind.append(self._connection)  # Closing it would end the parent's locks.
            copy, path = self.folder / COPY, self.folder / FILE
            if self.trouble:
                self._connection = catalogue_files.opened_copy(copy)
            else:
                self._connection = catalogue_files.opened(path, write=False)
            self._lock, self._is_within, self._process, self._places_state = threading.RLock(), False, os.getpid(), None
        return self._connection

    def _name(self, query: str, values: Sequence[Any]) -> str | None:
        for (name,) in self._rows(f"{query} limit 1", values):
            return _text(name)
        return None

    def _tracks(self, where: str, values: Sequence[Any]) -> Iterator[DatabaseTrack]:
        columns = "id, name, seconds, first_row, n_rows, crc, digest, added, damage"
        for row in self._rows(f"select {columns} from tracks {where}", values):
            metadata = dict(self._rows("select key, value from metadata where track = ? order by key", (row[0],)))
            yield DatabaseTrack(*row)._replace(name=_text(row[1]), metadata=metadata)


def _remedy(folder: Path) -> str:
    if (folder / COPY).exists():
        return f"nafp verify {folder} --repair puts its copy in its place"
    return "Restore the folder from a copy, or add the files again"


def _stored(name: str) -> str | bytes:
    """Returns a name as it is stored. File names are bytes: one that is not valid text is stored as bytes."""
    try:
        name.encode()
    except UnicodeEncodeError:
        return os.fsencode(name)
    return name


def _text(name: str | bytes) -> str:
    return os.fsdecode(name) if isinstance(name, bytes) else name
