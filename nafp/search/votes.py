"""Ranks tracks by counting retrieved rows instead of comparing diagonals.

The benchmark system (magcil/deep-audio-fingerprinting-benchmark) and song_mine match in these ways. They are kept so
that one table can set them beside `match.rank` on the same fingerprints.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from nafp.search import collection
from nafp.search.match import TOP, Ranking

if TYPE_CHECKING:
    from jaxtyping import Float, Int


def majority(
    neighbours: Int[np.ndarray, "n K"],
    cosines: Float[np.ndarray, "n K"],
    rows: collection.Collection,
    *,
    lengths: Sequence[int],
    top: int = TOP,
) -> list[Ranking]:
    """Ranks tracks by their share of the retrieved rows, ties by the mean cosine, once for each of `lengths`.

    neighbours: the nearest rows of each query row, -1 for none. cosines: with each of them. The place of a track is the
    start that most of its rows propose.
    """
    offsets, column = np.nonzero(neighbours >= 0)
    nearest, cosine = neighbours[offsets, column], cosines[offsets, column]
    tracks, starts = rows.track_of(nearest), nearest - offsets
    rankings = []
    for length in lengths:
        live = offsets < length
        names, votes = _counted(tracks[live], cosine[live])
        order = np.argsort(-votes, kind="stable")[:top]
        places = [_most_proposed(starts[live][tracks[live] == name]) for name in names[order]]
        scores = (votes[order] / (length * neighbours.shape[1])).astype(np.float32)
        elsewhere = float(scores[1]) if len(scores) > 1 else 0.0
        starts_of = np.array(places, np.float64)
        rankings.append(Ranking(names[order], starts_of, scores, elsewhere, starts_of))
    return rankings


def window(
    neighbours: Int[np.ndarray, "n K"],
    cosines: Float[np.ndarray, "n K"],
    rows: collection.Collection,
    *,
    lengths: Sequence[int],
    top: int = TOP,
) -> list[Ranking]:
    """Ranks starts c by the summed cosines of the retrieved rows within c .. c + length, once for each of `lengths`.

    This is the benchmark's sequence search. It knows neither diagonals nor borders. Scores are divided by the number of
    rows retrieved, so that they compare between lengths. Parameters: as of `majority`.
    """
    offsets, column = np.nonzero(neighbours >= 0)
    nearest, cosine = neighbours[offsets, column], cosines[offsets, column]
    rankings = []
    for length in lengths:
        live = offsets < length
        order = np.argsort(nearest[live], kind="stable")
        places = nearest[live][order]
        sums = np.concatenate([[0.0], np.cumsum(cosine[live][order])])
        starts = np.unique(np.maximum(nearest[live] - offsets[live], 0))
        low, high = (np.searchsorted(places, starts + more) for more in (0, length + 1))
        scores = (sums[high] - sums[low]) / (length * neighbours.shape[1])
        rankings.append(_best(starts, scores, rows, top=top))
    return rankings


def _counted(tracks: np.ndarray, cosine: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Returns the distinct tracks and their votes. The mean cosine is added to them, scaled to break ties."""
    names, which, counts = np.unique(tracks, return_inverse=True, return_counts=True)
    means = np.bincount(which, weights=cosine, minlength=len(names)) / np.maximum(counts, 1)
    return names, counts + means * 1e-6


def _most_proposed(starts: np.ndarray) -> int:
    values, counts = np.unique(starts, return_counts=True)
    return int(values[np.argmax(counts)])


def _best(starts: np.ndarray, scores: np.ndarray, rows: collection.Collection, *, top: int) -> Ranking:
    order = np.argsort(-scores, kind="stable")
    tracks = rows.track_of(starts[order])
    others = np.flatnonzero(tracks != tracks[0]) if len(tracks) else tracks
    elsewhere = float(scores[order][others[0]]) if len(others) else 0.0
    best = order[:top]
    places = starts[best].astype(np.float64)
    return Ranking(tracks[:top], places, scores[best].astype(np.float32), elsewhere, places)
