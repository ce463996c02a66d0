"""Freed memory goes back to the system; the most that was held is known.

glibc keeps what was freed for later. Lists of an index that grow by being copied leave holes of
every size behind: at 5 million rows the process held 440 MB of heap for 300 MB of lists.
"""

import ctypes
import functools
import re
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

_MMAP_THRESHOLD = -3  # glibc's M_MMAP_THRESHOLD.
_APART = 2**15  # Bytes from which blocks are kept apart.
_USUAL = 2**25  # What glibc goes up to by itself.


def give_back() -> None:
    """Hands freed memory back to the system where the C library can (glibc); else does nothing."""
    trim = _function("malloc_trim")
    if trim is not None:
        trim(0)


@contextmanager
def growing() -> Iterator[None]:
    """Keeps blocks of 32 KiB and more apart from the heap within (glibc; elsewhere it does nothing).

    Many arrays that grow by doubling, each into room that another left, end with half of what they
    hold unused but in RAM. A block of its own has pages only where it was written to.
    """
    option = _function("mallopt")
    if option is not None:
        option(_MMAP_THRESHOLD, _APART)
    try:
        yield
    finally:
        if option is not None:
            option(_MMAP_THRESHOLD, _USUAL)


@functools.cache
def _function(name: str) -> Callable[..., int] | None:
    """Returns a function that glibc has; None elsewhere (TypeError: Windows)."""
    try:
        return getattr(ctypes.CDLL(None), name)
    except (OSError, AttributeError, TypeError):
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
