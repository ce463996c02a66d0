"""Files that appear whole or not at all: written under another name, synced to the disk, then renamed."""

from __future__ import annotations

import contextlib
import errno
import glob
import os
import re
import shutil
import stat
from collections.abc import Iterator
from contextlib import AbstractContextManager
from typing import IO, Any, BinaryIO, Literal, TextIO, overload

from nafp import errors

FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_STREAM = re.compile(r"/dev/(std(out|err)|fd/\d+)|/proc/(self|\d+)/fd/\d+")
FORBIDDEN = (errno.EACCES, errno.EPERM, errno.EROFS)


@overload
def opened(path: str | os.PathLike, mode: Literal["wb"]) -> AbstractContextManager[BinaryIO]: ...


@overload
def opened(
    path: str | os.PathLike,
    mode: Literal["w"] = "w",
    *,
    encoding: str | None = None,
    errors: str | None = None,
    newline: str | None = None,
) -> AbstractContextManager[TextIO]: ...


def opened(
    path: str | os.PathLike,
    mode: Literal["w", "wb"] = "w",
    *,
    encoding: str | None = None,
    errors: str | None = None,
    newline: str | None = None,
) -> AbstractContextManager[IO[Any]]:
    """Opens a file for writing that replaces `path` when the block ends well.

    mode, encoding, errors, newline: as for `open`. If the block raises, `path` stays as it was and nothing is left
    beside it. Each process writes under a name of its own, so two processes never mix their bytes; `tidy` removes
    what a killed one leaves. A stream such as /dev/stdout or /dev/null is written as it is. Raises errors.Unwritable
    when the disk is full or the folder is read-only.
    """
    if _is_stream(path):
        return open(path, mode, encoding=encoding, errors=errors, newline=newline)
    return _opened(path, mode, encoding, errors, newline)


def _is_stream(path: str | os.PathLike) -> bool:
    """Returns whether a path names a stream of the system. A rename would put a file in the place of /dev/null.

    A device or a pipe elsewhere may be a stranger's, and is replaced by the file.
    """
    name = os.path.abspath(path)
    if _STREAM.fullmatch(name):
        return os.path.exists(name)
    return os.path.dirname(name) == "/dev" and os.path.exists(name) and stat.S_ISCHR(os.lstat(name).st_mode)


@contextlib.contextmanager
def _opened(
    path: str | os.PathLike, mode: str, encoding: str | None, on_error: str | None, newline: str | None
) -> Iterator[IO[Any]]:
    part = part_name(path)
    try:
        with open(part, mode, encoding=encoding, errors=on_error, newline=newline, opener=_anew) as file:
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


def _anew(path: str, flags: int) -> int:
    """Opens a new file in place of a link, or of what a killed process with the same number left under this name."""
    with contextlib.suppress(FileNotFoundError):
        os.unlink(path)
    return os.open(path, flags | os.O_EXCL, 0o666)


def _is_refusal(error: OSError, part: str) -> bool:
    """Returns whether the disk refused the file itself, and not another file that the block works with."""
    return error.errno in (*FULL, *FORBIDDEN, errno.EIO) and error.filename in (None, part)


def copied(source: str | os.PathLike, target: str | os.PathLike) -> None:
    """Copies the bytes of a file whole or not at all. Raises what `opened` raises."""
    with open(source, "rb") as original, opened(target, "wb") as copy:
        shutil.copyfileobj(original, copy)


def part_name(path: str | os.PathLike) -> str:
    """Returns the name under which this process writes a file until it is whole."""
    return f"{os.fspath(path)}.{os.getpid()}.part"


def tidy(folder: str | os.PathLike) -> None:
    """Removes the unfinished files that killed processes left in a folder.

    It is for folders that no other process is writing to at the moment.
    """
    for part in glob.glob(os.path.join(glob.escape(os.fspath(folder)), "*.*[0-9].part")):
        with contextlib.suppress(FileNotFoundError):
            os.remove(part)


def sync_folder(folder: str | os.PathLike) -> None:
    """Makes the names in a folder survive a power cut: renames, new files, removals.

    Where a folder cannot be opened or synced (a folder that one may write to but not list, some network disks, Windows)
    the system alone decides when the names reach the disk.
    """
    try:
        handle = os.open(folder, os.O_RDONLY)
    except (PermissionError, IsADirectoryError):
        return
    try:
        os.fsync(handle)
    except OSError as error:
        if error.errno not in (errno.EBADF, errno.EINVAL):
            raise
    finally:
        os.close(handle)


def reason(error: OSError) -> str:
    """Returns in plain words why a disk or a folder refused a write."""
    if error.errno in FULL:
        return "the disk is full"
    if error.errno in FORBIDDEN:
        return "it is read-only"
    if error.errno == errno.EIO:
        return "the disk is full or failing"
    return error.strerror or str(error)
