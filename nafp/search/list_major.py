"""Searches inverted lists one by one: each list is decoded once for all queries that probe it.

faiss goes query by query and reads a list again for each of them. With thousands of queries at once it is cheaper to go
list by list: decode the list to plain vectors, multiply them with every query that probes it (one matrix product), and
keep what is nearer than each query's worst neighbour so far. The distances are the same up to rounding, for a tenth of
the CPU time. This file is plain numpy; faiss stays in `index.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from jaxtyping import Float32, Int

QUERY_BLOCK = 256  # 256 x 2048 distances are 2 MiB: read again while they are still in a cache.
VECTOR_BLOCK = 2048
MAX_ROWS = 2**32 - 1  # Ids travel in the lower half of a 64-bit key.
_NOBODY = np.uint64(0x7F800000FFFFFFFF)  # The key of an infinite distance.

Codes = Callable[[int, int, int], np.ndarray]  # (list, start, n) -> uint8 [n, bytes per code].
Decode = Callable[[int, int, np.ndarray], None]  # (list, start, out): writes vectors start, start + 1, ... into out.


class Lists(NamedTuple):
    """The inverted lists of an index, read as plain arrays.

    ids: (list) -> int64 [n], the rows in it. decode: (list, start, out): writes its vectors start, start + 1, ... into
    out [m, D].
    """

    n_lists: int
    ids: Callable[[int], np.ndarray]
    decode: Decode


def search(
    lists: Lists, queries: Float32[np.ndarray, "Q D"], probes: Int[np.ndarray, "Q P"], *, k: int
) -> tuple[Float32[np.ndarray, "Q k"], Int[np.ndarray, "Q k"]]:
    """Finds the k nearest vectors of each query among the lists that it probes.

    probes: list numbers, -1 for none. Returns squared distances, ascending (ties by id), and ids. Where fewer than k
    vectors are found, the rest is inf and -1.
    """
    nearest = np.full((len(queries), k), _NOBODY)  # Keys: distance, then id.
    limits = np.full(len(queries), np.inf, np.float32)  # Distance of the k-th neighbour so far.
    squares = np.vecdot(queries, queries)
    vectors = np.empty((VECTOR_BLOCK, queries.shape[1] + 2), np.float32)
    asked = np.empty((QUERY_BLOCK, queries.shape[1] + 2), np.float32)
    space = np.empty(QUERY_BLOCK * VECTOR_BLOCK, np.float32)
    for number, asking in _askers(probes, lists.n_lists):
        ids = lists.ids(number)
        for start in range(0, len(ids), VECTOR_BLOCK):
            near = ids[start : start + VECTOR_BLOCK].astype(np.uint64)
            _decode(lists, number, start, vectors[: len(near)])
            for begin in range(0, len(asking), QUERY_BLOCK):
                chosen = asking[begin : begin + QUERY_BLOCK]
                _ask(queries, squares, chosen, asked[: len(chosen)])
                distances = space[: len(chosen) * len(near)].reshape(len(chosen), len(near))
                np.matmul(asked[: len(chosen)], vectors[: len(near)].T, out=distances)
                _offer(nearest, limits, chosen, distances, near)
    return _unpacked(nearest)


def _askers(probes: np.ndarray, n_lists: int) -> Iterator[tuple[int, np.ndarray]]:
    """Yields every probed list with the numbers of the queries that probe it."""
    order = np.argsort(probes.astype(np.int32), axis=None, kind="stable")
    edges = np.cumsum(np.bincount(probes.ravel() + 1, minlength=n_lists + 1))
    for number in range(n_lists):
        asking = order[edges[number] : edges[number + 1]] // probes.shape[1]
        if len(asking):
            yield number, asking


# |q - x|^2 = |q|^2 - 2 q.x + |x|^2 is one matrix product: (-2q, |q|^2, 1) times (x, 1, |x|^2).


def _decode(lists: Lists, number: int, start: int, out: np.ndarray) -> None:
    """Writes vectors of a list, then 1 and their squared length, into out [n, D + 2]."""
    dim = out.shape[1] - 2
    lists.decode(number, start, out[:, :dim])
    out[:, dim] = 1
    np.vecdot(out[:, :dim], out[:, :dim], out=out[:, dim + 1])


def _ask(queries: np.ndarray, squares: np.ndarray, chosen: np.ndarray, out: np.ndarray) -> None:
    """Writes -2 times the chosen queries, then their squared length and 1, into out [n, D + 2]."""
    dim = out.shape[1] - 2
    np.multiply(queries[chosen], -2, out=out[:, :dim])
    out[:, dim] = squares[chosen]
    out[:, dim + 1] = 1


def _offer(
    nearest: np.ndarray,
    limits: np.ndarray,
    chosen: np.ndarray,
    distances: np.ndarray,
    ids: np.ndarray,
) -> None:
    """Merges vectors that are nearer than a query's k-th neighbour into its neighbours.

    chosen: numbers of n queries. distances: float32 [n, m], theirs to the m vectors of `ids`. Changes `nearest` and
    `limits` in place.
    """
    bounds = np.minimum(limits[chosen], _upper_bounds(limits[chosen], distances, k=nearest.shape[1]))
    nearer = np.flatnonzero(distances <= bounds[:, None])
    if not len(nearer):
        return
    row, column = np.divmod(nearer, distances.shape[1])
    keys = _packed(distances.ravel()[nearer], ids[column])
    begins = np.flatnonzero(np.r_[True, row[1:] != row[:-1]])  # Where each query's newcomers begin.
    counts = np.diff(np.r_[begins, len(row)])
    queries, k = chosen[row[begins]], nearest.shape[1]
    merged = np.full((len(begins), k + counts.max()), _NOBODY)
    merged[:, :k] = nearest[queries]
    group = np.repeat(np.arange(len(begins)), counts)
    merged[group, k + np.arange(len(row)) - begins[group]] = keys
    merged.sort(axis=1)
    nearest[queries] = merged[:, :k]
    limits[queries] = (merged[:, k - 1] >> np.uint64(32)).astype(np.uint32).view(np.float32)


def _upper_bounds(limits: np.ndarray, distances: np.ndarray, *, k: int) -> np.ndarray:
    """Bounds the k-th smallest distance from above, for queries that have no neighbours yet.

    The bound is the k-th smallest of the minima of disjoint groups: at least k distances are as small.
    """
    bounds = np.full(len(limits), np.inf, np.float32)
    new = np.flatnonzero(np.isinf(limits))
    n_groups = 4 * k
    width = distances.shape[1] // n_groups
    if width >= 2 and len(new):
        grouped = distances[new, : width * n_groups].reshape(len(new), width, n_groups)
        bounds[new] = np.partition(grouped.min(axis=1), k - 1, axis=1)[:, k - 1]
    return bounds


def _packed(distances: np.ndarray, ids: np.ndarray) -> np.ndarray:
    """Packs distance and id into one key. The bits of floats >= 0 sort as the floats do."""
    bits = np.maximum(distances, 0).view(np.uint32)  # Rounding can leave -1e-7.
    return bits.astype(np.uint64) << np.uint64(32) | ids


def _unpacked(keys: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    distances = (keys >> np.uint64(32)).astype(np.uint32).view(np.float32)
    ids = (keys & np.uint64(0xFFFFFFFF)).astype(np.int64)
    return distances, np.where(keys == _NOBODY, -1, ids)
