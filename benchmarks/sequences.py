"""Compares indexes for long clips: rows of the first stage, and vectors of the second stage, by memory, time and hits.

python -m benchmarks.sequences --store=STORE --clips=CLIPS --checkpoint=RUN --out=FILE

STORE/db holds the whole tracks that the clips of CLIPS (nafp amg clips) were cut from. The queries are cut from one
degraded version of each clip. Every index only proposes places; all places are scored alike, by the mean cosine along
the diagonal on the uncompressed rows, as nafp identify and nafp evaluate do. `mean` stands for vectors that are mean
fingerprints, without any training. `one row in n` indexes only every nth row.
"""

import functools
import time
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
import tabulate
from absl import flags, logging

from benchmarks import _ends, _result
from evaluation.scores import results
from nafp.search import collection, index, match, store
from nafp.sequences import chunks, clips, embedder, search

_STORE = flags.DEFINE_string("store", None, "The folder with the store db. Required.", required=True)
_CLIPS = flags.DEFINE_string("clips", None, "The folder of clips. Required.", required=True)
_CHECKPOINT = flags.DEFINE_string("checkpoint", None, "The second stage: RUN, RUN@best. Required.", required=True)
_VERSION = flags.DEFINE_integer("version", 1, "The version of the clips to ask with. Default: 1.")
_LENGTHS = flags.DEFINE_list("lengths", ["5", "10"], "The lengths of queries, seconds. Default: 5,10.")
_EACH = flags.DEFINE_integer("each", 3, "Queries of each clip, evenly spaced. Default: 3.")
_OUT = flags.DEFINE_string("out", None, "The JSON file to write. Default: none.")

EXACT, CODES = "Flat", "PQ64x4fs"
K = 100  # Neighbours of a row or a piece.
Embed = Callable[[Sequence[np.ndarray]], np.ndarray]


class Query(NamedTuple):
    """A query: its rows [n, D], the number of its track, and the row of the store at which it begins."""

    rows: np.ndarray
    track: int
    first: int


class Proposals(NamedTuple):
    """For each query, rows from which its own rows may come: int64 [n, M], -1 for none. cpu_s: what it took."""

    rows: list[np.ndarray]
    cpu_s: float


def main() -> None:
    logging.set_verbosity(logging.ERROR)  # orbax logs every file that it opens.
    rows = collection.Collection.of([store.Store.open(_STORE.value, "db")])
    network = embedder.load(_CHECKPOINT.value)
    lines: list[dict[str, Any]] = []
    numbers = {"machine": results.machine(), "rows": len(rows), "tracks": len(rows.tracks), "lines": lines}
    ways = indexes(rows, network)
    for seconds in map(float, _LENGTHS.value):
        some = queries(rows, chunks.rows_of(seconds))
        for name, n_bytes, propose in ways:
            lines.append({"seconds": seconds, "index": name, "bytes_a_row": n_bytes / len(rows)})
            lines[-1] |= scored(rows, some, propose(some))
            print(lines[-1], flush=True)
            _result.write(numbers, _OUT.value)
    print(tabulate.tabulate(lines, headers="keys", floatfmt=".1f"))


def queries(rows: collection.Collection, length: int) -> list[Query]:
    """Cuts the queries of one length, in rows, from one version of every clip whose track is in the store."""
    numbers = {name: number for number, name in enumerate(rows.tracks)}
    some = []
    for clip, place in zip(clips.listed(_CLIPS.value), clips.places(_CLIPS.value)):
        heard = clips.read(clip.versions[_VERSION.value])
        if place.track in numbers and len(heard) >= length:
            track = numbers[place.track]
            first = int(rows.first_rows[track]) + round(place.start_s / rows.hop_s)
            starts = np.unique(np.linspace(0, len(heard) - length, _EACH.value).astype(int)).tolist()
            some += [Query(heard[start : start + length], track, first + start) for start in starts]
    return some


