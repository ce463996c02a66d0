"""Scores the second stage, as AMG-Embedding does, beside the first stage alone.

first    the first stage alone: every row of a query is searched among all rows, and the diagonal decides
single   the single stage: pieces of a query are searched among the vectors of chunks
two      the two stages: the same, and then the rows of the ten best chunks are searched

An answer is right by chunk if it is the chunk in which the query begins, or the next one. It is right by place if it is
the very row. Recordings that nobody asks for (dummy) come before the others, as in AMG-Embedding. That system lists the
dummy's files unsorted in one place and sorted in the other, so its second stage may open the wrong chunk. Here both
have one order.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import numpy as np

from nafp import errors
from nafp.sequences import chunks, recordings, search
from nafp.sequences.embedder import Embedder

FIRST, SINGLE, TWO = METHODS = ("first", "single", "two")


class Line(NamedTuple):
    """Scores of a method at one length. chunk_top1 to place_top10: the numbers of right answers.

    seconds: the length of a query. asked: the number of queries. n_bytes: the size of what is searched in memory. ms:
    the time of a query, embedding included. The single stage gives no places, so that their counts are -1.
    """

    method: str
    seconds: float
    asked: int
    chunk_top1: int
    chunk_top10: int
    place_top1: int
    place_top10: int
    n_bytes: int
    ms: float


class Query(NamedTuple):
    """A query: its rows, the number of its recording in the database, and the row in it at which the query begins."""

    rows: np.ndarray
    recording: int
    start: int


class Index:
    """The chunks of all recordings, dummy first, and their vectors.

    first_chunk, first_row: the first chunk and row of each recording of the database. chunks: the rows [L, D] of each
    chunk. vectors: float32 [C, E]. rows: float32 [N, D], all rows, also those behind the last chunk of a recording.
    """

    def __init__(self, network: Embedder, dummy: recordings.Recordings | None, db: recordings.Recordings):
        size, n_dummy = network.chunk_rows, len(dummy.rows) if dummy else 0
        held = [*(dummy.rows if dummy else []), *db.rows]
        cuts = [chunks.cut(len(rows), size) for rows in held]
        self.size = size
        self.chunks = [rows[first : first + size] for rows, firsts in zip(held, cuts) for first in firsts]
        if not self.chunks:
            raise errors.Invalid(f"no recording has the {size} rows of a chunk ({network.seconds} s)")
        began = time.perf_counter()
        self.vectors = network(self.chunks)
        self.build_s = time.perf_counter() - began
        self.rows = np.concatenate(held)
        self.first_chunk = np.cumsum([0, *map(len, cuts)])[n_dummy:-1]
        self.n_chunks = np.array([len(firsts) for firsts in cuts[n_dummy:]])
        self.first_row = np.cumsum([0, *map(len, held)])[n_dummy:-1]


def queries(
    asked: recordings.Recordings, answers: Sequence[int], starts: recordings.Starts, length: int
) -> list[Query]:
    """Cuts the queries of one length, in rows."""
    return [
        Query(rows[start : start + length], answer, start)
        for rows, answer in zip(asked.rows, answers)
        for start in starts.within(len(rows), length)
    ]


def evaluate(
    network: Embedder,
    index: Index,
    asked: recordings.Recordings,
    answers: Sequence[int],
    starts: recordings.Starts,
    *,
    seconds: Sequence[float],
    methods: Sequence[str] = METHODS,
) -> Iterator[Line]:
    """Yields the scores of every method at every length. Lengths that no query has are left out."""
    ways: dict[str, Callable[[list[Query]], Line]] = {
        FIRST: lambda batch: _first_stage(index, batch),
        SINGLE: lambda batch: _second_stage(network, index, batch, fine=False),
        TWO: lambda batch: _second_stage(network, index, batch, fine=True),
    }
    for length in starts.lengths(seconds):
        if batch := queries(asked, answers, starts, length):
            for method in methods:
                yield ways[method](batch)


def _second_stage(network: Embedder, index: Index, batch: Sequence[Query], *, fine: bool) -> Line:
    began = time.perf_counter()
    cuts = search.pieces(len(batch[0].rows), network.chunk_rows)
    pieces = [query.rows[first : first + n] for query in batch for first, n in cuts]
    neighbours = [part.reshape(len(batch), len(cuts), -1) for part in search.nearest(index.vectors, network(pieces))]
    coarse = [search.single_stage(*pair) for pair in zip(*neighbours)]
    if fine:
        rankings = [search.two_stage(query.rows, ranking.places, index.chunks) for query, ranking in zip(batch, coarse)]
    ms = 1000 * (time.perf_counter() - began) / len(batch)
    if not fine:
        return _line(SINGLE, index, batch, [r.places for r in coarse], None, index.vectors.nbytes, ms)
    rows = [ranking.places for ranking in rankings]
    chunk_of_row = [places // index.size for places in rows]
    right = [int(index.first_chunk[q.recording]) * index.size + q.start for q in batch]
    return _line(TWO, index, batch, chunk_of_row, (rows, right), index.vectors.nbytes, ms)


def _first_stage(index: Index, batch: Sequence[Query]) -> Line:
    began, length = time.perf_counter(), len(batch[0].rows)
    numbers = search.nearest(index.rows, np.concatenate([query.rows for query in batch]))[1]
    rows = []
    for query, nearest in zip(batch, numbers.reshape(len(batch), length, -1)):
        places, scores = search.diagonals(query.rows, nearest, index.rows)
        rows.append(places[np.argsort(-scores, kind="stable")[: search.K]])
    ms = 1000 * (time.perf_counter() - began) / len(batch)
    right = [int(index.first_row[query.recording]) + query.start for query in batch]
    # The chunk of a row of the right recording; any other recording's row is none.
    chunk_of_row = [
        index.first_chunk[q.recording] + (places - index.first_row[q.recording]) // index.size
        for places, q in zip(rows, batch)
    ]
    return _line(FIRST, index, batch, chunk_of_row, (rows, right), index.rows.nbytes, ms)


def _line(
    method: str,
    index: Index,
    batch: Sequence[Query],
    chunk_answers: Sequence[np.ndarray],
    by_place: tuple[Sequence[np.ndarray], Sequence[int]] | None,
    n_bytes: int,
    ms: float,
) -> Line:
    """Counts right answers: by chunk, and by place if `by_place` gives the rows of the answers and the right rows."""
    own = [int(index.first_chunk[query.recording]) + query.start // index.size for query in batch]
    of_chunk = [_right(answers, {chunk, chunk + 1}) for answers, chunk in zip(chunk_answers, own)]
    of_place = [_right(answers, {row}) for answers, row in zip(*by_place)] if by_place else [(-1, -1)]
    chunk_top1, chunk_top10 = (sum(column) for column in zip(*of_chunk))
    place_top1, place_top10 = (sum(column) for column in zip(*of_place))
    seconds = (len(batch[0].rows) + 1) / 2
    return Line(method, seconds, len(batch), chunk_top1, chunk_top10, place_top1, place_top10, n_bytes, ms)


def _right(answers: np.ndarray, right: set[int]) -> tuple[int, int]:
    """Returns whether the first, and whether any of the answers is right: 0 or 1 each."""
    hits = [answer in right for answer in answers.tolist()]
    return int(bool(hits and hits[0])), int(any(hits))
