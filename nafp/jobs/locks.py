"""Locks among processes: a file that one process holds at a time. Any end of the process, a kill too, frees it."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import time
from typing import IO

try:
    import fcntl
except ImportError:  # Windows has no flock: there, nothing keeps a second process out.
    fcntl = None  # type: ignore[assignment]


def take(path: str | os.PathLike) -> IO[str]:
    """Locks a file, which is created if missing, until the returned file is closed or the process ends.

    The holder signs the file, so that `holder` can name it. Raises BlockingIOError while another process holds the
    lock. Raises OSError for a file that cannot be opened for writing or locked, and for a symbolic link, because the
    signature would overwrite its target.
    """
    file = open(path, "a+", encoding="utf-8", opener=_without_following)  # noqa: SIM115 - held open: it is the lock
    try:
        hold(file)
    except OSError:  # Another process holds it, or this file system knows no locks.
        file.close()
        raise
    _sign(file)
    return file


def hold(file: IO) -> None:
    """Locks an open file until it is closed. Raises BlockingIOError while another process holds the lock."""
    if fcntl is not None:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)


def holder(path: str | os.PathLike) -> str:
    """Returns who signed a lock file: "process 17 on host since 2026-01-31 12:00:00", else "another process"."""
    try:
        with open(path, encoding="utf-8") as file:
            signature = json.load(file)
        return f"process {signature['pid']} on {signature['host']} since {signature['since']}"
    except (ValueError, KeyError, TypeError, OSError):
        return "another process"


def _without_following(path: str, flags: int) -> int:
    return os.open(path, flags | getattr(os, "O_NOFOLLOW", 0), 0o666)


def _sign(file: IO[str]) -> None:
    signature = {"pid": os.getpid(), "host": socket.gethostname(), "since": time.strftime("%Y-%m-%d %H:%M:%S")}
    with contextlib.suppress(OSError):  # On a full disk the lock still holds; only its holder has no name.
        file.seek(0)
        file.truncate()
        json.dump(signature, file)
        file.flush()
