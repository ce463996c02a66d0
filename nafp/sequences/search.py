"""Finds sequences by the vectors of chunks, and then by their fingerprints, as AMG-Embedding evaluates.

Single stage: a query is cut into pieces as long as a chunk. Each piece finds its nearest chunks, and the similarity of
a chunk counts for the chunk at which the query would begin. Two stages: the fingerprints of the best chunks are
searched row by row, and the diagonal decides. All is numpy.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from nafp.sequences import chunks

K = 10  # Neighbours of a piece or a row, and answers.
_BLOCK = 512  # Queries whose similarities are in memory together.


class Ranking(NamedTuple):
    """Answers, best first. places: int64 [n], chunks or rows. scores: float32 [n]."""

    places: np.ndarray
    scores: np.ndarray


def nearest(rows: np.ndarray, queries: np.ndarray, *, k: int = K) -> tuple[np.ndarray, np.ndarray]:
    """Finds the k rows [N, E] with the largest inner products for each query [n, E], all of them compared.

    Returns similarities [n, K] in descending order and row numbers [n, K]. K is k, or N if that is less.
    """
    k = min(k, len(rows))
    similarities, numbers = np.empty((len(queries), k), np.float32), np.empty((len(queries), k), np.int64)
    for first in range(0, len(queries), _BLOCK):
        products = queries[first : first + _BLOCK] @ rows.T
        best = (
            np.argpartition(-products, k - 1, axis=1)[:, :k]
            if k < len(rows)
            else np.tile(np.arange(k), (len(products), 1))
        )
        best.sort(axis=1)  # Of equal similarities the first row comes first.
        values = np.take_along_axis(products, best, axis=1)
        order = np.argsort(-values, axis=1, kind="stable")
        similarities[first : first + _BLOCK] = np.take_along_axis(values, order, axis=1)
        numbers[first : first + _BLOCK] = np.take_along_axis(best, order, axis=1)
    return similarities, numbers


def pieces(n_rows: int, size: int) -> list[tuple[int, int]]:
    """Cuts a query into pieces of `size` rows: (first row, rows). A last piece of fewer than three rows is skipped."""
    cuts = [(first, min(size, n_rows - first)) for first in range(0, n_rows, size)]
    return [cut for cut in cuts if cut[1] >= chunks.SHORTEST]


def single_stage(similarities: np.ndarray, numbers: np.ndarray, *, top: int = K) -> Ranking:
    """Ranks the chunks at which a query begins.

    similarities, numbers: [P, K], the nearest chunks of its pieces. Piece p that finds chunk c is for chunk c - p, and
    is ignored if there is none. Of equal scores, the chunk that was met first comes first.
    """
    scores: dict[int, np.float32] = {}
    for piece, (values, found) in enumerate(zip(similarities, numbers.tolist())):
        for value, chunk in zip(values, found):
            if chunk >= piece:
                scores[chunk - piece] = scores.get(chunk - piece, np.float32(0)) + value
    ranked = sorted(scores, key=lambda chunk: -scores[chunk])[:top]
    return Ranking(np.array(ranked, np.int64), np.array([scores[chunk] for chunk in ranked], np.float32))


def two_stage(
    query: np.ndarray, best: np.ndarray, rows: Sequence[np.ndarray] | np.ndarray, *, k: int = K, top: int = K
) -> Ranking:
    """Ranks the rows at which a query begins, within its best chunks.

    query: [n, D], of which the first L rows count. best: the chunks [m] in the order of the first stage. rows: the
    fingerprints of all C chunks, each [L, D]. Those of the best chunks are searched as one array, and a diagonal may go
    from one chunk into the next. Rows are counted over all chunks: chunk x L + place.
    """
    size = len(rows[0])
    query, joined = query[:size], np.concatenate([rows[chunk] for chunk in best.tolist()])
    candidates, scores = diagonals(query, nearest(joined, query, k=k)[1], joined)
    order = np.argsort(-scores, kind="stable")[:top]
    places = candidates[order]
    return Ranking(best[places // size] * size + places % size, scores[order])


def diagonals(query: np.ndarray, numbers: np.ndarray, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Scores every start that a neighbour proposes by the mean inner product along its diagonal.

    query: [n, D]. numbers: [m, K], the nearest rows of its first m rows. rows: [N, D]. A diagonal that reaches the end
    of the rows is as short as they are. Returns the starts, ascending, and their scores.
    """
    starts = np.unique(numbers - np.arange(len(numbers))[:, None])
    starts = starts[starts >= 0]
    places = starts[:, None] + np.arange(len(query))
    inside = places < len(rows)
    cosines = np.einsum("cld,ld->cl", rows[np.minimum(places, len(rows) - 1)], query) * inside
    return starts, (cosines.sum(axis=1) / inside.sum(axis=1)).astype(np.float32)
