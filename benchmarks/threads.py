"""Measures the wall time of the same searches on one pool of threads and on each library's own.

python -m benchmarks.threads --store=STORE --out=FILE [--rounds=9]

Two searches are timed: one of an exact index, and one of inverted lists (IVF256,PQ64, 40 probes). Both look for the
rows of the store `query` in the store `db`. Each is done in four ways: on our pool, on one of our threads with all
threads of BLAS, by faiss with its own OpenMP threads, and with all of these at once. The ways run in turn, so that a
disturbance disturbs all of them. Ratios are medians over the rounds. The load is that at the end.
"""

import json
import os
import statistics
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import threadpoolctl
from absl import flags

from benchmarks import _ends, _result
from evaluation.scores import results
from nafp.jobs import threads
from nafp.search import collection, index, inverted_lists, list_major, store

_STORE = flags.DEFINE_string("store", None, "The folder with the stores db and query. Required.", required=True)
_QUERIES = flags.DEFINE_integer("queries", 2000, "Query rows in a batch. Default: 2000.")
_ROUNDS = flags.DEFINE_integer("rounds", 9, "Rounds. Each runs every way once. Default: 9.")
_OUT = flags.DEFINE_string("out", None, "The JSON file to write. Required.", required=True)

K = 20  # Neighbours of a query row.
SEARCHES = ("l2", "ivfpq")  # Kinds of index, as `nafp.search.plans` names them.
Work = Callable[[], object]


def main() -> None:
    rows = collection.Collection.of([store.Store.open(_STORE.value, "db")])
    query = collection.Collection.of([store.Store.open(_STORE.value, "query")])
    chosen = np.random.default_rng(0).permutation(len(query))[: _QUERIES.value]
    queries = query.take(np.sort(chosen))
    numbers: dict[str, dict[str, dict[str, float]]] = {}
    for kind in SEARCHES:
        searched = index.build(rows, index.plan(kind, n_rows=len(rows), dim=rows.dim), check=False)
        numbers[kind] = timed(works(searched, queries), rounds=_ROUNDS.value)
        print(kind, json.dumps(numbers[kind], indent=1), flush=True)
        del searched
    machine = {**results.machine(), "load": os.getloadavg()[0]}
    about = {"rows": len(rows), "queries": len(queries), "rounds": _ROUNDS.value}
    _result.write({"machine": machine, **about, "works": numbers}, _OUT.value)


def works(searched: index.Index, queries: np.ndarray) -> dict[str, Work]:
    """Returns the same search, done in each way. queries: float32 [n, D]."""
    n = threads.n_threads()
    single = searcher(searched)
    return {
        "one pool": lambda: searched.search(queries, K),
        "BLAS alone": lambda: limited(lambda: single(queries), blas=n, openmp=1),
        "faiss alone": lambda: limited(lambda: by_faiss(searched, queries), blas=1, openmp=n),
        "all at once": lambda: limited(lambda: all_at_once(searched, queries, n), blas=n, openmp=n),
        "one thread": lambda: limited(lambda: single(queries), blas=1, openmp=1),
    }


def searcher(searched: index.Index) -> Callable[[np.ndarray], object]:
    """Returns the function (queries) -> neighbours that runs on the caller's thread: our walk of lists, or faiss."""
    lists = searched._lists
    if lists is None:
        return lambda queries: by_faiss(searched, queries)

    def walk(queries: np.ndarray) -> object:
        _, probes = lists.quantizer.search(queries, lists.nprobe)
        return list_major.search(inverted_lists.readable(lists), queries, probes, k=K)

    return walk


def limited(work: Work, *, blas: int, openmp: int) -> object:
    """Runs `work` on this thread, with at most `blas` threads of BLAS and `openmp` threads of OpenMP."""
    with threadpoolctl.threadpool_limits({"blas": blas, "openmp": openmp}):
        return work()


def by_faiss(searched: index.Index, queries: np.ndarray) -> object:
    """Searches with faiss alone."""
    return searched._cpu.search(queries, K)


def all_at_once(searched: index.Index, queries: np.ndarray, n: int) -> object:
    """Searches on n threads of ours, while the libraries that they call have n threads each."""
    single = searcher(searched)
    with ThreadPoolExecutor(n) as executor:
        return list(executor.map(lambda share: single(queries[share]), threads.shares(len(queries), n=n)))


def timed(works: dict[str, Work], *, rounds: int) -> dict[str, dict[str, float]]:
    """Times all works in turn. Returns by work: seconds, and how many times as long as our pool it takes."""
    wall: dict[str, list[float]] = {name: [] for name in works}
    cpu: dict[str, list[float]] = {name: [] for name in works}
    for number in range(rounds + 1):
        for name, work in works.items():
            began, cpu_began = time.perf_counter(), time.process_time()
            work()
            if number:  # The first round warms up.
                wall[name].append(time.perf_counter() - began)
                cpu[name].append(time.process_time() - cpu_began)
    ours = wall["one pool"]
    return {
        name: {
            "wall_s": statistics.median(wall[name]),
            "best_wall_s": min(wall[name]),
            "cpu_s": statistics.median(cpu[name]),
            "times_ours": statistics.median(a / b for a, b in zip(wall[name], ours)),
        }
        for name in works
    }


if __name__ == "__main__":
    _ends.run(main)
