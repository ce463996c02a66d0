"""Matchers that count, against counting by hand."""

import numpy as np
import pytest

from nafp.search import collection, store, votes

VECTORS = np.eye(8, dtype=np.float32)[np.arange(60) % 8]
TRACKS = [store.TrackRows(name, first, 20, 10.0) for name, first in (("a", 0), ("b", 20), ("c", 40))]
ROWS = collection.Collection([VECTORS], TRACKS)
NEIGHBOURS = np.array([[5, 25, 41], [6, 26, 7], [7, 50, 8], [30, -1, 28]])
COSINES = np.array([[0.9, 0.8, 0.2], [0.9, 0.8, 0.7], [0.9, 0.3, 0.6], [0.5, 0.0, 0.4]])


def test_the_majority_is_counted_by_hand():
    one, four = votes.majority(NEIGHBOURS, COSINES, ROWS, lengths=[1, 4])
    assert one.tracks.tolist() == [0, 1, 2]  # One vote each: the mean cosine decides.
    assert four.tracks.tolist() == [0, 1, 2]
    assert four.scores.tolist() == pytest.approx([5 / 12, 4 / 12, 2 / 12], abs=1e-5)
    assert four.starts.tolist() == [5, 25, 41]
    assert four.elsewhere == pytest.approx(4 / 12, abs=1e-5)


def test_a_window_sums_what_falls_into_it():
    (three,) = votes.window(NEIGHBOURS[:3], COSINES[:3], ROWS, lengths=[3])
    sums = {}
    for start in {max(0, int(r) - j) for j, near in enumerate(NEIGHBOURS[:3]) for r in near}:
        inside = (NEIGHBOURS[:3] >= start) & (NEIGHBOURS[:3] <= start + 3)
        sums[start] = COSINES[:3][inside].sum() / 9
    best = max(sums, key=lambda start: sums[start])
    assert (three.starts[0], three.tracks[0]) == (best, 0)
    assert three.scores.tolist() == pytest.approx(sorted(sums.values(), reverse=True)[:10])


def test_nothing_found_is_nothing_ranked():
    nothing = np.full((2, 3), -1)
    for matcher in (votes.majority, votes.window):
        (ranking,) = matcher(nothing, np.zeros((2, 3)), ROWS, lengths=[2])
        assert len(ranking.starts) == 0
        assert ranking.elsewhere == 0
