"""Changes a database so that a kill at any moment leaves it whole: nothing acknowledged is lost or half there.

A track's rows reach the disk first, in the log; one transaction of the catalogue then makes them a track. Index files
are written beside, renamed, and named by a transaction. Compacting writes the next generation of the log beside the
present one, and one transaction goes over to it. Files that no transaction names are removed by the next writer.
"""

from __future__ import annotations

import contextlib
import errno
import os
import sqlite3
import time
import zlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from nafp import errors
from nafp.database import catalogue, codes, fingerprint_log, index_segments, writer_lock
from nafp.search import collection

_LEARN_FROM_ROWS = 65_536
_OURS = ("fingerprints-*.log", "segment-*.faiss", "segment-*.faiss.tmp")
# What sqlite calls the troubles of a disk.
_DISK_ERRORS = {
    sqlite3.SQLITE_FULL: errno.ENOSPC,
    sqlite3.SQLITE_READONLY: errno.EROFS,
    sqlite3.SQLITE_IOERR: errno.EIO,
    sqlite3.SQLITE_CANTOPEN: errno.EACCES,
}


class SourceFile(NamedTuple):
    """A file that holds the audio of a track: by path, size, time of change, and SHA-256 of its bytes."""

    path: str
    n_bytes: int
    changed_ns: int
    digest: str


