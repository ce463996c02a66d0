"""Lines through tracks agree with a slow search of all of them, and stay within their track."""

import numpy as np
import pytest

from nafp.monitor import diagonals
from nafp.search import collection, store


def unit(rows):
    return (rows / np.linalg.norm(rows, axis=-1, keepdims=True)).astype(np.float32)


@pytest.fixture(scope="module")
def rows():
    vectors = unit(np.random.default_rng(0).standard_normal((300, 16)))
    tracks = [store.TrackRows(name, first, 100, 50.0) for name, first in zip("abc", (0, 100, 200))]
    return collection.Collection([vectors], tracks)


def between(rows, track, places):
    """What a track has at places between its rows, one at a time."""
    first, end = 100 * track, 100 * track + 100
    found = np.zeros((len(places), rows.dim))
    for i, place in enumerate(places):
        low, share = int(np.floor(place)), place - np.floor(place)
        for row, weight in ((low, 1 - share), (low + 1, share)):
            if first <= first + row < end:
                found[i] += weight * rows.read(first + row, first + row + 1)[0]
        length = np.linalg.norm(found[i])
        found[i] /= max(length, 0.5)
    return found


def played(rows, track, place, slope, *, n=24, step=0.5):
    lags = step * (np.arange(n) - (n - 1) / 2)
    return unit(between(rows, track, place + slope * lags))


def fitted(query, tracks, places, rows, **settings):
    settings = {"slopes": np.linspace(0.94, 1.06, 7), "offsets": np.linspace(-1, 1, 9)} | settings
    return diagonals.fit(query, np.array(tracks), np.array(places, float), rows, step=0.5, apart=2.5, **settings)


@pytest.mark.parametrize("place, slope", [(50.0, 1.0), (40.25, 1.04), (61.5, 0.94)])
def test_a_line_is_found_with_its_place_and_slope(rows, place, slope):
    query = played(rows, 1, place, slope)
    found = fitted(query, [0, 1], [50.0, place + 0.5], rows)
    assert found.places[1] == pytest.approx(place)
    assert found.slopes[1] == pytest.approx(slope)
    assert found.cosines[1].min() > 0.99
    assert found.cosines[0].mean() < 0.5


def test_the_best_line_is_that_of_a_slow_search(rows):
    query = unit(np.random.default_rng(1).standard_normal((16, 16)))
    slopes, offsets = np.array([0.96, 1.0, 1.04]), np.array([-0.75, 0.0, 0.5])
    found = fitted(query, [2], [30.2], rows, slopes=slopes, offsets=offsets)
    lags = 0.5 * (np.arange(16) - 7.5)
    slow = {}
    for slope in slopes:
        for offset in offsets:
            vectors = between(rows, 2, 30.2 + offset + slope * lags)
            slow[slope, offset] = np.vecdot(query, vectors)
    best = max(slow, key=lambda key: np.maximum(slow[key], 0).sum())
    assert (found.slopes[0], found.places[0] - 30.2) == pytest.approx(best)
    np.testing.assert_allclose(found.cosines[0], slow[best], atol=1e-5)
    np.testing.assert_allclose(np.vecdot(found.vectors[0], query), slow[best], atol=1e-5)


def test_beyond_the_ends_of_a_track_there_is_nothing(rows):
    query = np.concatenate([played(rows, 0, 97.0, 1.0, n=12), rows.read(100, 112)])
    found = fitted(query, [0], [99.75], rows, slopes=np.ones(1), offsets=np.zeros(1))
    assert not found.cosines[0][-8:].any()
    assert not found.vectors[0][-8:].any()


def test_the_level_is_what_rows_that_do_not_sound_together_have_in_common(rows):
    common = np.zeros(16, np.float32)
    common[0] = 1.0
    vectors = unit(rows.read(0, 100) + 2 * common)
    alike = collection.Collection([vectors], [store.TrackRows("a", 0, 100, 50.0)])
    found = fitted(vectors[40:60], [0], [49.5], alike, slopes=np.full(1, 2.0))
    expected = (vectors @ vectors.T)[np.abs(np.subtract.outer(range(100), range(100))) > 3].mean()
    assert found.levels[0] == pytest.approx(expected, abs=0.1)
    assert fitted(rows.read(40, 60), [0], [49.5], rows).levels[0] == pytest.approx(0, abs=0.1)


def test_neighbours_on_one_line_propose_it(rows):
    rng = np.random.default_rng(2)
    near = rng.integers(0, 300, (32, 5))
    near[:, 0] = 130 + np.arange(32) // 2
    cosines = np.full(near.shape, 0.5, np.float32)
    tracks, places = diagonals.propose(near, cosines, rows, step=0.5, most=4)
    assert tracks[0] == 1
    assert places[0] == pytest.approx(30 + 31 / 4 - 0.25, abs=0.3)
    assert len(tracks) <= 4


def test_nothing_near_proposes_nothing(rows):
    nothing = np.full((8, 3), -1)
    tracks, places = diagonals.propose(nothing, np.zeros((8, 3), np.float32), rows, step=0.5, most=4)
    assert len(tracks) == len(places) == 0
    assert len(fitted(np.ones((8, 16), np.float32), [], [], rows).tracks) == 0


def test_likeness_is_one_for_the_same_and_nothing_for_others(rows):
    one, other = rows.read(0, 40), rows.read(150, 190)
    common = np.full(16, 0.5, np.float32)
    np.testing.assert_allclose(diagonals.likeness(one, one, apart=3), 1, atol=1e-5)
    shifted = diagonals.likeness(unit(one + common), unit(other + common), apart=3)
    assert shifted.mean() < 0.25 < np.vecdot(unit(one + common), unit(other + common)).mean() + 0.1
