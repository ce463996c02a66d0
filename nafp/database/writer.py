"""Changes a database so that a kill at any moment leaves it whole: nothing acknowledged is lost or half there.

The rows of a track reach the disk first, in the log. One transaction of the catalogue then makes them a track. Index
files are written under another name, renamed, and named by a transaction. Compacting writes the next generation of the
log beside the present one, and one transaction changes over to it. The next writer removes files that no transaction
names.
"""

from __future__ import annotations

import contextlib
import os
import time
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from nafp import errors
from nafp.database import (
    catalogue,
    codes,
    engine_facts,
    engine_sync,
    fingerprint_log,
    index_segments,
    leftovers,
    log_place,
    refusals,
    writer_lock,
)
from nafp.jobs import whole_files
from nafp.search import collection

_LEARN_FROM_ROWS = 65_536


class SourceFile(NamedTuple):
    """A file that holds the audio of a track.

    changed_ns: the time of its last change. digest: SHA-256 of its bytes.
    """

    path: str
    n_bytes: int
    changed_ns: int
    digest: str


class _Copied(NamedTuple):
    """A log that was copied. first_rows, crcs: (value, number of the track). n_rows: rows in it."""

    first_rows: list[tuple[int, int]]
    crcs: list[tuple[int, int]]
    n_rows: int