class Writer:
    """The one process that changes a database; `close` ends it.

    Raises errors.Locked while there is another, errors.Unwritable, here and in every method, when the disk
    is full or the folder read-only: then nothing has changed.
    """

    def __init__(self, folder: str | os.PathLike, *, seal_rows: int = index_segments.SEAL_ROWS):
        self.folder, self._seal_rows, self._grouped = Path(folder), seal_rows, False
        self._lock = writer_lock.take(self.folder)
        try:
            with self._safely():
                self.catalogue = catalogue.Catalogue(self.folder, write=True)
                self._open_log()
                self._tidy()
        except BaseException:
            self._lock.close()
            raise

    def append(
        self,
        name: str,
        seconds: float,
        vectors: np.ndarray,
        *,
        digest: str | None = None,
        metadata: Mapping[str, str] | None = None,
        damage: str = "",
        source: SourceFile | None = None,
        replace: bool = False,
    ) -> int:
        """Adds a track, [n, D]; returns its number, and from then on it is safe.

        replace: takes the place of a track of the same name. Raises ValueError, and adds nothing, for a name or a
        digest that is there, and for what is no fingerprint.
        """
        self._check(name, vectors)
        rows = self._codec.encode(vectors)
        place = (self._log.n_rows, len(rows), fingerprint_log.checksum(rows))
        when = time.strftime("%Y-%m-%d %H:%M:%S")
        track = catalogue.Track(0, name, seconds, *place, digest, when, damage, metadata or {})
        with contextlib.nullcontext() if self._grouped else self.together():
            if replace:
                self.catalogue.delete([name])
            number = self.catalogue.insert(track)
            self._log.append(rows)
            if source:
                self.catalogue.note_source(*source, name)
        return number

    @contextlib.contextmanager
    def together(self) -> Iterator[None]:
        """Within, tracks are added in one go: safe, all of them, at the end; none of them if anything is raised."""
        with self._safely():
            self._seal()
            self._grouped = True
            try:
                with self.catalogue.change():
                    yield
                    self._log.sync()  # Before the catalogue: what it names is on the disk.
                    self.catalogue.tell({"n_rows": self._log.n_rows})
            except BaseException:
                # Not where it began: Ctrl-C may have come after the commit.
                self._log.back_to(self.catalogue.about()["n_rows"])
                raise
            finally:
                self._grouped = False

    def note_source(self, source: SourceFile, track: str) -> None:
        """Remembers one more file with the audio of a track."""
        with self._safely(), self.catalogue.change():
            self.catalogue.note_source(*source, track)

    def describe(self, name: str, metadata: Mapping[str, str]) -> None:
        """Sets metadata of a track; an empty value takes a key away."""
        with self._safely(), self.catalogue.change():
            self.catalogue.describe(self.catalogue.track(name).id, metadata)

    def remove(self, names: Sequence[str]) -> int:
        """Takes tracks out, all at once; returns how many there were. Their space comes back when compacted."""
        with self._safely(), self.catalogue.change():
            return self.catalogue.delete(names)

    def compact(self, storage: str | None = None) -> None:
        """Writes the log anew without rows of removed tracks, in another storage if asked, and one index file over it.

        Raises ValueError for damaged tracks: they have to be removed first.
        """
        codec = self._codec if storage in (None, self._codec.name) else self._other_codec(storage)
        generation = self._generation + 1
        path = self.folder / fingerprint_log.file_name(generation)
        with self._safely():
            try:
                moved, crcs, n_rows = self._copy(path, codec)
                segments = []
                if n_rows >= self._seal_rows and not isinstance(codec, codes.Learned):
                    rows = fingerprint_log.LogRows(path, codec, n_rows=n_rows)
                    segments = [self._build(rows, 0, n_rows, generation)]
            except BaseException:
                path.unlink(missing_ok=True)  # On a full disk, its space is needed.
                raise
            with self.catalogue.change():
                self.catalogue.move(moved, crcs)
                gone = [segment.id for segment in self.catalogue.segments()]
                self.catalogue.replace_segments(gone, segments)
                now = {"generation": generation, "n_rows": n_rows, "wanted": None}
                self.catalogue.tell(now | codes.told(codec))
            self._log.close()
            self.catalogue.copy()
            self._open_log()
            self._tidy()

    def close(self) -> None:
        """Finishes index files that are due, and lets the next writer in."""
        try:
            with self._safely():
                self._seal()
                self.catalogue.copy()
        finally:
            self._let_go()

    def __enter__(self) -> Writer:
        return self

    def __exit__(self, kind: type | None, *_: object) -> None:
        if kind is None:
            self.close()
        else:  # At once: what is due can wait for the next writer.
            self._let_go()

    def _let_go(self) -> None:
        self._log.close()
        self.catalogue.close()
        self._lock.close()

    def _check(self, name: str, vectors: np.ndarray) -> None:
        if vectors.ndim != 2 or vectors.shape[1] != self._codec.dim or not len(vectors):
            raise errors.Invalid(
                f"{name}: fingerprints of shape {vectors.shape}; [n, {self._codec.dim}], n > 0, are needed"
            )
        collection.check_rows(np.asarray(vectors, np.float32), where=lambda row: f"{name}, row {row}")

    def _open_log(self) -> None:
        about = self.catalogue.about()
        self._generation, self._wanted = about["generation"], about.get("wanted")
        self._codec = codes.of(about)
        path = self.folder / fingerprint_log.file_name(self._generation)
        if not path.exists() and about["n_rows"]:
            raise errors.Invalid(f"{path}: is missing; restore it from a copy")
        is_new = not path.exists()
        self._log = fingerprint_log.Log(path, row_bytes=self._codec.row_bytes, n_rows=about["n_rows"])
        if is_new:  # That there is such a file must survive a power cut, too.
            index_segments.sync_folder(self.folder)

    def _seal(self) -> None:
        """Makes an index file of a tail that is full, and one of many of the same size.

        A learned storage has none; it begins when there is enough to learn from.
        """
        if isinstance(self._codec, codes.Learned):
            return
        if self._wanted and self._log.n_rows >= self._seal_rows:
            self.compact(self._wanted)
            return
        segments = self.catalogue.segments()
        end = segments[-1].first_row + segments[-1].n_rows if segments else 0
        if self._log.n_rows - end < self._seal_rows:
            return
        rows = self._log_rows()
        self._put(rows, end, self._log.n_rows - end, [])
        while together := index_segments.due(self.catalogue.segments(), seal_rows=self._seal_rows):
            n_rows = sum(segment.n_rows for segment in together)
            self._put(rows, together[0].first_row, n_rows, together)

    def _put(
        self,
        rows: fingerprint_log.LogRows,
        first: int,
        n_rows: int,
        gone: Sequence[catalogue.Segment],
    ) -> None:
        new = self._build(rows, first, n_rows, self._generation)
        with self.catalogue.change():
            self.catalogue.replace_segments([segment.id for segment in gone], [new])
        for segment in gone:
            (self.folder / segment.file).unlink(missing_ok=True)

    def _build(self, rows: fingerprint_log.LogRows, first: int, n_rows: int, generation: int) -> catalogue.Segment:
        return index_segments.build(self.folder, rows, first=first, n_rows=n_rows, generation=generation)

    def _other_codec(self, storage: str) -> Any:
        if storage not in codes.LEARNED:
            return codes.codec(storage, dim=self._codec.dim)
        rows, found = self._log_rows(), [np.zeros((0, self._codec.dim), np.float32)]
        tracks = sorted(self.catalogue.tracks(), key=lambda track: zlib.crc32(f"{track.id}".encode()))
        for track in tracks:  # In no order, until there are enough.
            block = rows.codes(track.first_row, track.first_row + track.n_rows)
            found.append(self._codec.decode(block))
            if sum(map(len, found)) > _LEARN_FROM_ROWS:
                break
        return codes.learn(storage, np.concatenate(found))

    def _log_rows(self) -> fingerprint_log.LogRows:
        return fingerprint_log.LogRows(self._log.path, self._codec, n_rows=self._log.n_rows)

    def _copy(self, path: Path, codec: Any) -> tuple[list[tuple[int, int]], list[tuple[int, int]], int]:
        """Writes the live rows into another log: (places, checksums, rows), the first two with track numbers."""
        path.unlink(missing_ok=True)
        rows = self._log_rows()
        new = fingerprint_log.Log(path, row_bytes=codec.row_bytes, n_rows=0)
        moved, crcs, damaged = [], [], []
        with contextlib.closing(new):
            for track in sorted(self.catalogue.tracks(), key=lambda track: track.first_row):
                block = rows.codes(track.first_row, track.first_row + track.n_rows)
                if fingerprint_log.checksum(block) != track.crc:
                    damaged.append(track.name)
                    continue
                if codec is not self._codec:
                    block = codec.encode(self._codec.decode(block))
                moved.append((new.append(block), track.id))
                crcs.append((fingerprint_log.checksum(block), track.id))
            new.sync()
        index_segments.sync_folder(self.folder)
        if damaged:
            raise errors.Invalid(
                f"{self.folder}: {len(damaged)} tracks are damaged, such as {damaged[0]}; nafp verify names them: "
                "remove them, compact, and add their files again"
            )
        return moved, crcs, new.n_rows

    def _tidy(self) -> None:
        """Removes files that a killed writer left, which no transaction names."""
        named = {segment.file for segment in self.catalogue.segments()} | {self._log.path.name}
        for pattern in _OURS:
            for path in self.folder.glob(pattern):
                if path.name not in named:
                    path.unlink(missing_ok=True)

    @contextlib.contextmanager
    def _safely(self) -> Iterator[None]:
        """Says in words of ours what a disk refuses."""
        try:
            yield
        except errors.Unwritable:
            raise
        except sqlite3.OperationalError as error:
            code = getattr(error, "sqlite_errorcode", 0) & 0xFF
            if code not in _DISK_ERRORS:
                raise
            raise writer_lock.unwritable(self.folder, OSError(_DISK_ERRORS[code], str(error))) from error
        except OSError as error:
            raise writer_lock.unwritable(self.folder, error) from error
