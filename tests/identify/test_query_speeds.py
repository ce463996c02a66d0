"""Of a clip heard at several speeds, the version whose best place stands out decides. Slopes play no part in that."""

import numpy as np
import pytest

from nafp.search import collection, index, match, speeds, store

DIM, ROWS = 32, 60


def unit(n, seed):
    vectors = np.random.default_rng(seed).standard_normal((n, DIM)).astype(np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def near_to(vectors, share, seed):
    """The same vectors, less certain."""
    mixed = vectors + share * unit(len(vectors), seed)
    return mixed / np.linalg.norm(mixed, axis=1, keepdims=True)


@pytest.fixture(scope="module")
def rows():
    tracks = [store.TrackRows(f"track{n}", n * ROWS, ROWS, 30.5) for n in range(8)]
    return collection.Collection([unit(8 * ROWS, seed=1)], tracks)


@pytest.fixture(scope="module")
def search(rows):
    built = index.build(rows, index.plan("auto", n_rows=len(rows), dim=DIM))
    return lambda vectors: built.search(vectors, 20)[1]


def heard(vectors, search, speed=1.0, lengths=None):
    return speeds.ClipAtSpeed(speed, vectors, search(vectors), lengths or [len(vectors)])


def test_heard_once_the_ranking_is_the_plain_one(rows, search):
    query = near_to(rows.read(70, 82), 0.5, seed=2)
    lengths = [1, 5, 12]
    found = speeds.rank([heard(query, search, lengths=lengths)], rows)
    plain = match.rank(query, search(query), rows, lengths=lengths, between=True)
    for one, other in zip(found, plain):
        np.testing.assert_array_equal(one.tracks, other.tracks)
        np.testing.assert_array_equal(one.scores, other.scores)
        assert (one.compared[0], one.elsewhere, one.speeds[0]) == (
            other.compared[0],
            other.elsewhere,
            1,
        )


def test_the_version_that_stands_out_most_decides(rows, search):
    right = near_to(rows.read(130, 142), 0.4, seed=3)
    versions = [
        heard(unit(12, seed=4), search),
        heard(right, search, 1.03),
        heard(unit(13, seed=5), search, 0.97),
    ]
    found = speeds.rank(versions, rows)[0]
    assert (found.heard, rows.tracks[found.tracks[0]], found.compared[0]) == (1, "track2", 130)
    assert found.speeds[0] == pytest.approx(1.03)


def test_a_high_score_makes_up_for_a_slightly_smaller_margin():
    tunes = unit(3 * ROWS, seed=1)
    tunes[ROWS : 2 * ROWS] = near_to(tunes[:ROWS], 1.5, seed=8)  # Much like the first track, and no copy.
    tracks = [store.TrackRows(f"track{n}", n * ROWS, ROWS, 30.5) for n in range(3)]
    rows = collection.Collection([tunes], tracks)
    built = index.build(rows, index.plan("auto", n_rows=len(rows), dim=DIM))

    def version(first, share, speed):
        query = near_to(rows.read(first, first + 12), share, seed=3)
        return heard(query, lambda vectors: built.search(vectors, 20)[1], speed)

    versions = [version(10, 0.2, 0.97), version(2 * ROWS + 10, 1.1, 1.03)]
    alone = [speeds.rank([one], rows)[0] for one in versions]
    high, wide = (float(one.scores[0]) for one in alone)
    assert high > wide + 0.2
    assert wide - alone[1].elsewhere > high - alone[0].elsewhere  # The margin alone says the other.
    assert speeds.rank(versions, rows)[0].heard == 0


def test_a_clip_that_is_found_at_its_own_speed_stays_there(rows, search):
    query = near_to(rows.read(130, 142), 0.4, seed=3)
    versions = [
        heard(query, search, 1.03),
        heard(near_to(rows.read(130, 142), 0.42, seed=6), search),
    ]
    assert speeds.rank(versions, rows)[0].speeds[0] == 1


def test_a_version_too_short_for_a_length_has_no_say_in_it(rows, search):
    right = near_to(rows.read(130, 142), 0.2, seed=3)
    versions = [
        heard(unit(12, seed=4), search, lengths=[1, 12]),
        heard(right, search, 0.9, lengths=[0, 10]),
    ]
    assert [each.heard for each in speeds.rank(versions, rows)] == [0, 1]


def smooth_rows():
    """Rows that are alike when they are near, as real ones are."""
    steps = unit(8 * ROWS + 4, seed=7)
    smooth = sum(steps[k : k + 8 * ROWS] for k in range(4))
    smooth /= np.linalg.norm(smooth, axis=1, keepdims=True)
    tracks = [store.TrackRows(f"track{n}", n * ROWS, ROWS, 30.5) for n in range(8)]
    return collection.Collection([smooth], tracks)


def played(rows, at):
    """Fingerprints as they would be between rows."""
    smooth = rows.read(0, len(rows))
    low = np.floor(at).astype(int)
    query = smooth[low] * (1 - at + low)[:, None] + smooth[low + 1] * (at - low)[:, None]
    return query / np.linalg.norm(query, axis=1, keepdims=True)


def found_in(rows, query):
    built = index.build(rows, index.plan("auto", n_rows=len(rows), dim=DIM))
    return speeds.rank([heard(query, lambda vectors: built.search(vectors, 20)[1])], rows)[0]


@pytest.mark.parametrize("slope", [0.9, 1.0, 1.1])
def test_the_slope_of_the_alignment_is_found(slope):
    rows = smooth_rows()
    found = found_in(rows, played(rows, 190 + np.arange(24) * slope))
    assert rows.tracks[found.tracks[0]] == "track3"
    assert found.speeds[0] == pytest.approx(slope, abs=0.021)
    assert found.starts[0] == pytest.approx(190, abs=1)


@pytest.mark.parametrize("start", [190.0, 190.3, 190.5, 190.8])
def test_a_start_between_rows_is_found_there(start):
    rows = smooth_rows()
    found = found_in(rows, played(rows, start + np.arange(24)))
    assert found.starts[0] == pytest.approx(start, abs=0.1)


def test_scores_of_the_parts_average_to_the_score(rows, search):
    query = near_to(rows.read(70, 82), 0.3, seed=2)
    one = heard(query, search)
    found = speeds.rank([one], rows)[0]
    parts = speeds.part_scores(one, found, 0, rows)
    assert parts.shape == (12,)
    assert parts.mean() == pytest.approx(found.scores[0], abs=1e-5)


def test_scores_of_the_parts_average_to_the_score_between_rows(rows, search):
    query = rows.read(70, 82) + rows.read(71, 83)
    query /= np.linalg.norm(query, axis=1, keepdims=True)
    one = heard(near_to(query, 0.3, seed=2), search)
    found = speeds.rank([one], rows)[0]
    assert (found.compared[0], found.halves[0]) == (70, 0.5)
    parts = speeds.part_scores(one, found, 0, rows)
    assert parts.mean() == pytest.approx(found.scores[0], abs=1e-5)


def test_parts_beyond_a_track_count_nothing(rows, search):
    query = rows.read(55, 67)  # Five rows of track 0, then rows of track 1.
    one = heard(query, search)
    found = speeds.rank([one], rows)[0]
    parts = speeds.part_scores(one, found, 0, rows)
    assert sorted(np.round(parts, 3).tolist()) == [0.0] * 5 + [1.0] * 7
    assert rows.tracks[found.tracks[0]] == "track1"


@pytest.mark.parametrize("speed", [0.9, 1.0, 1.1])
@pytest.mark.parametrize("length", [1, 5, 19])
def test_rows_heard_are_those_that_fit(speed, length):
    seconds = 1 + (length - 1) * 0.5
    fits = max(0, int((seconds * speed - 1) / 0.5 + 1e-6) + 1) if seconds * speed >= 1 - 1e-9 else 0
    assert speeds.rows_heard(length, speed, segment_rows=2) == fits
