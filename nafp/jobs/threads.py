"""One pool of threads for everything that searches.

numpy's BLAS, faiss' BLAS and faiss' OpenMP each keep a pool as large as the machine. Left alone they compete for the
cores: 2.4 to 2.8 times slower on 2 busy cores than a single thread of each. Here one pool has a thread for each core,
and a library that one of these threads calls stays on it.
"""

import itertools
import logging
import os
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import TypeVar

import threadpoolctl

from nafp.jobs import processors

Item = TypeVar("Item")
Result = TypeVar("Result")
Map = Callable[[Callable[[Item], Result], Iterable[Item]], list[Result]]


# Kernels that numpy's OpenBLAS may choose -> the best of them that the OpenBLAS of 2021 inside faiss-cpu has as well.
_OLD_KERNELS = {
    "Haswell": "Haswell",
    "Zen": "Zen",
    "SkylakeX": "SkylakeX",
    "Cooperlake": "SkylakeX",
    "SapphireRapids": "SkylakeX",
}


@contextmanager
def fit_for_faiss() -> Iterator[None]:
    """Sets the environment that faiss reads when it is imported in the block, and restores it at the end.

    faiss-cpu brings an OpenBLAS of its own (0.3.15). It takes a processor younger than itself for a Barcelona of 2007:
    flat search ran at 49 GFLOP/s a core on a Zen 5, and at 163 with the kernels that numpy's OpenBLAS chose there. A
    thread that waits at a barrier by spinning takes the core from the one it waits for: training a small index on 2
    busy cores took 0.1 s with sleeping threads, 0.4 to 3 s with spinning ones. A variable that the user has set stays
    as it is.
    """
    blas = [library for library in threadpoolctl.threadpool_info() if library["user_api"] == "blas"]
    kernels = _OLD_KERNELS.get(blas[0].get("architecture", "") if blas else "")
    wanted = {"OMP_WAIT_POLICY": "PASSIVE", "OPENBLAS_CORETYPE": kernels}
    ours = {name: value for name, value in wanted.items() if value and name not in os.environ}
    log = logging.getLogger("faiss.loader")  # It logs each library that it tries to load.
    level = log.level
    log.setLevel(logging.WARNING)
    os.environ.update(ours)
    try:
        yield
    finally:
        for name in ours:
            os.environ.pop(name, None)
        log.setLevel(level)


_forked: list[bool] = []
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=lambda: _forked.append(True))


def n_threads() -> int:
    """Returns the number of cores that this process may use. The environment variable NAFP_THREADS lowers it.

    In a forked process it is 1: the threads of OpenMP do not survive a fork, and faiss would wait for them for ever.
    """
    if _forked:
        return 1
    cores = processors.count()
    asked = os.environ.get("NAFP_THREADS", "")
    return max(1, min(cores, int(asked))) if asked.isdecimal() else cores


@contextmanager
def threads(n: int | None = None) -> Iterator[Map]:
    """Yields a function map(function, items) -> list that runs on n threads, by default one for each core.

    Until the block ends, BLAS and OpenMP use one thread each, so that no more than n threads are busy. With n = 1
    everything runs on the caller's thread.
    """
    n = n or n_threads()
    with threadpoolctl.threadpool_limits(1):
        if n == 1:
            yield lambda function, items: [function(item) for item in items]
            return
        # OpenMP keeps its setting per thread, so every worker must set it too.
        with ThreadPoolExecutor(n, initializer=threadpoolctl.threadpool_limits, initargs=(1,)) as executor:
            yield lambda function, items: list(executor.map(function, items))


def shares(n_items: int, *, n: int, smallest: int = 1) -> list[slice]:
    """Cuts 0 .. n_items into at most n consecutive slices of nearly equal size.

    smallest: the fewest items that a slice may have while there are several slices.
    """
    n = max(1, min(n, n_items // max(1, smallest)))
    edges = [n_items * share // n for share in range(n + 1)]
    return [slice(a, b) for a, b in itertools.pairwise(edges) if b > a]
