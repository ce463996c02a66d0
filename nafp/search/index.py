"""Finds the nearest rows of a collection with faiss. `inverted_lists` is the only other file that imports it.

Fingerprints are of unit length, so a squared distance d orders rows as their cosine does: cosine = 1 - d / 2.

Where a line says `type: ignore`, the stubs of faiss 1.15 lack what the library has.
"""

from __future__ import annotations

import os
import re
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np

from nafp import errors
from nafp.jobs import memory, threads, whole_files
from nafp.search import collection, inverted_lists, list_major
from nafp.search.plans import KINDS, SEED, Plan, as_original, plan

if TYPE_CHECKING:
    from jaxtyping import Float32, Int

with threads.fit_for_faiss():
    import faiss

VERSION = faiss.__version__
__all__ = ["Index", "Plan", "as_original", "build", "exact", "plan"]
# Queries per list from which decoding a list once for all of them pays.
LIST_MAJOR_FROM = 8
METRICS = {"ip": faiss.METRIC_INNER_PRODUCT, "l2": faiss.METRIC_L2}
# Lists chosen by inner product, codes compared by L2: song_mine's index, and the benchmark's "IVF" with 64 parts.
BY_PRODUCT = re.compile(r"IVF(\d+)_IP,PQ(\d+)")
_BLOCKS_PER_TRIM = 16  # 262,144 rows.
# faiss 1.15 multiplies matrices only above nq * d = 128000 and is 3 to 7 times slower below.
_MATRICES_FROM = 1280


