"""The sqlite files of a catalogue: how they are opened, written whole, copied, and checked to be what was written.

The copy carries a stamp in two numbers of its header that sqlite leaves to applications: the CRC-32 of its bytes, and
how many changes it has seen. A catalogue that has seen as many must have the same bytes. This finds a single changed
bit in either file, for the price of reading one of them.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import sqlite3
import struct
import tempfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from nafp.jobs import plain_files, whole_files

FILE, COPY = "catalogue.sqlite", "catalogue.copy.sqlite"
SIDE_FILES = ("-wal", "-shm", "-journal")  # What sqlite puts beside a file while it is open.
SCHEMA = """
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
_WAIT_S = 60.0  # For the transaction of another process. Those of a writer take milliseconds.
_REFUSED = (sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_READONLY, sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR)
# Places in the header of an sqlite file (https://www.sqlite.org/fileformat.html, section 1.3).
_VERSIONS, _CRC, _CHANGES = slice(18, 20), 60, 68
# What differs between a catalogue and its copy, or is the stamp: journal mode, counters of changes, user version,
# application id, version of the library.
_UNSTAMPED = (slice(18, 20), slice(24, 28), slice(40, 44), slice(60, 64), slice(68, 72), slice(92, 100))
_HEADER_BYTES = 100
_MOST_CHANGES = 2**31  # The field is signed.


class Stamp(NamedTuple):
    """What a copy says of the bytes that it was made of. changes: 0 in a copy of an earlier version, which has none."""

    crc: int
    changes: int


def opened(path: Path, *, write: bool) -> sqlite3.Connection:
    """Opens a catalogue. One in a read-only folder, or on a full disk, is read into memory unless `write`.

    Raises errors.Invalid if the file, or one that sqlite puts beside it, is a link.
    """
    for suffix in ("", *SIDE_FILES):
        plain_files.require_plain(path.with_name(path.name + suffix))
    writable = write or os.access(path.parent, os.W_OK)
    connection = _connect(f"file:{_quoted(path)}?mode={'rw' if writable else 'ro'}")
    try:
        connection.execute("pragma synchronous = full")
        connection.execute("pragma foreign_keys = on")
        connection.execute("pragma trusted_schema = off")  # What a stranger wrote into it calls no function.
        connection.execute("select 1 from about").fetchone()
    except sqlite3.OperationalError as error:
        if write or code(error) not in _REFUSED:
            raise
        connection.close()
        return _in_memory(path)
    return connection


def opened_copy(path: Path) -> sqlite3.Connection:
    """Opens a copy, which nobody changes in its place. Raises errors.Invalid for a link."""
    plain_files.require_plain(path)
    return _connect(f"file:{_quoted(path)}?mode=ro&immutable=1")


def copied(connection: sqlite3.Connection, path: Path, *, changes: int) -> None:
    """Writes the copy of a catalogue with its stamp, whole or not at all. changes: how many the catalogue has seen."""
    data = bytearray(connection.serialize())
    data[_VERSIONS] = b"\1\1"  # No write-ahead log: a reader opens it as one unchanging file.
    struct.pack_into(">I", data, _CRC, checksum(data))
    struct.pack_into(">I", data, _CHANGES, changes % _MOST_CHANGES)
    with whole_files.opened(path, "wb") as file:
        file.write(data)


def is_as_stamped(connection: sqlite3.Connection, copy: Path, *, changes: int) -> bool:
    """Returns whether a catalogue is the one that its copy was made of, or has seen other changes than the copy.

    sqlite hands out the bytes. A process that opened the file itself would lose, with the first handle that it closes,
    all POSIX locks of its connections to it. Another process could then remove the write-ahead log under them
    (https://www.sqlite.org/howtocorrupt.html, section 2.2).
    """
    stamp = stamp_of(copy)
    if not stamp.changes or stamp.changes != changes % _MOST_CHANGES:
        return True
    return checksum(connection.serialize()) == stamp.crc


def is_copy(connection: sqlite3.Connection, copy: Path) -> bool:
    """Returns whether a copy has the bytes of a catalogue, and a stamp that is off by two bits at most.

    Then the stamp has changed, and not both files in the same way.
    """
    try:
        crc = checksum(plain_files.contents(copy))
    except OSError:
        return False
    return crc == checksum(connection.serialize()) and (crc ^ stamp_of(copy).crc).bit_count() <= 2


