"""Freed memory goes back to the system; the most that was held is known.

glibc keeps what was freed for later. Lists of an index that grow by being copied leave holes of
every size behind: at 5 million rows the process held 440 MB of heap for 300 MB of lists.
"""

import ctypes
import functools
import re
import sys
from collections.abc import Callable
from pathlib import Path


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


def peak_mb() -> float:
    """Returns the most memory, MiB, that this process has held in RAM, mapped files included.

    Linux says so of the program that runs; getrusage also counts what the process that started it
    held at that moment, so that a child of a large process seems large.
    """
    try:
        told = re.search(r"VmHWM:\s*(\d+) kB", Path("/proc/self/status").read_text())
    except OSError:
        told = None
    if told:
        return int(told[1]) / 2**10
    import resource  # Not on Windows.

    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most / (2**20 if sys.platform == "darwin" else 2**10)
