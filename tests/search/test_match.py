"""The matcher against the obvious loop, and the laws of borders, shifts and margins."""

import numpy as np
import pytest

from nafp.search import collection, match, store

LENGTHS = (1, 3, 5, 7)


def unit(n_rows, *, dim=16, seed=0):
    rows = np.random.default_rng(seed).normal(size=(n_rows, dim)).astype(np.float32)
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def tracks_of(lengths):
    edges = np.cumsum([0, *lengths])
    return [store.TrackRows(f"{n}.wav", int(a), int(b), b / 2) for n, (a, b) in enumerate(zip(edges, lengths))]


VECTORS = unit(300)
TRACKS = tracks_of([40, 3, 0, 57, 100, 1, 99])
BARE = collection.Collection([VECTORS[:120], VECTORS[120:]])
KNOWN = collection.Collection([VECTORS[:120], VECTORS[120:]], TRACKS)


def asked(start, n=7, *, noise=0.8, seed=0):
    query = VECTORS[start : start + n] + noise * unit(min(n, 300 - start), seed=seed + 1000)
    return query / np.linalg.norm(query, axis=1, keepdims=True)


def nearest(query, k=20):
    return np.argsort(-(query @ VECTORS.T), axis=1)[:, :k].astype(np.int64)


def obvious_original(query, neighbours, length):
    """Scores one start after the other, borders ignored, diagonals shortened at the last row."""
    query = query[:length]
    starts = {int(row) - j for j, rows in enumerate(neighbours[:length]) for row in rows}
    scores = {}
    for start in sorted(start for start in starts if start >= 0):
        rows = VECTORS[start : start + len(query)]
        scores[start] = float(np.mean(np.diag(query @ rows.T)))
    return scores


def obvious(query, neighbours, length, *, kernel=lambda c: c):
    """Scores one (track, start) after the other. A row outside the track counts 0."""
    scores = {}
    for j, rows in enumerate(neighbours[:length]):
        for row in rows:
            track = next(i for i, t in enumerate(TRACKS) if 0 <= row - t.first_row < t.n_rows)
            start, t = int(row) - j, TRACKS[track]
            inside = [i for i in range(length) if 0 <= start + i - t.first_row < t.n_rows]
            total = sum(kernel(float(query[i] @ VECTORS[start + i])) for i in inside)
            scores[track, start] = total / length
    return scores


def assert_ranked(ranking, scores, names):
    """Compares a ranking with the scores of all candidates. Equal scores may come in any order."""
    best = sorted(scores.values(), reverse=True)[: match.TOP]
    np.testing.assert_allclose(ranking.scores, best, atol=2e-6)
    for name, score in zip(names, ranking.scores):
        assert abs(scores[name] - score) < 2e-6


@pytest.mark.parametrize("start", [0, 36, 115, 150, 250, 293, 296, 299])
def test_as_original_equals_the_obvious_loop(start):
    query = asked(start)
    rankings = match.rank(query, nearest(query), BARE, lengths=LENGTHS, as_original=True)
    for length, ranking in zip(LENGTHS, rankings):
        expected = obvious_original(query, nearest(query), length)
        assert_ranked(ranking, expected, ranking.starts.astype(int).tolist())
        assert ranking.starts[0] == start


@pytest.mark.parametrize("start", [0, 36, 39, 42, 115, 150, 198, 200, 293])
def test_the_diagonal_equals_the_obvious_loop(start):
    query = asked(start)
    rankings = match.rank(query, nearest(query), KNOWN, lengths=LENGTHS)
    for length, ranking in zip(LENGTHS, rankings):
        names = list(zip(ranking.tracks.tolist(), ranking.starts.astype(int).tolist()))
        assert_ranked(ranking, obvious(query, nearest(query), length), names)


def test_a_sharp_kernel_equals_the_obvious_loop():
    query = asked(150)
    rankings = match.rank(query, nearest(query), KNOWN, lengths=LENGTHS, sharpness=2.0)
    for length, ranking in zip(LENGTHS, rankings):
        names = list(zip(ranking.tracks.tolist(), ranking.starts.astype(int).tolist()))
        scores = obvious(query, nearest(query), length, kernel=lambda c: float(np.exp(-2 * (1 - c) ** 2)))
        assert_ranked(ranking, scores, names)