def stamp_of(copy: Path) -> Stamp:
    """Reads the stamp of a copy. Returns zeros if there is none."""
    try:
        with plain_files.opened(copy) as file:
            header = file.read(_HEADER_BYTES)
    except OSError:
        return Stamp(0, 0)
    if len(header) < _HEADER_BYTES:
        return Stamp(0, 0)
    return Stamp(*(struct.unpack_from(">I", header, place)[0] for place in (_CRC, _CHANGES)))


def copy_complaint(copy: Path) -> str:
    """Says what is wrong with the bytes of a copy, "" if nothing is, or if an earlier version wrote it."""
    try:
        data = plain_files.contents(copy)
    except OSError as error:
        return f"cannot be read: {error.strerror}"
    stamp = stamp_of(copy)
    is_stamped = bool(stamp.changes or stamp.crc)
    return "other bytes than were written: the checksum differs" if is_stamped and checksum(data) != stamp.crc else ""


def checksum(data: bytes | bytearray) -> int:
    """Computes the CRC-32 of the bytes of an sqlite file, without those in which a catalogue and its copy differ."""
    header = bytearray(data[:_HEADER_BYTES])
    for place in _UNSTAMPED:
        header[place] = bytes(place.stop - place.start)
    return zlib.crc32(memoryview(data)[_HEADER_BYTES:], zlib.crc32(header))


@contextlib.contextmanager
def whole(path: Path) -> Iterator[sqlite3.Connection]:
    """Yields a connection to an empty sqlite file that replaces `path` when the block ends well."""
    part = Path(whole_files.part_name(path))
    side_files = [part.with_name(f"{part.name}{suffix}") for suffix in SIDE_FILES]
    for file in side_files:  # sqlite would take an old one for changes of the new file.
        file.unlink(missing_ok=True)
    try:
        with whole_files.opened(path, "wb"), contextlib.closing(sqlite3.connect(part, isolation_level=None)) as new:
            new.execute("pragma synchronous = off")  # The whole file is synced before it is renamed.
            yield new
    finally:
        for file in side_files:
            with contextlib.suppress(OSError):
                file.unlink()


def restored(folder: Path) -> None:
    """Replaces a damaged catalogue by its copy. The caller holds the writer's lock."""
    copy = opened_copy(folder / COPY)
    for suffix in SIDE_FILES:
        (folder / f"{FILE}{suffix}").unlink(missing_ok=True)
    with contextlib.closing(copy), whole(folder / FILE) as target:
        copy.backup(target)
        target.execute("pragma user_version = 0")
        target.execute("pragma application_id = 0")
        target.execute("pragma journal_mode = wal")


def code(error: sqlite3.Error) -> int:
    """Returns the primary code of an sqlite error, 0 for one that Python raised itself."""
    return getattr(error, "sqlite_errorcode", 0) & 0xFF


def _in_memory(path: Path) -> sqlite3.Connection:
    """Reads a catalogue into memory, for a folder where sqlite cannot write the files by which processes share one.

    Changes that a killed writer left in the write-ahead log count: then both files are copied to a place that can be
    written, and are read there.
    """
    changes = path.with_name(f"{path.name}-wal")
    memory = sqlite3.connect(":memory:", isolation_level=None, check_same_thread=False)
    with tempfile.TemporaryDirectory(prefix="nafp-") as folder:
        uri = f"file:{_quoted(path)}?mode=ro&immutable=1"
        if changes.exists() and changes.stat().st_size:
            for file in (path, changes):
                shutil.copy(file, folder)
            uri = f"file:{_quoted(Path(folder) / path.name)}?mode=rw"
        with contextlib.closing(_connect(uri)) as source:
            source.backup(memory)
    return memory


def _connect(uri: str) -> sqlite3.Connection:
    return sqlite3.connect(uri, uri=True, timeout=_WAIT_S, isolation_level=None, check_same_thread=False)


def _quoted(path: Path) -> str:
    return path.resolve().as_posix().replace("%", "%25").replace("?", "%3f").replace("#", "%23")
