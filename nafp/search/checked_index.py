"""Opens an index file that is known to be the one that was written, because faiss trusts what it reads.

Of single bits changed in index files, some made faiss find nothing without a word, take a gigabyte, or hang. To read
and compare the 32 MB of a million rows takes 0.02 s.
"""

import os
import struct

from nafp import errors
from nafp.jobs import plain_files
from nafp.search import index, plans

_HEADER = struct.Struct("<4siq")  # How a faiss file begins: kind, dimensions, rows.


def opened(
    path: str | os.PathLike, chosen: plans.Plan, *, crc: int, n_rows: int, dim: int, n_bytes: int | None = None
) -> index.Index:
    """Opens the index over n_rows rows of `dim` dimensions in a plain faiss file.

    crc, n_bytes: CRC-32 and size of the file that was written. Raises errors.Invalid if it is missing, for other bytes,
    and for an index of other rows. faiss sees none of these.
    """
    try:
        head = _checked(path, crc, n_bytes)
    except OSError as error:
        raise errors.Invalid(f"{path}: cannot be read: {error.strerror}") from error
    kind, written_dim, written_rows = _HEADER.unpack_from(head.ljust(_HEADER.size))
    if not kind.startswith(b"I"):
        raise errors.Invalid(f"{path}: is no index of faiss: it begins with {kind!r}")
    if (written_rows, written_dim) != (n_rows, dim):
        raise errors.Invalid(
            f"{path}: holds {written_rows} rows of {written_dim} dimensions, {n_rows} of {dim} are needed"
        )
    try:
        return index.Index.load(path, chosen)
    except (RuntimeError, MemoryError) as error:  # faiss raises the former.
        raise errors.Invalid(f"{path}: cannot be read: {str(error).splitlines()[-1]}") from error


def _checked(path: str | os.PathLike, crc: int, n_bytes: int | None) -> bytes:
    """Compares a file with its checksum and returns its first bytes."""
    with plain_files.opened(path) as file:
        size, head = os.fstat(file.fileno()).st_size, file.read(_HEADER.size)
    if n_bytes is not None and size != n_bytes:
        raise errors.Invalid(f"{path}: has {size} bytes, {n_bytes} were written")
    if plain_files.size_and_checksum(path)[1] != crc:
        raise errors.Invalid(f"{path}: other bytes than were written: the checksum differs")
    return head
