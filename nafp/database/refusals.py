"""What a disk refuses, said in words: a full disk, a read-only folder, a failing device."""

from __future__ import annotations

import contextlib
import errno
import os
import sqlite3
from collections.abc import Iterator

from nafp import errors
from nafp.jobs import whole_files

# The codes with which sqlite reports a refusal of the disk.
_SQLITE_ERRNO = {
    sqlite3.SQLITE_FULL: errno.ENOSPC,
    sqlite3.SQLITE_READONLY: errno.EROFS,
    sqlite3.SQLITE_IOERR: errno.EIO,
    sqlite3.SQLITE_CANTOPEN: errno.EACCES,
}


@contextlib.contextmanager
def explained(folder: str | os.PathLike) -> Iterator[None]:
    """Turns a refusal of the disk within the block into errors.Unwritable, which says why and what to do."""
    try:
        yield
    except errors.Unwritable as error:  # Of one file, from `whole_files`: here the whole database is meant.
        if isinstance(error.__cause__, OSError):
            raise unwritable(folder, error.__cause__) from error.__cause__
        raise
    except errors.Error:
        raise
    except sqlite3.OperationalError as error:
        code = getattr(error, "sqlite_errorcode", 0) & 0xFF
        if code not in _SQLITE_ERRNO:
            raise
        raise unwritable(folder, OSError(_SQLITE_ERRNO[code], str(error))) from error
    except OSError as error:
        raise unwritable(folder, error) from error


def unreadable(path: str | os.PathLike, error: sqlite3.Error) -> Exception:
    """Returns the error to raise if sqlite cannot open a file, or read it: OSError with the reason, else its own."""
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF
    if code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
        return errors.Locked(f"{os.fspath(path)}: another process keeps it locked; try again")
    number = _SQLITE_ERRNO.get(code)
    return OSError(number, os.strerror(number), os.fspath(path)) if number else error


def unwritable(folder: str | os.PathLike, error: OSError) -> errors.Unwritable:
    """Returns the error to raise: why the disk refused, what is safe, and what to do."""
    if error.errno in whole_files.FULL:
        remedy = "make room, and give the same command again"
    elif error.errno in whole_files.FORBIDDEN:
        remedy = "it can be searched; to change it, get the right to write it, or copy it"
    else:
        remedy = "see to that, and give the same command again"
    code = f" ({errno.errorcode[error.errno]})" if error.errno and error.errno in errno.errorcode else ""
    return errors.Unwritable(
        f"{os.fspath(folder)}: cannot be written: {whole_files.reason(error)}{code}. "
        f"What was added before is safe; {remedy}."
    )