def obvious_between(query, neighbours, length):
    """Scores each start, and the one half a row before it. The better of the two counts."""
    starts: dict[tuple[int, int], int] = {}
    for j, rows in enumerate(neighbours[:length]):
        for row in rows:
            track = next(i for i, t in enumerate(TRACKS) if 0 <= row - t.first_row < t.n_rows)
            starts |= {(track, int(row) - j): 0, (track, int(row) - j - 1): 0}
    scores = {}
    for track, start in starts:
        first, n = TRACKS[track].first_row, TRACKS[track].n_rows

        def at(place, first=first, n=n):
            return VECTORS[place] if 0 <= place - first < n else np.zeros(16, np.float32)

        on = [query[i] @ at(start + i) for i in range(length)]
        sums = [at(start + i) + at(start + i + 1) for i in range(length)]
        half = [query[i] @ row / max(np.linalg.norm(row), 1) for i, row in enumerate(sums)]
        scores[track, start] = max(np.mean(on), np.mean(half))
    return scores


@pytest.mark.parametrize("start", [0, 36, 39, 42, 115, 150, 198, 200, 293])
def test_between_rows_equals_the_obvious_loop(start):
    query = asked(start)
    rankings = match.rank(query, nearest(query), KNOWN, lengths=LENGTHS, between=True)
    for length, ranking in zip(LENGTHS, rankings):
        names = list(zip(ranking.tracks.tolist(), ranking.compared.astype(int).tolist()))
        assert_ranked(ranking, obvious_between(query, nearest(query), length), names)


def test_a_query_half_a_row_on_is_placed_there():
    query = VECTORS[150:157] + VECTORS[151:158]
    query /= np.linalg.norm(query, axis=1, keepdims=True)
    found, plain = (
        match.rank(query, nearest(query), KNOWN, lengths=[1, 7], between=between) for between in (True, False)
    )
    for one, other in zip(found, plain):
        assert one.starts[0] == 150.5
        assert one.compared[0] == 150
        assert one.scores[0] == pytest.approx(1)
        assert other.scores[0] < 0.95
    with pytest.raises(ValueError, match="rows only"):
        match.rank(query, nearest(query), BARE, lengths=[1], as_original=True, between=True)


def test_lengths_do_not_depend_on_each_other():
    query = asked(150)
    together = match.rank(query, nearest(query), KNOWN, lengths=LENGTHS)
    for length, ranking in zip(LENGTHS, together):
        alone = match.rank(query[:length], nearest(query)[:length], KNOWN, lengths=[length])[0]
        np.testing.assert_array_equal(alone.starts, ranking.starts)
        np.testing.assert_allclose(alone.scores, ranking.scores, atol=1e-6)


def test_no_match_runs_on_into_the_next_track():
    """A query made of a track's end and the next one's beginning matches neither wholly."""
    query = VECTORS[36:43]  # Four rows of track 0, three of track 1.
    whole = match.rank(query, nearest(query), BARE, lengths=[7], as_original=True)[0]
    assert whole.scores[0] == pytest.approx(1)
    parts = match.rank(query, nearest(query), KNOWN, lengths=[7])[0]
    assert parts.scores[0] == pytest.approx(4 / 7)
    assert (parts.tracks[0], parts.starts[0]) == (0, 36)
    assert (1, 36) in zip(parts.tracks, parts.starts)  # Begins four rows before its track.


def test_a_query_longer_than_its_track_is_found():
    query = np.concatenate([VECTORS[40:43], unit(4, seed=5)])
    best = match.matches(match.rank(query, nearest(query), KNOWN, lengths=[7])[0], KNOWN)[0]
    assert best.track == "1.wav"
    assert best.start_s == 0