def indexes(
    rows: collection.Collection, network: embedder.Embedder
) -> list[tuple[str, int, Callable[[Sequence[Query]], Proposals]]]:
    """Builds all indexes: (name, bytes in memory, what proposes places)."""
    vectors = np.asarray(rows.at_once(0, len(rows)))
    ways: list[tuple[str, int, Callable[[Sequence[Query]], Proposals]]] = []
    for every in (1, 4, 9):
        for factory in (EXACT, CODES):
            built = _built(vectors[::every], factory)
            name = f"{'rows' if every == 1 else f'one row in {every}'}, {factory}"
            ways.append((name, built.n_bytes, functools.partial(_by_rows, built, every)))
    firsts = np.concatenate(
        [
            first + np.array(chunks.cut(end - first, network.chunk_rows), int)
            for first, end in zip(rows.first_rows.tolist(), rows.end_rows.tolist())
        ]
    )
    cut = [vectors[first : first + network.chunk_rows] for first in firsts]
    for kind, embed in (("mean", _mean), ("second stage", network)):
        embedded = embed(cut)
        for factory in (EXACT, CODES):
            built = _built(embedded, factory)
            way = functools.partial(_by_chunks, built, firsts, network.chunk_rows, embed)
            ways.append((f"{kind}, {factory}", built.n_bytes, way))
    return ways


def _built(vectors: np.ndarray, factory: str) -> index.Index:
    rows = collection.Collection([np.ascontiguousarray(vectors)])
    return index.build(rows, index.plan(factory, n_rows=len(rows), dim=rows.dim, k=K), check=False)


def _mean(sequences: Sequence[np.ndarray]) -> np.ndarray:
    means = np.stack([rows.mean(axis=0) for rows in sequences])
    return means / np.linalg.norm(means, axis=1, keepdims=True)


def _by_rows(built: index.Index, every: int, some: Sequence[Query]) -> Proposals:
    """Proposes the neighbours of every row of a query, in an index of one row in `every`."""
    began = time.process_time()
    found = built.search(np.concatenate([query.rows for query in some]))[1]
    found = np.where(found < 0, -1, found * every)
    return Proposals(list(found.reshape(len(some), len(some[0].rows), -1)), time.process_time() - began)


def _by_chunks(built: index.Index, firsts: np.ndarray, size: int, embed: Embed, some: Sequence[Query]) -> Proposals:
    """Proposes every place that overlaps one of the nearest chunks of a piece of a query, by half a chunk or more.

    firsts: the first row of each chunk, which has `size` rows.
    """
    began = time.process_time()
    cuts = [cut for cut in search.pieces(len(some[0].rows), size) if cut[1] > size // 2]
    pieces = [query.rows[first : first + n] for query in some for first, n in cuts]
    found = built.search(embed(pieces))[1].reshape(len(some), len(cuts), -1)
    around = np.arange(-(size // 2), size // 2 + 1)
    proposals = []
    for of_query in found:
        rows = np.full((len(some[0].rows), K * len(around)), -1)
        for (first, _), nearest in zip(cuts, of_query):
            starts = (firsts[nearest[nearest >= 0]][:, None] + around).ravel()
            rows[first, : len(starts)] = np.maximum(starts, -1)
        proposals.append(rows)
    return Proposals(proposals, time.process_time() - began)


def scored(rows: collection.Collection, some: Sequence[Query], proposals: Proposals) -> dict[str, Any]:
    """Scores the proposed places, and counts right tracks and places, to a row."""
    began, length = time.process_time(), len(some[0].rows)
    tracks = places = 0
    for query, proposed in zip(some, proposals.rows):
        within = np.where(proposed < len(rows), proposed, -1)
        ranking = match.rank(query.rows, within, rows, lengths=[length])[0]
        if len(ranking.tracks) and ranking.tracks[0] == query.track:
            tracks += 1
            places += bool(abs(ranking.starts[0] - query.first) <= 1)
    score_s = time.process_time() - began
    share = 100 / len(some)
    return {
        "queries": len(some),
        "track": share * tracks,
        "place": share * places,
        "search_ms": 1000 * proposals.cpu_s / len(some),
        "score_ms": 1000 * score_s / len(some),
    }


if __name__ == "__main__":
    _ends.run(main)
