"""One pool of threads against each library's own: wall time of the same searches.

python -m benchmarks.threads --store=STORE --out=FILE [--rounds=9]

Two works: a batch against an exact index, and a batch walked through inverted lists (IVF256,PQ64,
40 probes), both over the store's rows `db`, asked by its rows `query`. Each is done with our pool;
with one thread of ours and all of BLAS'; by faiss with its own OpenMP threads; and with all of them
let loose at once. Nothing here uses numba. In turns, so that what disturbs one disturbs all; the
median of the rounds' ratios is what counts; the load at the end says how busy the machine was.
"""

import json
import os
import statistics
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import threadpoolctl
from absl import app, flags

from evaluation.scores import results
from nafp.jobs import threads
from nafp.search import collection, index, list_major, store

_STORE = flags.DEFINE_string("store", None, "Folder with the stores db and query.")
_QUERIES = flags.DEFINE_integer("queries", 2000, "Rows asked for at once.")
_ROUNDS = flags.DEFINE_integer("rounds", 9, "Times that all are run.")
_OUT = flags.DEFINE_string("out", None, "JSON file for the numbers.")
flags.mark_flags_as_required(["store", "out"])

K = 20


def main(argv: list[str]) -> None:
    del argv
    rows = collection.Collection.of([store.Store.open(_STORE.value, "db")])
    asked = collection.Collection.of([store.Store.open(_STORE.value, "query")])
    drawn = np.random.default_rng(0).permutation(len(asked))[: _QUERIES.value]
    queries, found = asked.take(np.sort(drawn)), {}
    for kind in ("l2", "ivfpq"):
        built = index.build(rows, index.plan(kind, n_rows=len(rows), dim=rows.dim), check=False)
        found[kind] = timed(works(built, queries), rounds=_ROUNDS.value)
        print(kind, json.dumps(found[kind], indent=1), flush=True)
        del built
    machine = {**results.machine(), "load": os.getloadavg()[0]}
    about = {"rows": len(rows), "queries": len(queries), "rounds": _ROUNDS.value}
    text = json.dumps({"machine": machine, **about, "works": found}, indent=1)
    Path(_OUT.value).write_text(text + "\n")


def works(built: index.Index, queries: np.ndarray) -> dict[str, Callable[[], object]]:
    """Gives the same search done in each way."""
    n = threads.n_threads()
    by_blas = by_lists if built._lists is not None else by_faiss
    return {
        "one pool": lambda: built.search(queries, K),
        "BLAS alone": lambda: limited(lambda: by_blas(built, queries), blas=n, openmp=1),
        "faiss alone": lambda: limited(lambda: by_faiss(built, queries), blas=1, openmp=n),
        "all at once": lambda: limited(lambda: loose(built, queries, n), blas=n, openmp=n),
        "one thread": lambda: limited(lambda: by_blas(built, queries), blas=1, openmp=1),
    }


def limited(work: Callable[[], object], *, blas: int, openmp: int) -> object:
    """Runs work on this thread with so many threads of BLAS and of OpenMP."""
    with threadpoolctl.threadpool_limits({"blas": blas, "openmp": openmp}):
        return work()


def by_lists(built: index.Index, queries: np.ndarray) -> object:
    """Walks the inverted lists on this thread."""
    _, probes = built._lists.quantizer.search(queries, built._lists.nprobe)
    return list_major.search(index._readable(built._lists), queries, probes, k=K)


def by_faiss(built: index.Index, queries: np.ndarray) -> object:
    """Lets faiss search."""
    return built._cpu.search(queries, K)


def loose(built: index.Index, queries: np.ndarray, n: int) -> object:
    """Shares out over n threads that call libraries which have n threads each."""
    work = by_lists if built._lists is not None else by_faiss
    with ThreadPoolExecutor(n) as executor:
        shares = threads.shares(len(queries), n=n)
        return list(executor.map(lambda share: work(built, queries[share]), shares))


def timed(works: dict[str, Callable[[], object]], *, rounds: int) -> dict[str, dict[str, float]]:
    """Times all works in turn; gives seconds, and how many times ours each takes."""
    wall = {name: [] for name in works}
    cpu = {name: [] for name in works}
    for turn in range(rounds + 1):
        for name, work in works.items():
            began, spent = time.perf_counter(), time.process_time()
            work()
            if turn:  # The first one warms up.
                wall[name].append(time.perf_counter() - began)
                cpu[name].append(time.process_time() - spent)
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
    app.run(main)
