"""One writer at a time: a lock on a file that says who holds it, and that ends with its process."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import socket
import time
from pathlib import Path
from typing import IO

from nafp import errors

NAME = "writer.lock"


def take(folder: Path) -> IO[str]:
    """Locks a folder until the returned file is closed, or the process ends, however it ends.

    Raises Locked, naming the holder, and Unwritable for a folder that cannot be written.
    """
    try:
        file = open(folder / NAME, "a+", encoding="utf-8")  # noqa: SIM115 - held open: it is the lock
    except OSError as error:
        raise unwritable(folder, error) from error
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        holder = _holder(file)
        file.close()
        raise errors.Locked(
            f"{folder}: is being written by {holder}; one at a time may: wait for it, or stop it. "
            "Reading is possible meanwhile."
        ) from None
    _sign(file)
    return file


def unwritable(folder: Path, error: OSError) -> errors.Unwritable:
    """Says what is wrong with a folder that does not take what is written, and what to do."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        what, remedy = "the disk is full", "make room, and give the same command again"
    elif error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        what, remedy = (
            "it is read-only",
            "it can be searched; to change it, get the right to write it, or copy it",
        )
    elif error.errno == errno.EIO:
        what, remedy = (
            "the disk takes no more, being full or failing",
            "see to that, and give the same command again",
        )
    else:
        what, remedy = error.strerror or str(error), "see to that, and give the same command again"
    return errors.Unwritable(
        f"{folder}: cannot be written: {what} ({errno.errorcode.get(error.errno or 0, error)}). "
        f"What was added before is safe; {remedy}."
    )


def _sign(file: IO[str]) -> None:
    since = time.strftime("%Y-%m-%d %H:%M:%S")
    try:
        file.seek(0)
        file.truncate()
        json.dump({"pid": os.getpid(), "host": socket.gethostname(), "since": since}, file)
        file.flush()
    except OSError:
        pass  # On a full disk the lock holds all the same; only its holder has no name.


def _holder(file: IO[str]) -> str:
    try:
        file.seek(0)
        said = json.load(file)
        return f"process {said['pid']} on {said['host']} since {said['since']}"
    except (ValueError, KeyError, OSError):
        return "another process"
