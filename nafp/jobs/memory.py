"""Memory of the process: freed memory is returned to the system, and the peak is measured.

glibc keeps freed memory for later use. The lists of an index grow by being copied, which leaves holes of every size
behind: at 5 million rows the process held 440 MB of heap for 300 MB of lists.
"""

import ctypes
import functools
import re
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

_MMAP_THRESHOLD = -3  # glibc's M_MMAP_THRESHOLD.
_SEPARATE_BYTES = 2**15  # Pieces of at least this size are kept apart from the heap.
_USUAL_BYTES = 2**25  # The limit that glibc reaches by itself.


def give_back() -> None:
    """Returns freed memory to the system where the C library can (glibc). Elsewhere it does nothing."""
    trim = _function("malloc_trim")
    if trim is not None:
        trim(0)


@contextmanager
def growing() -> Iterator[None]:
    """Keeps pieces of memory of 32 KiB and more apart from the heap during the `with` block (glibc only).

    Arrays that grow by doubling move into gaps that other arrays left in the heap. In the end half of their memory is
    unused but still in RAM. A separate piece has pages only where it was written to.
    """
    option = _function("mallopt")
    if option is not None:
        option(_MMAP_THRESHOLD, _SEPARATE_BYTES)
    try:
        yield
    finally:
        if option is not None:
            option(_MMAP_THRESHOLD, _USUAL_BYTES)


@functools.cache
def _function(name: str) -> Callable[..., int] | None:
    """Returns a function of the C library by its name, None if there is none of this name."""
    try:
        return getattr(ctypes.CDLL(None), name)
    except (OSError, AttributeError, TypeError):  # TypeError: Windows.
        return None


def peak_mb() -> float:
    """Returns the peak memory of this process in RAM, in MiB, mapped files included.

    On Linux it is read from /proc. Elsewhere getrusage measures it, which also counts the memory of the parent process
    at the start, so a child of a large process seems large.
    """
    try:
        match = re.search(r"VmHWM:\s*(\d+) kB", Path("/proc/self/status").read_text())
    except OSError:
        match = None
    if match:
        return int(match[1]) / 2**10
    import resource  # Not on Windows.

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (2**20 if sys.platform == "darwin" else 2**10)
