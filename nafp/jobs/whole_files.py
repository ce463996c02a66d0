"""Files that appear whole or not at all: written under another name, synced to the disk, then renamed."""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
from collections.abc import Iterator
from typing import IO, Any

from nafp import errors

_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_FORBIDDEN = (errno.EACCES, errno.EPERM, errno.EROFS)


@contextlib.contextmanager
def opened(path: str | os.PathLike, mode: str = "w", **settings: Any) -> Iterator[IO[Any]]:
    """Opens a file for writing that replaces `path` when the block ends well.

    mode, settings: as for `open`. If the block raises, `path` stays as it was and nothing is left beside it. Each
    process writes under a name of its own, so two processes never mix their bytes. Raises errors.Unwritable when the
    disk is full or the folder is read-only.
    """
    part = part_name(path)
    try:
        with open(part, mode, **settings) as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(part, path)
        sync_folder(os.path.dirname(part) or ".")
    except BaseException as error:
        with contextlib.suppress(OSError):
            os.unlink(part)
        if isinstance(error, OSError) and _is_refusal(error, part):
            raise errors.Unwritable(f"{os.fspath(path)}: cannot be written: {reason(error)}") from error
        raise


def _is_refusal(error: OSError, part: str) -> bool:
    """Returns whether the disk refused the file itself, rather than another one that the block works with."""
    return error.errno in (*_FULL, *_FORBIDDEN, errno.EIO) and error.filename in (None, part)


def copied(source: str | os.PathLike, target: str | os.PathLike) -> None:
    """Copies the bytes of a file whole or not at all; errors as `opened` has them."""
    with open(source, "rb") as original, opened(target, "wb") as copy:
        shutil.copyfileobj(original, copy)


def part_name(path: str | os.PathLike) -> str:
    """Returns the name under which this process writes a file until it is whole."""
    return f"{os.fspath(path)}.{os.getpid()}.part"


def sync_folder(folder: str | os.PathLike) -> None:
    """Makes the names in a folder survive a power cut: renames, new files, removals."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def reason(error: OSError) -> str:
    """Says in plain words why a disk or a folder refused a write."""
    if error.errno in _FULL:
        return "the disk is full"
    if error.errno in _FORBIDDEN:
        return "it is read-only"
    if error.errno == errno.EIO:
        return "the disk is full or failing"
    return error.strerror or str(error)
