"""Searches inverted lists one by one: each is decoded once for all queries that probe it.

faiss walks query by query and reads a list again for each. With thousands of queries at once it is
cheaper to walk list by list: decode the list to plain vectors, multiply them with every query that
probes it (one matrix product), keep what beats each query's worst neighbour so far. The same
distances up to rounding, for a tenth of the CPU. Plain numpy; faiss stays in `index.py`.
"""

from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np

QUERY_BLOCK = 512  # 512 x 2048 distances are 4 MiB: read again while they are still in a cache.
VECTOR_BLOCK = 2048
MAX_ROWS = 2**32 - 1  # Ids travel in the lower half of a 64-bit key.
_NOBODY = np.uint64(0x7F800000FFFFFFFF)  # The key of an infinite distance.


class Lists(NamedTuple):
    """The inverted lists of an index: ids(number) -> int64 [n]; decode(number, out [n, D])."""

    n_lists: int
    ids: Callable[[int], np.ndarray]
    decode: Callable[[int, np.ndarray], None]


def search(
    lists: Lists, queries: np.ndarray, probes: np.ndarray, *, k: int
) -> tuple[np.ndarray, np.ndarray]:
    """Finds the k nearest vectors of each query among the lists it probes.

    queries: float32 [Q, D]; probes: [Q, P] list numbers, -1 for none. Returns squared distances
    float32 [Q, k], ascending (ties by id), and ids int64 [Q, k]; inf and -1 where there are fewer.
    """
    nearest = np.full((len(queries), k), _NOBODY)  # Keys: distance, then id.
    limits = np.full(len(queries), np.inf, np.float32)  # Distance of the k-th so far.
    # |q - x|^2 = |q|^2 - 2 q.x + |x|^2: two more columns make it one matrix product.
    squares = np.vecdot(queries, queries)[:, None]
    wide = np.hstack([-2 * queries, squares, np.ones_like(squares)])
    space = np.empty(QUERY_BLOCK * VECTOR_BLOCK, np.float32)
    for number, asking in _askers(probes, lists.n_lists):
        ids = lists.ids(number).astype(np.uint64)
        vectors = _decoded(lists, number, len(ids), queries.shape[1])
        for some in _blocks(asking, QUERY_BLOCK):
            for part in _blocks(np.arange(len(ids)), VECTOR_BLOCK):
                shape = (len(some), len(part))
                distances = space[: shape[0] * shape[1]].reshape(shape)
                np.matmul(wide[some], vectors[part[0] : part[-1] + 1].T, out=distances)
                _offer(nearest, limits, some, distances, ids[part[0] : part[-1] + 1])
    return _unpacked(nearest)


def _askers(probes: np.ndarray, n_lists: int) -> Iterator[tuple[int, np.ndarray]]:
    """Yields every probed list with the queries that probe it."""
    order = np.argsort(probes, axis=None, kind="stable")
    edges = np.searchsorted(probes.ravel()[order], np.arange(n_lists + 1))
    for number in range(n_lists):
        asking = order[edges[number] : edges[number + 1]] // probes.shape[1]
        if len(asking):
            yield number, asking


def _blocks(items: np.ndarray, size: int) -> Iterator[np.ndarray]:
    for start in range(0, len(items), size):
        yield items[start : start + size]


def _decoded(lists: Lists, number: int, n: int, dim: int) -> np.ndarray:
    """Gives the vectors of one list with 1 and their squared length appended, [n, D + 2]."""
    vectors = np.empty((n, dim + 2), np.float32)
    lists.decode(number, vectors[:, :dim])
    vectors[:, dim] = 1
    np.vecdot(vectors[:, :dim], vectors[:, :dim], out=vectors[:, dim + 1])
    return vectors


def _offer(
    nearest: np.ndarray,
    limits: np.ndarray,
    some: np.ndarray,
    distances: np.ndarray,
    ids: np.ndarray,
) -> None:
    """Merges into the neighbours of the queries `some` what is nearer than their k-th."""
    bounds = np.minimum(limits[some], _upper_bounds(limits[some], distances, k=nearest.shape[1]))
    found = np.flatnonzero(distances <= bounds[:, None])
    if not len(found):
        return
    row, column = np.divmod(found, distances.shape[1])
    keys = _packed(distances.ravel()[found], ids[column])
    begins = np.flatnonzero(np.r_[True, row[1:] != row[:-1]])  # Where each query's newcomers begin.
    counts = np.diff(np.r_[begins, len(row)])
    queries, k = some[row[begins]], nearest.shape[1]
    merged = np.full((len(begins), k + counts.max()), _NOBODY)
    merged[:, :k] = nearest[queries]
    group = np.repeat(np.arange(len(begins)), counts)
    merged[group, k + np.arange(len(row)) - begins[group]] = keys
    merged.sort(axis=1)
    nearest[queries] = merged[:, :k]
    limits[queries] = (merged[:, k - 1] >> np.uint64(32)).astype(np.uint32).view(np.float32)


def _upper_bounds(limits: np.ndarray, distances: np.ndarray, *, k: int) -> np.ndarray:
    """Bounds the k-th smallest distance from above for queries that have no neighbours yet.

    The k-th smallest of the minima of disjoint groups: at least k distances are as small.
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
    """Packs distance and id into one key; the bits of floats >= 0 sort as the floats do."""
    bits = np.maximum(distances, 0).view(np.uint32)  # Rounding can leave -1e-7.
    return bits.astype(np.uint64) << np.uint64(32) | ids


def _unpacked(keys: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    distances = (keys >> np.uint64(32)).astype(np.uint32).view(np.float32)
    ids = (keys & np.uint64(0xFFFFFFFF)).astype(np.int64)
    return distances, np.where(keys == _NOBODY, -1, ids)