def test_shifted_phases_place_a_query_between_rows():
    """Rows at half the hop: the query begins half a row after row 150."""
    query = np.empty((9, 16), np.float32)
    query[0::2] = unit(5, seed=7)  # In no phase of the database.
    query[1::2] = VECTORS[151:155]
    plain, shifted = (
        match.rank(query[::step], nearest(query[::step]), KNOWN, lengths=[5], shifts=shifts)[0]
        for step, shifts in ((2, 1), (1, 2))
    )
    assert plain.scores[0] < 0.9
    assert shifted.scores[0] == pytest.approx(1)
    assert shifted.starts[0] == 150.5
    assert match.matches(shifted, KNOWN)[0].start_s == pytest.approx((150.5 - 100) / 2)


def test_with_one_row_there_is_nothing_to_shift():
    query = asked(150, 2)
    ranking = match.rank(query, nearest(query), KNOWN, lengths=[1], shifts=2)[0]
    assert (ranking.starts == np.round(ranking.starts)).all()


def test_the_margin_is_to_the_best_other_track():
    query = asked(150)
    ranking = match.rank(query, nearest(query, 300), KNOWN, lengths=[7], top=1000)[0]
    others = [s for t, s in zip(ranking.tracks, ranking.scores) if t != ranking.tracks[0]]
    assert ranking.elsewhere == pytest.approx(max(others))
    best = match.matches(ranking, KNOWN)[0]
    assert best.margin == pytest.approx(best.score - max(others))
    assert best.track == "4.wav"


def test_the_best_place_of_each_track_is_the_first_in_the_ranking():
    assert match.best_of_each_track(np.array([4, 1, 4, 0, 1, 4])).tolist() == [0, 1, 3]
    assert match.best_of_each_track(np.empty(0, np.int64)).tolist() == []
    query = asked(150)
    ranking = match.rank(query, nearest(query, 300), KNOWN, lengths=[7], top=1000)[0]
    best: dict[int, tuple[float, float]] = {}
    for track, start, score in zip(ranking.tracks.tolist(), ranking.starts.tolist(), ranking.scores.tolist()):
        if score > best.get(track, (0, -np.inf))[1]:
            best[track] = start, score
    words = match.matches(ranking, KNOWN)
    assert [word.score for word in words] == sorted((score for _, score in best.values()), reverse=True)
    for word in words:
        track = KNOWN.tracks.index(word.track)
        assert (word.start_s, word.score) == ((best[track][0] - KNOWN.first_rows[track]) / 2, best[track][1])


def test_without_tracks_the_margin_is_to_a_place_far_away():
    query = asked(150)
    ranking = match.rank(query, nearest(query, 300), BARE, lengths=[7], top=1000)[0]
    far = np.abs(ranking.starts - 150) >= match.FAR_ROWS
    assert ranking.elsewhere == pytest.approx(ranking.scores[far].max())


def test_a_twin_does_not_make_a_match_doubtful():
    """The same recording twice: the margin is to the best place that sounds different."""
    twice = np.concatenate([VECTORS, VECTORS[100:200]])
    tracks = [*TRACKS, store.TrackRows("reissue.wav", 300, 100, 50.0)]
    rows = collection.Collection([twice], tracks)
    query = asked(150)
    neighbours = np.argsort(-(query @ twice.T), axis=1)[:, :30]
    plain = match.rank(query, neighbours, rows, lengths=[7], twin_cosine=1.0)[0]
    wise = match.rank(query, neighbours, rows, lengths=[7])[0]
    assert plain.scores[0] == pytest.approx(plain.elsewhere)
    assert wise.scores[0] - wise.elsewhere > 0.2
    assert {m.track for m in match.matches(wise, rows)[:2]} == {"4.wav", "reissue.wav"}


def test_neighbours_may_be_missing():
    query = asked(150)
    neighbours = nearest(query)
    neighbours[:, 1:] = -1
    neighbours[3] = -1
    assert match.rank(query, neighbours, KNOWN, lengths=[7])[0].starts[0] == 150
    nothing = match.rank(query, np.full((7, 20), -1), KNOWN, lengths=[1, 7])
    assert [len(ranking.starts) for ranking in nothing] == [0, 0]
    assert match.matches(nothing[0], KNOWN) == []
