"""How a process ends that waits for nobody: threads and libraries may wait for processes that are gone."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Callable
from typing import NoReturn

_at_once = False
_last: Callable[[], object] | None = None


def wait_for_nobody(last: Callable[[], object] | None = None) -> None:
    """Makes the end of this process one at once, whenever `leave` is called.

    last: what `leave` does just before, such as to tell others that this process is gone now. Its errors are dropped.
    """
    global _at_once, _last
    _at_once, _last = True, last


def is_at_once() -> bool:
    """Returns whether this process is to end without waiting for its threads and libraries."""
    return _at_once


def leave(code: int) -> NoReturn:
    """Ends the process with an exit code: as Python does, or at once after `wait_for_nobody`."""
    if not _at_once:
        sys.exit(code)
    if _last is not None:
        with contextlib.suppress(Exception):
            _last()
    at_once(code)


def at_once(code: int) -> NoReturn:
    """Ends the process after what it has printed is written, and nothing else."""
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(Exception):
            stream.flush()
    os._exit(code)
