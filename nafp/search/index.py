"""Rows become nearest rows. The only file that imports faiss.

Fingerprints are of unit length, so squared distance d and cosine order rows alike:
cosine = 1 - d / 2.
"""

import os
import time
from pathlib import Path
from typing import Any

import numpy as np

from nafp import errors
from nafp.jobs import memory, threads
from nafp.search import collection, list_major
from nafp.search.plans import KINDS, SEED, Plan, as_original, plan

with threads.fit_for_faiss():
    import faiss

VERSION = faiss.__version__
__all__ = ["Index", "Plan", "as_original", "build", "exact", "plan"]
# Queries per list from which decoding it once for all of them pays.
LIST_MAJOR_FROM = 8
_BLOCKS_PER_TRIM = 16  # 262,144 rows.
# faiss 1.15 multiplies matrices only above nq * d = 128000 and is 3 to 7 times slower below.
faiss.cvar.distance_compute_blas_threshold = 1280


class Index:
    """Rows of a collection, searchable; `about` says what it is and what it cost."""

    def __init__(self, built: faiss.Index, chosen: Plan, *, about: dict[str, Any] | None = None):
        self.plan, self.about = chosen, dict(about or {})
        self._cpu, self._fast = built, built
        self._lists = _inverted(built)
        if self._lists is not None:
            self._lists.nprobe = chosen.n_probe or self._lists.nprobe

    def __len__(self) -> int:
        return self._cpu.ntotal

    @property
    def n_bytes(self) -> int:
        """Size of codes, ids and links in memory; centroids and tables not counted."""
        if self._lists is not None:
            return (self._lists.code_size + 8) * len(self)
        links = self._cpu.hnsw.neighbors.size() * 4 if hasattr(self._cpu, "hnsw") else 0
        return self._cpu.d * 4 * len(self) + links if links else self._cpu.sa_code_size() * len(self)

    @property
    def batch_rows(self) -> int:
        """Query rows that are best searched at once.

        Lists are decoded once for each thread's share of a batch. Over 5 million rows batches of
        8,192 took the CPU of one of 21,830, and 31 MB less beside the index.
        """
        return 8192 if self._can_walk() else 4096

    def search(self, queries: np.ndarray, k: int = 0) -> tuple[np.ndarray, np.ndarray]:
        """Finds the k nearest rows (default: the plan's) of queries [n, D].

        Returns cosines float32 [n, k], best first, and rows int64 [n, k]; -1 where there are
        fewer. Large batches are shared out over the pool; inverted lists are then decoded once.
        """
        k = min(k or self.plan.k, len(self))
        queries = np.ascontiguousarray(queries, np.float32)
        if self._is_list_major(len(queries)):
            answers = self._walk_lists(queries, k)
        elif len(queries) < 64 or self._fast is not self._cpu:
            faiss.omp_set_num_threads(threads.n_threads())
            answers = self._fast.search(queries, k)
        else:
            shares = threads.shares(len(queries), n=4 * threads.n_threads(), smallest=64)
            with threads.threads() as lend:
                answers = _joined(lend(lambda share: self._cpu.search(queries[share], k), shares))
        return np.where(answers[1] < 0, -np.inf, self._cosines(answers[0])), answers[1]

    def use_gpu(self) -> str:
        """Searches on the GPUs when faiss sees one and knows this type there; says what it did."""
        if not getattr(faiss, "get_num_gpus", lambda: 0)():
            return "no GPU in sight of faiss: searching on the CPU"
        options = faiss.GpuMultipleClonerOptions()
        options.useFloat16LookupTables = True  # As the original; codes of 64 parts need it to fit.
        try:
            self._fast = faiss.index_cpu_to_all_gpus(self._cpu, options)
        except RuntimeError as error:
            return f"faiss cannot hold {self.plan.factory} on a GPU ({error}): searching on the CPU"
        return f"searching on {faiss.get_num_gpus()} GPUs"

    def save(self, path: str | os.PathLike) -> None:
        """Writes a plain faiss file, whole or not at all, also when two processes do so at once."""
        partial = Path(path).with_name(f"{Path(path).name}.{os.getpid()}.tmp")
        try:
            faiss.write_index(self._cpu, str(partial))
            with open(partial, "rb") as written:
                os.fsync(written.fileno())
            os.replace(partial, path)
        except RuntimeError as error:  # What faiss raises for a full disk or a missing folder.
            raise OSError(f"{path}: {error}") from error
        finally:
            partial.unlink(missing_ok=True)

    @classmethod
    def load(cls, path: str | os.PathLike, chosen: Plan) -> "Index":
        """Reads a plain faiss file."""
        return cls(faiss.read_index(str(path)), chosen)

    def _can_walk(self) -> bool:
        known = isinstance(self._cpu, (faiss.IndexIVFPQ, faiss.IndexIVFFlat))
        if not known or isinstance(self._cpu, faiss.IndexIVFPQR):
            return False
        plain = self._cpu.metric_type == faiss.METRIC_L2 and len(self) <= list_major.MAX_ROWS
        return plain and self._fast is self._cpu

    def _is_list_major(self, n_queries: int) -> bool:
        return self._can_walk() and n_queries * self._lists.nprobe / self._lists.nlist >= LIST_MAJOR_FROM

    def _walk_lists(self, queries: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
        def walk(share: slice) -> tuple[np.ndarray, np.ndarray]:
            some = queries[share]
            _, probes = self._lists.quantizer.search(some, self._lists.nprobe)
            return list_major.search(_readable(self._lists), some, probes, k=k)

        shares = threads.shares(len(queries), n=threads.n_threads(), smallest=64)
        with threads.threads() as lend:
            return _joined(lend(walk, shares))

    def _cosines(self, distances: np.ndarray) -> np.ndarray:
        is_product = self._cpu.metric_type == faiss.METRIC_INNER_PRODUCT
        return distances if is_product else 1 - distances / 2


def of_codes(codes: np.ndarray, places: np.ndarray, chosen: Plan, *, dim: int) -> Index:
    """Indexes rows by 4-bit codes that were computed elsewhere, as fast-scan PQ; nothing is trained.

    codes: uint8 [n, M / 2], two in a byte; places: float32 [M, 16, dim / M], what each code stands for.
    """
    quantised = faiss.IndexPQ(dim, len(places), 4)
    faiss.copy_array_to_vector(places.ravel(), quantised.pq.centroids)
    faiss.copy_array_to_vector(codes.ravel(), quantised.codes)
    quantised.ntotal, quantised.is_trained = len(codes), True
    return Index(faiss.IndexPQFastScan(quantised), chosen)


def build(
    rows: collection.Collection,
    chosen: Plan,
    *,
    train_on: collection.Collection | None = None,
    check: bool = True,
) -> Index:
    """Trains an index on a sample of train_on (default: of the rows) and adds all rows to it.

    Raises ValueError for a factory string faiss does not know, and for a row that is no
    fingerprint (check=False: not looked at).
    """
    faiss.omp_set_num_threads(threads.n_threads())
    started = time.perf_counter()
    index = _made(chosen.factory, rows.dim)
    if not index.is_trained:
        _train(index, chosen, train_on or rows, check=check)
        memory.give_back()
    trained = time.perf_counter()
    with memory.growing():
        _add(index, rows, check=check)
    memory.give_back()
    train_s, add_s = trained - started, time.perf_counter() - trained
    return Index(index, chosen, about={"train_s": train_s, "add_s": add_s})


def exact(rows: collection.Collection, queries: np.ndarray, *, k: int) -> tuple[np.ndarray, np.ndarray]:
    """Finds the k nearest rows of each query by looking at all of them, in constant memory."""
    faiss.omp_set_num_threads(threads.n_threads())
    heap = faiss.ResultHeap(len(queries), k)
    for start, block in rows.blocks():
        n = min(k, len(block))
        distances, found = faiss.knn(queries, block, n)
        padding = ((0, 0), (0, k - n))
        heap.add_result(
            np.pad(distances, padding, constant_values=np.inf),
            np.pad(found + start, padding, constant_values=-1),
        )
    heap.finalize()
    return 1 - heap.D / 2, heap.I


def _made(factory: str, dim: int) -> faiss.Index:
    if factory == "IVF256,PQ64+4x4":
        return faiss.IndexIVFPQR(faiss.IndexFlatL2(dim), dim, 256, 64, 8, 4, 4)
    try:
        index = faiss.index_factory(dim, factory)
    except RuntimeError as error:
        raise errors.Invalid(
            f"--index={factory}: neither one of {', '.join(KINDS)} nor a factory string that faiss "
            f"{faiss.__version__} knows for {dim} dimensions ({str(error).splitlines()[-1]})"
        ) from error
    if factory == "HNSW16":
        index.hnsw.efConstruction = 80
    trained = _inverted(index) or index
    if hasattr(trained, "do_polysemous_training"):
        # Annealing that only reorders the codes, for a search that is never asked for: the same
        # answers, and 6 s of training for PQ64 where there were 89.
        trained.do_polysemous_training = False
    return index


def _train(index: faiss.Index, chosen: Plan, rows: collection.Collection, *, check: bool) -> None:
    """Trains on the rows faiss itself would draw, but reads no others.

    faiss takes the head of a seeded permutation; drawing the same head here leaves the answers
    unchanged and the rest of a large store unread.
    """
    n = min(chosen.train_rows, len(rows))
    drawn = np.arange(n)
    if n < len(rows):
        permuted = np.empty(len(rows), np.int32)
        faiss.rand_perm(faiss.swig_ptr(permuted), len(permuted), SEED)
        drawn = permuted[:n].astype(np.int64)
    sample = rows.take(drawn)
    if check:
        collection.check_rows(sample, where=lambda row: rows.place(int(drawn[row])))
    index.train(sample)


def _add(index: faiss.Index, rows: collection.Collection, *, check: bool) -> None:
    """Adds all rows, block by block.

    Inverted lists are sized before they are filled: growing them as they fill takes up to twice
    their size. Those that cannot be sized (fast-scan) leave holes, which go back to the system.
    """
    is_sized = isinstance(index, faiss.IndexIVF) and isinstance(
        faiss.downcast_InvertedLists(index.invlists), faiss.ArrayInvertedLists
    )
    lists = _sized(index, rows) if is_sized else None
    for start, block in rows.blocks():
        if check:
            collection.check_rows(block, where=rows.place, at=start)
        if lists is None:
            index.add(block)
            if start // collection.BLOCK_ROWS % _BLOCKS_PER_TRIM == 0:
                memory.give_back()
            continue
        chosen = lists[start : start + len(block)].astype(np.int64)
        index.add_core(len(block), faiss.swig_ptr(block), None, faiss.swig_ptr(chosen))


def _sized(index: faiss.IndexIVF, rows: collection.Collection) -> np.ndarray:
    """Gives every row's list, and makes room for them in the index."""
    lists = np.empty(len(rows), np.int32)
    for start, block in rows.blocks():
        lists[start : start + len(block)] = index.quantizer.assign(block, 1)[:, 0]
    for number, n in enumerate(np.bincount(lists, minlength=index.nlist).tolist()):
        index.invlists.resize(number, n)
        index.invlists.resize(number, 0)  # Empty again; the room stays.
    return lists


def _inverted(index: faiss.Index) -> faiss.IndexIVF | None:
    if isinstance(index, faiss.IndexIVF):
        return index
    try:
        return faiss.downcast_index(faiss.extract_index_ivf(index))
    except RuntimeError:
        return None


def _readable(lists: faiss.IndexIVF) -> list_major.Lists:
    """Shows inverted lists as plain arrays. One per thread: the scratch space is its own."""
    held, dim = lists.invlists, lists.d
    scratch = np.empty((list_major.VECTOR_BLOCK, dim // 2), np.complex64)

    def ids(number: int) -> np.ndarray:
        n = held.list_size(number)
        return faiss.rev_swig_ptr(held.get_ids(number), n) if n else np.empty(0, np.int64)

    def codes(number: int, start: int, n: int) -> np.ndarray:
        size = held.list_size(number) * lists.code_size
        rows = faiss.rev_swig_ptr(held.get_codes(number), size).reshape(-1, lists.code_size)
        return rows[start : start + n]

    def plain(number: int, start: int, out: np.ndarray) -> None:
        out[:] = codes(number, start, len(out)).view(np.float32)

    if isinstance(lists, faiss.IndexIVFFlat):
        return list_major.Lists(lists.nlist, ids, plain)
    centres = lists.quantizer.reconstruct_n(0, lists.nlist)
    if not lists.by_residual:
        centres = np.zeros_like(centres)
    if lists.pq.nbits != 8 or lists.pq.dsub != 2:

        def general(number: int, start: int, out: np.ndarray) -> None:
            np.add(lists.pq.decode(codes(number, start, len(out))), centres[number], out=out)

        return list_major.Lists(lists.nlist, ids, general)
    # Two floats per code: seen as one complex number each, a single take decodes a block.
    words = faiss.vector_to_array(lists.pq.centroids).view(np.complex64)
    offsets = np.arange(lists.pq.M) * 256

    def pairs(number: int, start: int, out: np.ndarray) -> None:
        decoded = scratch[: len(out)]
        np.take(words, codes(number, start, len(out)) + offsets, out=decoded, mode="clip")
        np.add(decoded.view(np.float32), centres[number], out=out)

    return list_major.Lists(lists.nlist, ids, pairs)


def _joined(answers: list[tuple[np.ndarray, np.ndarray]]) -> tuple[np.ndarray, np.ndarray]:
    return tuple(np.concatenate(column) for column in zip(*answers))