class Index:
    """A searchable index over the rows of a collection.

    plan: how it was built and how it is searched. about: what building or loading it took, by name.
    """

    def __init__(self, built: faiss.Index, chosen: Plan, *, about: dict[str, Any] | None = None):
        self.plan, self.about = chosen, dict(about or {})
        self._cpu, self._fast = built, built
        self._lists = inverted_lists.of(built)
        if self._lists is not None:
            self._lists.nprobe = chosen.n_probe or self._lists.nprobe

    def __len__(self) -> int:
        return self._cpu.ntotal

    @property
    def n_bytes(self) -> int:
        """Bytes of codes, ids and links in memory, without centroids and tables."""
        if self._lists is not None:
            return (self._lists.code_size + 8) * len(self)
        if isinstance(self._cpu, faiss.IndexHNSW):
            return self._cpu.d * 4 * len(self) + self._cpu.hnsw.neighbors.size() * 4  # type: ignore[attr-defined]
        return self._cpu.sa_code_size() * len(self)

    @property
    def batch_rows(self) -> int:
        """Number of query rows that are best searched in one call.

        Lists are decoded once for each thread's share of a batch. Over 5 million rows, batches of 8,192 took the same
        CPU time as one of 21,830, and 31 MB less memory beside the index.
        """
        return 8192 if self._walkable() is not None else 4096

    def search(
        self, queries: Float32[np.ndarray, "n D"], k: int = 0
    ) -> tuple[Float32[np.ndarray, "n K"], Int[np.ndarray, "n K"]]:
        """Finds the k nearest rows of each query. k = 0 takes the number of the plan.

        Returns cosines, descending, and row numbers. Where fewer than k rows are found, the rest is -inf and -1. K is
        k, or the number of rows if that is less. A large batch is shared out over the pool of threads.
        """
        k = min(k or self.plan.k, len(self))
        queries = np.ascontiguousarray(queries, np.float32)
        with _tuned():
            distances, rows = self._nearest(queries, k)
        return np.where(rows < 0, -np.inf, self._cosines(distances)), rows

    def use_gpu(self) -> str:
        """Moves the search to the GPUs if faiss sees one and supports this index there. Returns what it did."""
        if not getattr(faiss, "get_num_gpus", lambda: 0)():
            return "no GPU in sight of faiss: searching on the CPU"
        options = faiss.GpuMultipleClonerOptions()
        # As the original: tables for codes of 64 parts fit into a GPU in float16 only. Other indexes stay exact.
        options.useFloat16 = isinstance(self._lists, faiss.IndexIVFPQ)
        try:
            self._fast = faiss.index_cpu_to_all_gpus(self._cpu, options)
        except RuntimeError as error:
            return f"faiss cannot hold {self.plan.factory} on a GPU ({error}): searching on the CPU"
        return f"searching on {faiss.get_num_gpus()} GPUs"

    def save(self, path: str | os.PathLike) -> None:
        """Writes a plain faiss file, whole or not at all, also when two processes do so at once.

        Raises errors.Unwritable, whose cause is the OSError, when the disk is full or the folder read-only.
        """
        # A Python file tells what went wrong. faiss' own writer says it in prose, and loses an error of its last write.
        with whole_files.opened(path, "wb") as file:
            faiss.write_index(self._cpu, faiss.PyCallbackIOWriter(file.write))  # type: ignore[attr-defined]

    @classmethod
    def load(cls, path: str | os.PathLike, chosen: Plan) -> Index:
        """Reads a plain faiss file. Raises RuntimeError, as faiss does, when it cannot be read."""
        return cls(faiss.read_index(str(path)), chosen)

    def _nearest(self, queries: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
        """Returns distances [n, k] and rows [n, k], by the way that is fastest for this index and batch."""
        lists = self._walkable()
        if lists is not None and len(queries) * lists.nprobe / lists.nlist >= LIST_MAJOR_FROM:
            return _walk_lists(lists, queries, k)
        if len(queries) < 64 or self._fast is not self._cpu:
            return self._fast.search(queries, k)
        shares = threads.shares(len(queries), n=4 * threads.n_threads(), smallest=64)
        with threads.threads() as lend:
            return _joined(lend(lambda share: self._cpu.search(queries[share], k), shares))

    def _walkable(self) -> faiss.IndexIVF | None:
        """Returns the inverted lists if `list_major` can search them: plain PQ or exact rows, on the CPU."""
        lists, kinds = self._cpu, (faiss.IndexIVFPQ, faiss.IndexIVFFlat)
        if not isinstance(lists, kinds) or isinstance(lists, faiss.IndexIVFPQR) or self._fast is not lists:
            return None
        is_plain = lists.metric_type == faiss.METRIC_L2 and len(self) <= list_major.MAX_ROWS
        return lists if is_plain else None

    def _cosines(self, distances: np.ndarray) -> np.ndarray:
        is_product = self._cpu.metric_type == faiss.METRIC_INNER_PRODUCT
        return distances if is_product else 1 - distances / 2


def of_codes(codes: np.ndarray, places: np.ndarray, chosen: Plan, *, dim: int) -> Index:
    """Builds a fast-scan PQ index from 4-bit codes that were computed elsewhere. Nothing is trained.

    codes: uint8 [n, M / 2], two codes in a byte. places: float32 [M, 16, dim / M], the vector of each code.
    """
    quantised = faiss.IndexPQ(dim, len(places), 4)
    faiss.copy_array_to_vector(places.ravel(), quantised.pq.centroids)
    faiss.copy_array_to_vector(codes.ravel(), quantised.codes)
    quantised.ntotal, quantised.is_trained = len(codes), True
    return Index(faiss.IndexPQFastScan(quantised), chosen)  # type: ignore[arg-type]


def build(
    rows: collection.Collection,
    chosen: Plan,
    *,
    train_on: collection.Collection | None = None,
    metric: str = "l2",
    check: bool = True,
) -> Index:
    """Trains an index on a sample of `train_on` (default: `rows`) and adds all rows to it.

    metric: one of METRICS. Rows of unit length come in the same order by both, but the codes of a lossy index differ.
    check: whether every row read is checked to be a fingerprint. Raises ValueError for a row that is none, and for a
    factory string that faiss does not know.
    """
    started = time.perf_counter()
    with _tuned():
        index, n_trained = _made(chosen.factory, rows.dim, metric), 0
        if not index.is_trained:
            n_trained = _train(index, chosen, train_on or rows, check=check)
            memory.give_back()
        trained = time.perf_counter()
        with memory.growing():
            _add(index, rows, chosen.add_rows, check=check)
    memory.give_back()
    train_s, add_s = trained - started, time.perf_counter() - trained
    return Index(index, chosen, about={"train_s": train_s, "add_s": add_s, "trained_rows": n_trained})


def exact(
    rows: collection.Collection, queries: Float32[np.ndarray, "n D"], *, k: int
) -> tuple[Float32[np.ndarray, "n k"], Int[np.ndarray, "n k"]]:
    """Finds the k nearest rows of each query by comparing all of them, in constant memory.

    Returns cosines and row numbers, as `Index.search` does.
    """
    heap = faiss.ResultHeap(len(queries), k)
    with _tuned():
        for start, block in rows.blocks():
            n = min(k, len(block))
            distances, nearest = faiss.knn(queries, block, n)
            padding = ((0, 0), (0, k - n))
            heap.add_result(
                np.pad(distances, padding, constant_values=np.inf),
                np.pad(nearest + start, padding, constant_values=-1),
            )
    heap.finalize()
    return 1 - heap.D / 2, heap.I


class _MatrixProducts:
    """Lowers the size from which faiss multiplies matrices, while anybody is within.

    It is one variable of the process: the first to enter sets it, and the last to leave restores it.
    """

    def __init__(self) -> None:
        self._lock, self._n_within, self._usual = threading.Lock(), 0, 0

    def __enter__(self) -> None:
        with self._lock:
            if not self._n_within:
                self._usual = faiss.cvar.distance_compute_blas_threshold
                faiss.cvar.distance_compute_blas_threshold = _MATRICES_FROM
            self._n_within += 1

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self._n_within -= 1
            if not self._n_within:
                faiss.cvar.distance_compute_blas_threshold = self._usual


_matrix_products = _MatrixProducts()


@contextmanager
def _tuned() -> Iterator[None]:
    """Runs faiss on all our cores and with its fast matrix products, and restores both settings."""
    n_before = faiss.omp_get_max_threads()
    faiss.omp_set_num_threads(threads.n_threads())
    try:
        with _matrix_products:
            yield
    finally:
        faiss.omp_set_num_threads(n_before)


def _made(factory: str, dim: int, metric: str = "l2") -> faiss.Index:
    """Returns an empty index. Raises ValueError for a factory string that faiss does not know."""
    if factory == "IVF256,PQ64+4x4":
        return faiss.IndexIVFPQR(faiss.IndexFlatL2(dim), dim, 256, 64, 8, 4, 4)
    if by_product := BY_PRODUCT.fullmatch(factory):
        n_lists, n_parts = map(int, by_product.groups())
        return faiss.IndexIVFPQ(faiss.IndexFlatIP(dim), dim, n_lists, n_parts, 8)
    try:
        index = faiss.index_factory(dim, factory, METRICS[metric])
    except RuntimeError as error:
        raise errors.Invalid(
            f"--index={factory}: neither one of {', '.join(KINDS)} nor a factory string that faiss "
            f"{faiss.__version__} knows for {dim} dimensions ({str(error).splitlines()[-1]})"
        ) from error
    if isinstance(index, faiss.IndexHNSW) and factory == "HNSW16":
        index.hnsw.efConstruction = 80
    trained = inverted_lists.of(index) or index
    if hasattr(trained, "do_polysemous_training"):
        # Annealing only reorders the codes, for a search that is never asked for. Without it the answers are the same,
        # and PQ64 trains for 6 s instead of 89.
        trained.do_polysemous_training = False
    return index


def _train(index: faiss.Index, chosen: Plan, rows: collection.Collection, *, check: bool) -> int:
    """Trains on the rows that faiss itself would draw, and reads no others. Returns their number.

    faiss takes the head of a seeded permutation. Drawing the same head here gives the same index and leaves the rest of
    a large store unread.
    """
    n = min(chosen.train_rows, len(rows))
    drawn = np.arange(n)
    if n < len(rows):
        permuted = np.empty(len(rows), np.int32)
        faiss.rand_perm(faiss.swig_ptr(permuted), len(permuted), SEED)  # type: ignore[attr-defined]
        drawn = permuted[:n].astype(np.int64)
    sample = rows.take(drawn)
    if check:
        collection.check_rows(sample, where=lambda row: rows.place(int(drawn[row])))
    index.train(sample)
    return n


def _add(index: faiss.Index, rows: collection.Collection, calls: tuple[int, ...], *, check: bool) -> None:
    """Adds all rows: as many in each call as `calls` says, or block by block if it is empty.

    Inverted lists are sized before they are filled: growing them as they fill takes up to twice their size. Lists that
    cannot be sized (fast-scan) leave holes, which go back to the system.
    """
    if calls:
        for start, n in zip(np.cumsum([0, *calls]).tolist(), calls):
            block = rows.at_once(start, start + n)
            if check:
                collection.check_rows(block, where=rows.place, at=start)
            index.add(block)
        return
    if isinstance(index, faiss.IndexIVF) and isinstance(inverted_lists.stored(index), faiss.ArrayInvertedLists):
        list_of_row = _sized(index, rows)
        for start, block in _checked(rows, check):
            lists = list_of_row[start : start + len(block)].astype(np.int64)
            index.add_core(len(block), faiss.swig_ptr(block), None, faiss.swig_ptr(lists))
        return
    for start, block in _checked(rows, check):
        index.add(block)
        if start // collection.BLOCK_ROWS % _BLOCKS_PER_TRIM == 0:
            memory.give_back()


def _checked(rows: collection.Collection, check: bool) -> Iterator[tuple[int, np.ndarray]]:
    """Yields (first row, rows) over everything. Raises ValueError at a row that is no fingerprint."""
    for start, block in rows.blocks():
        if check:
            collection.check_rows(block, where=rows.place, at=start)
        yield start, block


def _sized(index: faiss.IndexIVF, rows: collection.Collection) -> np.ndarray:
    """Makes room for every row in its list. Returns the list of each row, int32 [N]."""
    list_of_row = np.empty(len(rows), np.int32)
    for start, block in rows.blocks():
        list_of_row[start : start + len(block)] = index.quantizer.assign(block, 1)[:, 0]
    held = inverted_lists.stored(index)
    for number, n in enumerate(np.bincount(list_of_row, minlength=index.nlist).tolist()):
        held.resize(number, n)
        held.resize(number, 0)  # Empty again; the room stays.
    return list_of_row


def _walk_lists(lists: faiss.IndexIVF, queries: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    """Searches list by list, a share of the queries on each thread."""

    def walk(share: slice) -> tuple[np.ndarray, np.ndarray]:
        own = queries[share]
        _, probes = lists.quantizer.search(own, lists.nprobe)
        return list_major.search(inverted_lists.readable(lists), own, probes, k=k)

    shares = threads.shares(len(queries), n=threads.n_threads(), smallest=64)
    with threads.threads() as lend:
        return _joined(lend(walk, shares))


def _joined(parts: list[tuple[np.ndarray, np.ndarray]]) -> tuple[np.ndarray, np.ndarray]:
    distances, rows = (np.concatenate(column) for column in zip(*parts))
    return distances, rows
