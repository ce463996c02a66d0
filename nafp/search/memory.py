"""Freed memory goes back to the system.

glibc keeps what was freed for later. Lists of an index that grow by being copied leave holes of
every size behind: at 5 million rows the process held 440 MB of heap for 300 MB of lists.
"""

import ctypes
import functools
from collections.abc import Callable


def give_back() -> None:
    """Hands freed memory back to the system where the C library can (glibc); else does nothing."""
    trim = _trim()
    if trim is not None:
        trim(0)


@functools.cache
def _trim() -> Callable[[int], int] | None:
    try:
        return ctypes.CDLL(None).malloc_trim
    except (OSError, AttributeError, TypeError):  # Other C libraries; TypeError on Windows.
        return None
