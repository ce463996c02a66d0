"""The log of a database: coded fingerprints one after the other, only ever appended to.

A row has a fixed size and no header; which track it belongs to is in the catalogue. What lies behind the last row that
the catalogue knows was never acknowledged and is cut off by the next writer.
"""

from __future__ import annotations

import contextlib
import os
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from nafp.search import collection, rows, store


def file_name(generation: int) -> str:
    """Names the log of a generation; compacting starts the next one."""
    return f"fingerprints-{generation:04d}.log"


def checksum(codes: np.ndarray) -> int:
    return zlib.crc32(np.ascontiguousarray(codes).data)


class Log:
    """A log open for appending. n_rows: how many the catalogue knows."""

    def __init__(self, path: str | os.PathLike, *, row_bytes: int, n_rows: int):
        self.path, self.row_bytes, self.n_rows = Path(path), row_bytes, n_rows
        self._file = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        self._cut()

    def append(self, codes: np.ndarray) -> int:
        """Adds rows uint8 [n, row_bytes], which `sync` makes durable; returns the number of the first.

        Raises OSError when the disk takes no more; the log is then as it was.
        """
        first, left = self.n_rows, memoryview(np.ascontiguousarray(codes)).cast("B")
        place = first * self.row_bytes
        try:
            while left:
                n = os.pwrite(self._file, left, place)
                left, place = left[n:], place + n
        except OSError:
            self.back_to(first)
            raise
        self.n_rows += len(codes)
        return first

    def sync(self) -> None:
        """Waits until all rows are on the disk."""
        os.fsync(self._file)

    def back_to(self, n_rows: int) -> None:
        """Takes back what was appended since."""
        self.n_rows = n_rows
        with contextlib.suppress(OSError):  # The next writer cuts it off.
            self._cut()

    def close(self) -> None:
        if self._file >= 0:
            os.close(self._file)
            self._file = -1

    def _cut(self) -> None:
        n_bytes = self.n_rows * self.row_bytes
        if os.fstat(self._file).st_size > n_bytes:
            os.ftruncate(self._file, n_bytes)


class LogRows(collection.Collection):
    """Rows first .. first + n of a log, decoded as they are read: float32, of the codec's gain as length.

    tracks: those to be found, with rows counted from `first`; rows between them belong to nobody.
    """

    def __init__(
        self,
        path: Path,
        codec: Any,
        *,
        first: int = 0,
        n_rows: int,
        tracks: Sequence[store.TrackRows] = (),
        hop_s: float = store.BARE_HOP_S,
    ):
        shape = (n_rows, codec.row_bytes)
        codes = np.zeros(shape, np.uint8)
        if n_rows:  # An empty file cannot be mapped.
            codes = np.memmap(path, np.uint8, "r", offset=first * codec.row_bytes, shape=shape)
        # Without a table of tracks, a Collection takes all rows for one.
        super().__init__([codes], tracks, hop_s=hop_s)
        self.path, self.codec, self.dim, self._first = Path(path), codec, codec.dim, first
        large = isinstance(codes, np.memmap) and codes.nbytes > rows.MAPPED_BYTES
        self._codes = rows.OnDisk(codes) if large else rows.InMemory(codes)

    def codes(self, start: int, stop: int) -> np.ndarray:
        """Copies rows as they are kept, uint8 [n, row_bytes]."""
        out = np.empty((stop - start, self.codec.row_bytes), np.uint8)
        if len(out):
            self._codes.read(start, out)
        return out

    def read(self, start: int, stop: int) -> np.ndarray:
        return self._read(self.codes(start, stop))

    def windows(self, starts: np.ndarray, n: int) -> np.ndarray:
        starts = np.asarray(starts, np.int64)
        out = np.empty((len(starts), n, self.codec.row_bytes), np.uint8)
        inside = (starts >= 0) & (starts + n <= len(self))
        if inside.all():
            self._codes.windows(starts, out)
            return self._read(out)
        found = np.empty((int(inside.sum()), n, self.codec.row_bytes), np.uint8)
        self._codes.windows(starts[inside], found)
        out[inside] = found
        for place in np.flatnonzero(~inside):  # Over an end of the log: few.
            wanted = np.clip(np.arange(n) + starts[place], 0, len(self) - 1)
            out[place] = self.codes(int(wanted[0]), int(wanted[-1]) + 1)[wanted - wanted[0]]
        return self._read(out)

    def _read(self, codes: np.ndarray) -> np.ndarray:
        vectors = self.codec.decode(codes)
        if self.codec.gain != 1:
            vectors *= np.float32(self.codec.gain)
        return vectors

    def place(self, row: int) -> str:
        return f"{self.path}, row {self._first + row}"
