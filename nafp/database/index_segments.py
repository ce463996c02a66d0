"""Index files of a database: each over a range of the log, written once, replaced as a whole.

Rows that no file covers yet, the tail, are searched as they are, in memory. A full tail becomes a file; eight files of
about one size become one. A file keeps 4-bit codes of pairs of dimensions that a processor scans at 0.6 ms a million
rows: all of them up to eight million rows, and 16 % of its lists beyond (see `plans`). A learned storage (see `codes`)
consists of such codes already, and has no index files.
"""

from __future__ import annotations

import errno
import os
import zlib
from pathlib import Path

import numpy as np

from nafp import errors
from nafp.database import catalogue, fingerprint_log
from nafp.search import collection, index, plans

SEAL_ROWS = 65_536  # Rows in a tail: 9 hours of audio, 33 MB of memory, 2 ms to search for a clip of ten seconds.
FAN = 8
K = 100  # Neighbours of a row to look at, as `plans` has it.
# Rows; scanning fewer than these in full takes under 6 ms for each row of a query.
_LISTS_FROM = 8 * 2**20
_READ_BYTES = 2**24
# Of a learned storage, in one index: 0.06 s to make, and made once while the rows stay.
PACK_ROWS = 2**20


def build(
    folder: Path, rows: fingerprint_log.LogRows, *, first: int, n_rows: int, generation: int
) -> catalogue.Segment:
    """Writes the index file over rows first .. first + n_rows; durable on return."""
    part = fingerprint_log.LogRows(rows.path, rows.codec, first=first, n_rows=n_rows)
    built = index.build(part, _plan(n_rows, rows.dim), check=False)
    name = f"segment-{generation:04d}-{first}-{n_rows}.faiss"
    try:
        built.save(folder / name)
    except RuntimeError as error:  # What faiss raises, whatever a disk refuses.
        (folder / f"{name}.tmp").unlink(missing_ok=True)
        raise OSError(errno.ENOSPC, f"{name} could not be written: {str(error).splitlines()[-1]}") from error
    sync_folder(folder)
    return catalogue.Segment(0, name, first, n_rows, *size_and_checksum(folder / name))


def opened(folder: Path, segment: catalogue.Segment, *, dim: int) -> index.Index:
    """Opens an index file. Raises ValueError when it is not there, or not what was written."""
    path = folder / segment.file
    try:
        n_bytes = path.stat().st_size
        if n_bytes != segment.n_bytes:
            raise errors.Invalid(f"{path}: has {n_bytes} bytes, {segment.n_bytes} were written")
        found = index.Index.load(path, _plan(segment.n_rows, dim))
    except (OSError, RuntimeError) as error:  # The latter is what faiss raises.
        raise errors.Invalid(f"{path}: cannot be read: {str(error).splitlines()[-1]}") from error
    if len(found) != segment.n_rows:
        raise errors.Invalid(f"{path}: holds {len(found)} rows, {segment.n_rows} were written")
    return found


def packed(rows: fingerprint_log.LogRows, *, first: int, end: int) -> index.Index:
    """Indexes rows of a learned storage by the codes they are kept in: nothing is computed, and nothing kept twice."""
    places = rows.codec.places
    plan = plans.plan(f"PQ{len(places)}x4fs", n_rows=max(end - first, 256), dim=rows.dim, k=K)
    return index.of_codes(rows.codes(first, end), places, plan, dim=rows.dim)


def tail(vectors: np.ndarray) -> index.Index:
    """Indexes rows [n, D], n > 0, as they are."""
    flat = plans.plan("l2", n_rows=len(vectors), dim=vectors.shape[1], k=K)
    return index.build(collection.Collection([vectors]), flat, check=False)


def due(segments: list[catalogue.Segment], *, seal_rows: int = SEAL_ROWS) -> list[catalogue.Segment]:
    """Chooses the segments, neighbours at the end, that are to become one; [] for none."""
    size = [_tier(segment.n_rows, seal_rows) for segment in segments]
    last = segments[-FAN:]
    alike = len(last) == FAN and len(set(size[-FAN:])) == 1
    return last if alike else []


def size_and_checksum(path: Path) -> tuple[int, int]:
    """Reads a file through: its bytes, and their CRC-32."""
    n_bytes, crc = 0, 0
    with open(path, "rb") as file:
        while block := file.read(_READ_BYTES):
            n_bytes, crc = n_bytes + len(block), zlib.crc32(block, crc)
    return n_bytes, crc


def sync_folder(folder: Path) -> None:
    """Makes renames in a folder durable."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _tier(n_rows: int, seal_rows: int) -> int:
    return int(np.floor(np.log(max(1, n_rows / seal_rows)) / np.log(FAN) + 1e-9))


def _plan(n_rows: int, dim: int) -> plans.Plan:
    if n_rows >= _LISTS_FROM:
        return plans.plan("auto", n_rows=n_rows, dim=dim, k=K)
    return plans.plan(f"PQ{dim // 2}x4fs", n_rows=max(n_rows, 256), dim=dim, k=K)
