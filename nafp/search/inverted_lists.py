"""Presents the inverted lists of a faiss index as plain arrays, so that numpy can walk them.

Where a line says `type: ignore`, the stubs of faiss 1.15 lack what the library has.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from nafp.jobs import threads
from nafp.search import list_major

with threads.fit_for_faiss():
    import faiss


def of(index: faiss.Index) -> faiss.IndexIVF | None:
    """Returns the part of an index that has inverted lists, or None."""
    if isinstance(index, faiss.IndexIVF):
        return index
    try:
        lists = faiss.downcast_index(faiss.extract_index_ivf(index))
    except RuntimeError:
        return None
    return lists if isinstance(lists, faiss.IndexIVF) else None


def stored(index: faiss.IndexIVF) -> faiss.InvertedLists:
    """Returns where an index keeps its lists."""
    assert index.invlists is not None  # Only C++ code can make an index without lists.
    return faiss.downcast_InvertedLists(index.invlists)


def readable(lists: faiss.IndexIVF) -> list_major.Lists:
    """Presents inverted lists as plain arrays, for one thread: the scratch space is shared by its calls."""
    held = stored(lists)

    def ids(number: int) -> np.ndarray:
        n = held.list_size(number)
        return faiss.rev_swig_ptr(held.get_ids(number), n) if n else np.empty(0, np.int64)

    def codes(number: int, start: int, n: int) -> np.ndarray:
        size = held.list_size(number) * lists.code_size
        rows = faiss.rev_swig_ptr(held.get_codes(number), size).reshape(-1, lists.code_size)
        return rows[start : start + n]

    def plain(number: int, start: int, out: np.ndarray) -> None:
        out[:] = codes(number, start, len(out)).view(np.float32)

    decode = _decoder(lists, codes) if isinstance(lists, faiss.IndexIVFPQ) else plain
    return list_major.Lists(lists.nlist, ids, decode)


def _decoder(lists: faiss.IndexIVFPQ, codes: list_major.Codes) -> list_major.Decode:
    """Returns the function that writes the vectors of PQ codes."""
    centres = lists.quantizer.reconstruct_n(0, lists.nlist)
    if not lists.by_residual:
        centres = np.zeros_like(centres)

    decoded: Callable[[np.ndarray], np.ndarray] = lists.pq.decode  # type: ignore[assignment]

    def general(number: int, start: int, out: np.ndarray) -> None:
        np.add(decoded(codes(number, start, len(out))), centres[number], out=out)

    if lists.pq.nbits != 8 or lists.pq.dsub != 2:
        return general
    # Two floats per code: seen as one complex number each, a single take decodes a block.
    words = faiss.vector_to_array(lists.pq.centroids).view(np.complex64)
    offsets = np.arange(lists.pq.M) * 256
    scratch = np.empty((list_major.VECTOR_BLOCK, lists.d // 2), np.complex64)

    def in_pairs(number: int, start: int, out: np.ndarray) -> None:
        pairs = scratch[: len(out)]
        np.take(words, codes(number, start, len(out)) + offsets, out=pairs, mode="clip")
        np.add(pairs.view(np.float32), centres[number], out=out)

    return in_pairs
