"""Index files of a database: each covers a range of the log, is written once, and is replaced as a whole.

Rows that no file covers yet are the tail. They are searched in memory, exactly. A full tail becomes a file, and eight
files of about one size become one. A file holds 4-bit codes of pairs of dimensions, which a processor scans at 0.6 ms a
million rows: all of them up to eight million rows, and 16 % of its lists beyond (see `nafp.search.plans`). A learned
storage (see `nafp.database.codes`) consists of such codes already, and has no index files.
"""

from __future__ import annotations

import functools
from pathlib import Path

import numpy as np

from nafp.database import catalogue, codes, facts, fingerprint_log
from nafp.jobs import plain_files
from nafp.search import checked_index, collection, index, plans

FILE_NAMES = facts.SEGMENT_NAMES
SEAL_ROWS = 65_536  # Rows of a full tail: 9 hours of audio, 33 MB of memory, 2 ms to search for a clip of ten seconds.
FAN = 8
K = 100  # Neighbours of a row to look at, as in `plans`.
_LISTS_FROM = 8 * 2**20  # Rows. Scanning fewer than these in full takes under 6 ms for each row of a query.
PACK_ROWS = 2**20  # Rows of a learned storage in one index. It takes 0.06 s to make, once while the rows stay.


def file_name(generation: int, first: int, n_rows: int) -> str:
    """Returns the name of the index file over rows first .. first + n_rows of a log."""
    return f"segment-{generation:04d}-{first}-{n_rows}.faiss"


def build(
    folder: Path, rows: fingerprint_log.LogRows, *, first: int, n_rows: int, generation: int
) -> catalogue.Segment:
    """Writes the index file over rows first .. first + n_rows, which is durable on return.

    Raises errors.Unwritable if the disk takes no more. Nothing is left of the file then.
    """
    part = fingerprint_log.LogRows(rows.path, rows.codec, first=first, n_rows=n_rows, peak_bytes=rows.peak_bytes)
    name = file_name(generation, first, n_rows)
    index.build(part, _plan(n_rows, rows.dim), check=False).save(folder / name)
    return catalogue.Segment(0, name, first, n_rows, *plain_files.size_and_checksum(folder / name))


def opened(folder: Path, segment: catalogue.Segment, *, dim: int) -> index.Index:
    """Opens an index file. Raises errors.Invalid if it is missing, or is not the file that was written."""
    plan, crc, n_bytes = _plan(segment.n_rows, dim), segment.crc, segment.n_bytes
    return checked_index.opened(folder / segment.file, plan, crc=crc, n_rows=segment.n_rows, dim=dim, n_bytes=n_bytes)


def packed(rows: fingerprint_log.LogRows, codec: codes.Learned, *, first: int, end: int) -> index.Index:
    """Indexes rows of a learned storage by their codes, without computing anything."""
    plan = plans.plan(f"PQ{len(codec.places)}x4fs", n_rows=max(end - first, 256), dim=rows.dim, k=K)
    return index.of_codes(rows.vector_codes(first, end), codec.places, plan, dim=rows.dim)


class Tail:
    """An exact index over rows first .. end of a log, made when it is first searched: who only lists needs none."""

    def __init__(self, rows: fingerprint_log.LogRows, first: int, end: int):
        self._rows, self._first, self._end = rows, first, end

    def __len__(self) -> int:
        return self._end - self._first

    def search(self, queries: np.ndarray, k: int = 0) -> tuple[np.ndarray, np.ndarray]:
        """Searches the rows, as `nafp.search.index.Index.search`. Rows count from `first`."""
        return self._built.search(queries, k)

    @functools.cached_property  # Two threads may make it twice, and get the same.
    def _built(self) -> index.Index:
        vectors = self._rows.read(self._first, self._end)
        flat = plans.plan("l2", n_rows=len(vectors), dim=vectors.shape[1], k=K)
        return index.build(collection.Collection([vectors]), flat, check=False)


def due(segments: list[catalogue.Segment], *, seal_rows: int = SEAL_ROWS) -> list[catalogue.Segment]:
    """Returns the neighbouring segments, at the end, that are to become one, or [] if none are."""
    tiers = {_tier(segment.n_rows, seal_rows) for segment in segments[-FAN:]}
    return segments[-FAN:] if len(segments) >= FAN and len(tiers) == 1 else []


def _tier(n_rows: int, seal_rows: int) -> int:
    """Returns how often a full tail has grown by a factor of FAN to reach this size."""
    return int(np.floor(np.log(max(1, n_rows / seal_rows)) / np.log(FAN) + 1e-9))


def _plan(n_rows: int, dim: int) -> plans.Plan:
    if n_rows >= _LISTS_FROM:
        return plans.plan("auto", n_rows=n_rows, dim=dim, k=K)
    return plans.plan(f"PQ{dim // 2}x4fs", n_rows=max(n_rows, 256), dim=dim, k=K)