class DatabaseWriter:
    """The one process that may change a database. `close` ends it.

    Raises errors.Locked while there is another. Raises errors.Unwritable, here and in every method, if the disk is full
    or the folder read-only. Nothing has changed then.
    """

    def __init__(self, folder: str | os.PathLike, *, seal_rows: int = index_segments.SEAL_ROWS):
        self.folder, self._seal_rows, self._grouped = Path(folder), seal_rows, False
        self._learn_at_row = seal_rows  # From this length of the log on, a learned storage that is wanted may begin.
        self._lock = writer_lock.take(self.folder)
        try:
            with self._explained():
                self.catalogue = catalogue.Catalogue(self.folder, write=True)
                self._engine = engine_sync.EngineSync(self.catalogue)
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
        peaks: np.ndarray | None = None,
        digest: str | None = None,
        metadata: Mapping[str, str] | None = None,
        damage: str = "",
        source: SourceFile | None = None,
        replace: bool = False,
    ) -> int:
        """Adds a track with fingerprints [n, D] and returns its number. On return it is safe.

        peaks: uint8 [n, P] of the same rows, where the database keeps them (see `peak_bytes`); None where nobody knows
        them. digest, damage, metadata: as in `catalogue.DatabaseTrack`. replace: whether to replace a track of the same
        name. Raises errors.Invalid, and adds nothing, for a name or digest that is in the database, and for vectors
        that are no fingerprints.
        """
        self._check(name, vectors)
        added = time.strftime("%Y-%m-%d %H:%M:%S")
        # Rows are coded inside: the log may have changed its storage, and moved its rows, as the block begins.
        with contextlib.nullcontext() if self._grouped else self.together():
            rows = self._with_peaks(self._codec.encode(vectors), peaks)
            place = (self._log.n_rows, len(rows), fingerprint_log.checksum(rows))
            track = catalogue.DatabaseTrack(0, name, seconds, *place, digest, added, damage, metadata or {})
            if replace:
                self.catalogue.delete([name])
            number = self.catalogue.insert(track)
            self._log.append(rows)
            if source:
                self.catalogue.note_source(*source, name)
        return number

    @contextlib.contextmanager
    def together(self) -> Iterator[None]:
        """Adds all tracks of the block in one go: all are safe at its end, and none is there if anything is raised."""
        with self._explained():
            self._seal()
            self._grouped = True
            try:
                with self.catalogue.change():
                    yield
                    self._log.sync()  # Before the catalogue: the rows that it names are on the disk.
                    self.catalogue.tell({"n_rows": self._log.n_rows})
            except BaseException:
                # Back to what the catalogue says, not to where the block began: Ctrl-C may have come after the commit.
                self._log.back_to(self.catalogue.about()["n_rows"])
                raise
            finally:
                self._grouped = False

    def note_source(self, source: SourceFile, track: str) -> None:
        """Remembers one more file with the audio of a track."""
        with self._explained(), self.catalogue.change():
            self.catalogue.note_source(*source, track)

    def describe(self, name: str, metadata: Mapping[str, str]) -> None:
        """Sets metadata of a track. An empty value removes its key."""
        with self._explained(), self.catalogue.change():
            self.catalogue.describe(self.catalogue.track(name).id, metadata)

    def rename(self, names: Mapping[str, str]) -> list[str]:
        """Renames tracks. See `Catalogue.rename`."""
        with self._explained(), self.catalogue.change():
            return self.catalogue.rename(names)

    def remove(self, names: Sequence[str]) -> int:
        """Removes tracks, all at once, and returns how many there were. `compact` gives their space back."""
        with self._explained(), self.catalogue.change():
            return self.catalogue.delete(names)

    def compact(self, storage: str | None = None, log_folder: str | os.PathLike | None = None) -> None:
        """Writes the log anew without the rows of removed tracks, and one index file over it.

        storage, log_folder: the storage to change to, and where the log is to lie. None keeps what is. Raises
        errors.Invalid for damaged tracks, which have to be removed first.
        """
        codec = self._codec if storage in (None, self._codec.name) else self._other_codec(str(storage))
        generation = self._generation + 1
        path = self.folder / fingerprint_log.file_name(generation)
        with self._explained():
            try:
                copied = self._copy(path, codec, log_folder)
                rows = fingerprint_log.LogRows(path, codec, n_rows=copied.n_rows, peak_bytes=self.peak_bytes)
                engine = self._engine.compacted(rows, generation=generation)
                segments = [] if engine and engine.rows else self._one_file(rows, generation)
            except BaseException:
                log_place.remove(path)  # On a full disk, its space is needed.
                raise
            self._go_over(copied, codec, segments, generation, engine)
            self._log.close()
            self.catalogue.copy()
            self._open_log()
            self._tidy()

    def reindex(self, engine: engine_facts.Engine | None, *, show: bool = False) -> None:
        """Indexes all rows anew: in a collection of an engine, or in one index file if `engine` is None.

        show: whether to show progress. Raises errors.EngineFailed, and leaves all as it is, if the engine cannot take
        the rows.
        """
        with self._explained():
            rows = self._log_rows()
            if len(rows) < self._log.n_rows:
                raise errors.Invalid(f"{rows.path}: rows are missing; nafp verify {self.folder} names what is lost")
            places = [(first, n_rows) for _, _, _, first, n_rows, _ in self.catalogue.places()]
            segments = [] if engine else self._one_file(rows, self._generation)
            engine = engine and self._engine.filled(engine, rows, places, show=show)
            with self.catalogue.change():
                old = self.catalogue.segments()
                self.catalogue.replace_segments([segment.id for segment in old], segments)
                self._engine.put_in_place(engine)
            self._engine.leave_elsewhere(engine)
            self._unlink({segment.file for segment in old} - {segment.file for segment in segments})

    def close(self) -> None:
        """Writes index files that are due, and lets the next writer in."""
        try:
            with self._explained():
                self._seal()
                self._engine.tidy()
                self.catalogue.copy()
        finally:
            self._let_go()

    def __enter__(self) -> DatabaseWriter:
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

    def _with_peaks(self, rows: np.ndarray, peaks: np.ndarray | None) -> np.ndarray:
        """Puts the peaks of each row behind its code, zeros for unknown ones: uint8 [n, R + P]."""
        shape = (len(rows), self.peak_bytes)
        if peaks is None or not self.peak_bytes:
            peaks = np.zeros(shape, np.uint8)
        if peaks.shape != shape:
            raise errors.Invalid(f"peaks of shape {peaks.shape}; {shape} are needed")
        return np.concatenate([rows, peaks], axis=1)

    def _open_log(self) -> None:
        about = self.catalogue.about()
        self._generation, self._wanted = about["generation"], about.get("wanted")
        self._codec, self.peak_bytes = codes.of(about), about.get("peak_bytes", 0)
        path = self.folder / fingerprint_log.file_name(self._generation)
        is_new = not path.exists()
        if is_new and about["n_rows"]:
            raise log_place.missing(path)
        self._log = fingerprint_log.Log(path, row_bytes=self._row_bytes(self._codec), n_rows=about["n_rows"])
        if is_new:  # Its name must survive a power cut, too.
            whole_files.sync_folder(self.folder)

    def _seal(self) -> None:
        """Makes an index file of a full tail, and one file of several that have the same size.

        A learned storage has no index files. It begins here, once there are enough rows to learn from.
        """
        if isinstance(self._codec, codes.Learned):
            self._sent()
            return
        if self._wanted and self._log.n_rows >= self._learn_at_row and self._learned(self._wanted):
            return
        if self._sent():
            return
        segments, engine = self.catalogue.segments(), self._engine.engine
        end = segments[-1].first_row + segments[-1].n_rows if segments else engine.rows if engine else 0
        if self._log.n_rows - end < self._seal_rows:
            return
        rows = self._log_rows()
        self._put(rows, end, self._log.n_rows - end, [])
        while due := index_segments.due(self.catalogue.segments(), seal_rows=self._seal_rows):
            self._put(rows, due[0].first_row, sum(segment.n_rows for segment in due), due)

    def _learned(self, storage: str) -> bool:
        """Changes over to a learned storage. Returns False, and changes nothing, if it has to wait.

        It waits for more tracks if many were removed, and for the next writer if tracks are damaged.
        """
        n_missing = self._seal_rows - sum(track.n_rows for track in self.catalogue.tracks())
        if n_missing > 0:
            self._learn_at_row = self._log.n_rows + n_missing
            return False
        try:
            self.compact(storage)
        except errors.Unwritable:
            raise
        except errors.Invalid:
            self._wanted = None
            return False
        return True

    def _sent(self) -> bool:
        """Sends a full tail to the engine, if there is one. Returns whether it took it."""
        engine = self._engine.engine
        if engine is None or self._engine.trouble or self._log.n_rows - engine.rows < self._seal_rows:
            return False
        files = self._engine.take(self._log_rows())
        self._unlink(files or ())
        return files is not None

    def _put(
        self, rows: fingerprint_log.LogRows, first: int, n_rows: int, replaced: Sequence[catalogue.Segment]
    ) -> None:
        """Writes an index file that takes the place of others."""
        new = self._build(rows, first, n_rows, self._generation)
        with self.catalogue.change():
            self.catalogue.replace_segments([segment.id for segment in replaced], [new])
        self._unlink(segment.file for segment in replaced)

    def _unlink(self, files: Iterable[str]) -> None:
        for file in files:
            (self.folder / file).unlink(missing_ok=True)

    def _one_file(self, rows: fingerprint_log.LogRows, generation: int) -> list[catalogue.Segment]:
        """Writes one index file over all rows, if they are enough and their storage has such files."""
        if len(rows) < self._seal_rows or isinstance(rows.codec, codes.Learned):
            return []
        return [self._build(rows, 0, len(rows), generation)]

    def _build(self, rows: fingerprint_log.LogRows, first: int, n_rows: int, generation: int) -> catalogue.Segment:
        return index_segments.build(self.folder, rows, first=first, n_rows=n_rows, generation=generation)

    def _other_codec(self, storage: str) -> codes.RowCodec:
        """Returns the codec of another storage, learned from rows of this database if it is a learned one."""
        if storage not in codes.LEARNED:
            return codes.codec(storage, dim=self._codec.dim)
        rows, samples, n_rows = self._log_rows(), [np.zeros((0, self._codec.dim), np.float32)], 0
        # In an order that has nothing to do with the music, until there are enough.
        present = (track for track in self.catalogue.tracks() if track.first_row + track.n_rows <= len(rows))
        for track in sorted(present, key=lambda track: zlib.crc32(f"{track.id}".encode())):
            block = rows.vector_codes(track.first_row, track.first_row + track.n_rows)
            samples.append(self._codec.decode(block))
            n_rows += len(block)
            if n_rows > _LEARN_FROM_ROWS:
                break
        return codes.learn(storage, np.concatenate(samples))

    def _log_rows(self) -> fingerprint_log.LogRows:
        """Opens the rows of the log. Of a damaged log that was cut off, these are fewer than the catalogue counts."""
        n_present = self._log.path.stat().st_size // self._row_bytes(self._codec)
        n_rows = min(self._log.n_rows, n_present)
        return fingerprint_log.LogRows(self._log.path, self._codec, n_rows=n_rows, peak_bytes=self.peak_bytes)

    def _row_bytes(self, codec: codes.RowCodec) -> int:
        return codec.row_bytes + self.peak_bytes

    def _copy(self, path: Path, codec: codes.RowCodec, log_folder: str | os.PathLike | None) -> _Copied:
        """Writes the live rows into another log. Raises errors.Invalid if the rows of a track are damaged."""
        log_place.begin(path, self._log.path, log_folder)
        rows, damaged, copied = self._log_rows(), [], _Copied([], [], 0)
        new = fingerprint_log.Log(path, row_bytes=self._row_bytes(codec), n_rows=0)
        with contextlib.closing(new):
            for track in sorted(self.catalogue.tracks(), key=lambda track: track.first_row):
                end = track.first_row + track.n_rows
                if end > len(rows):
                    damaged.append(track.name)
                    continue
                block = rows.codes(track.first_row, end)
                if fingerprint_log.checksum(block) != track.crc:
                    damaged.append(track.name)
                    continue
                if codec is not self._codec:
                    vectors, peaks = np.split(block, [self._codec.row_bytes], axis=1)
                    block = self._with_peaks(codec.encode(self._codec.decode(vectors)), peaks)
                copied.first_rows.append((new.append(block), track.id))
                copied.crcs.append((fingerprint_log.checksum(block), track.id))
            new.sync()
        whole_files.sync_folder(self.folder)
        if damaged:
            raise errors.Invalid(
                f"{self.folder}: {len(damaged)} tracks are damaged, such as {damaged[0]}; nafp verify names them: "
                "remove them, compact, and add their files again"
            )
        return copied._replace(n_rows=new.n_rows)

    def _go_over(
        self,
        copied: _Copied,
        codec: codes.RowCodec,
        segments: Sequence[catalogue.Segment],
        generation: int,
        engine: engine_facts.Engine | None,
    ) -> None:
        """Changes over to a copied log in one transaction."""
        with self.catalogue.change():
            self.catalogue.move(copied.first_rows, copied.crcs)
            old = [segment.id for segment in self.catalogue.segments()]
            self.catalogue.replace_segments(old, segments)
            now = {"generation": generation, "n_rows": copied.n_rows, "wanted": None}
            self.catalogue.tell(now | codes.facts(codec))
            if engine:
                self._engine.put_in_place(engine)

    def _tidy(self) -> None:
        """Removes files that a killed writer left, which no transaction names."""
        leftovers.remove(
            self.folder, named={segment.file for segment in self.catalogue.segments()} | {self._log.path.name}
        )

    def _explained(self) -> contextlib.AbstractContextManager[None]:
        """Says in words, as errors.Unwritable, what the disk refuses within the block."""
        return refusals.explained(self.folder)
