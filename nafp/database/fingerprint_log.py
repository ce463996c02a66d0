"""The log of a database: coded fingerprints one after the other, only ever appended to.

A row has a fixed size and no header. The catalogue says which track it belongs to. Bytes behind the last row that the
catalogue counts were never acknowledged, and the next writer cuts them off.
"""

from __future__ import annotations

import contextlib
import os
import zlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from nafp.database import log_place
from nafp.database.codes import RowCodec
from nafp.jobs import plain_files
from nafp.search import collection, rows, store

_LOOKED_OVER_BYTES = 64 * 2**20  # To compare so many bytes with their checksums takes 0.05 s, once.
FILE_NAMES = log_place.FILE_NAMES  # The names that `file_name` returns, as a regular expression.


def file_name(generation: int) -> str:
    """Returns the name of the log of a generation. Compacting starts the next generation."""
    return f"fingerprints-{generation:04d}.log"


def checksum(codes: np.ndarray) -> int:
    """Computes the CRC-32 of coded rows."""
    return zlib.crc32(np.ascontiguousarray(codes).data)


class Log:
    """A log open for appending. n_rows: the number of rows that the catalogue counts."""

    def __init__(self, path: str | os.PathLike, *, row_bytes: int, n_rows: int):
        self.path, self.row_bytes, self.n_rows = Path(path), row_bytes, n_rows
        self._file = plain_files.to_change(log_place.to_write(self.path))
        self._cut()

    def append(self, codes: np.ndarray) -> int:
        """Adds rows uint8 [n, row_bytes], which `sync` makes durable, and returns the number of the first.

        Raises OSError if the disk takes no more. The log is then as it was.
        """
        first, left = self.n_rows, np.ascontiguousarray(codes).data.cast("B")
        offset = first * self.row_bytes
        try:
            while left:
                n = os.pwrite(self._file, left, offset)
                left, offset = left[n:], offset + n
        except OSError:
            self.back_to(first)
            raise
        self.n_rows += len(codes)
        return first

    def sync(self) -> None:
        """Waits until all rows are on the disk."""
        os.fsync(self._file)

    def back_to(self, n_rows: int) -> None:
        """Removes the rows that were appended after the first `n_rows`."""
        self.n_rows = n_rows
        with contextlib.suppress(OSError):  # The next writer cuts them off.
            self._cut()

    def close(self) -> None:
        """Closes the file. Further calls do nothing."""
        if self._file >= 0:
            os.close(self._file)
            self._file = -1

    def _cut(self) -> None:
        n_bytes = self.n_rows * self.row_bytes
        if os.fstat(self._file).st_size > n_bytes:
            os.ftruncate(self._file, n_bytes)


class LogRows(collection.Collection):
    """Rows first .. first + n_rows of a log, decoded as they are read: float32, of the codec's gain as length.

    peak_bytes: bytes of the peaks behind the code of each row, 0 for none (see `nafp.search.peaks`).
    tracks: the tracks that a search can find, their rows counted from `first`. Rows between them belong to no track.
    crcs: the checksum of each track, if they are known. damaged: the names of tracks found not to have it.
    """

    def __init__(
        self,
        path: Path,
        codec: RowCodec,
        *,
        first: int = 0,
        n_rows: int,
        peak_bytes: int = 0,
        tracks: collection.TrackTable | None = None,
        crcs: Sequence[int] | np.ndarray = (),
        hop_s: float = store.BARE_HOP_S,
    ):
        shape = (n_rows, codec.row_bytes + peak_bytes)
        codes: np.ndarray = np.zeros(shape, np.uint8)
        if n_rows:  # An empty file cannot be mapped.
            codes = np.memmap(path, np.uint8, "r", offset=first * shape[1], shape=shape)
        # A Collection without a table of tracks takes all rows for one track.
        super().__init__([codes], tracks if tracks is not None else (), hop_s=hop_s)
        self.path, self.codec, self.dim, self._first = Path(path), codec, codec.dim, first
        self.peak_bytes, self.row_bytes = peak_bytes, shape[1]
        self._crcs, self._checked, self.damaged = crcs, dict[int, bool](), list[str]()
        self._codes: rows.OnDisk | rows.InMemory = rows.InMemory(codes)
        if isinstance(codes, np.memmap) and codes.nbytes > rows.MAPPED_BYTES:
            self._codes = rows.OnDisk(codes)

    def codes(self, start: int, stop: int) -> np.ndarray:
        """Copies rows as they are stored, uint8 [n, row_bytes], their peaks at the end."""
        out = np.empty((stop - start, self.row_bytes), np.uint8)
        if len(out):
            self._codes.read(start, out)
        return out

    def vector_codes(self, start: int, stop: int) -> np.ndarray:
        """Copies the codes of fingerprints alone, uint8 [n, codec.row_bytes]."""
        return np.ascontiguousarray(self.codes(start, stop)[:, : self.codec.row_bytes])

    def peaks(self, start: int, stop: int) -> np.ndarray:
        return self.codes(start, stop)[:, self.codec.row_bytes :]

    def is_whole(self, track: int) -> bool:
        if not len(self._crcs):
            return True
        if track not in self._checked:
            first, end = int(self.first_rows[track]), int(self.end_rows[track])
            self._checked[track] = checksum(self.codes(first, end)) == int(self._crcs[track])
            if not self._checked[track]:
                self.damaged.append(self.tracks[track])
        return self._checked[track]

    def look_over(self, tracks: np.ndarray) -> None:
        is_small = len(self) * self.row_bytes <= _LOOKED_OVER_BYTES
        for track in range(len(self.tracks)) if is_small else tracks.tolist():
            self.is_whole(track)

    def read(self, start: int, stop: int) -> np.ndarray:
        return self._decoded(self.codes(start, stop))

    def windows(self, starts: np.ndarray, n: int) -> np.ndarray:
        starts = np.asarray(starts, np.int64)
        self._require_rows(starts)
        out = np.empty((len(starts), n, self.row_bytes), np.uint8)
        inside = (starts >= 0) & (starts + n <= len(self))
        if inside.all():
            self._codes.windows(starts, out)
            return self._decoded(out)
        whole = np.empty((int(inside.sum()), n, self.row_bytes), np.uint8)
        self._codes.windows(starts[inside], whole)
        out[inside] = whole
        for number in np.flatnonzero(~inside):  # Few: only those over an end of the log.
            wanted = np.clip(np.arange(n) + starts[number], 0, len(self) - 1)
            out[number] = self.codes(int(wanted[0]), int(wanted[-1]) + 1)[wanted - wanted[0]]
        return self._decoded(out)

    def _decoded(self, codes: np.ndarray) -> np.ndarray:
        vectors = self.codec.decode(codes[..., : self.codec.row_bytes])
        if self.codec.gain != 1:
            vectors *= np.float32(self.codec.gain)
        return vectors

    def place(self, row: int) -> str:
        return f"{self.path}, row {self._first + row}"
