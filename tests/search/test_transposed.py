"""Pitch, tempo and place are proposed from a few rows, and the slope of a line is fitted between the rows."""

import numpy as np
import pytest

from nafp.search import collection, slopes, speeds, store, transposed

DIM, N_ROWS = 32, 90


def unit(vectors):
    return (vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)).astype(np.float32)


@pytest.fixture(scope="module")
def rows():
    """Three tracks whose rows are like the rows beside them, as those of overlapping segments are."""
    rng = np.random.default_rng(5)
    parts = []
    for _ in range(3):
        noise = rng.standard_normal((N_ROWS + 2, DIM))
        parts.append(unit(noise[:-2] + noise[1:-1] + noise[2:]))
    tracks = [store.TrackRows(name, N_ROWS * number, N_ROWS, 45.0) for number, name in enumerate("abc")]
    return collection.Collection([np.concatenate(parts)], tracks, hop_s=0.5)


def along(rows, start, slope, at):
    """Returns what a clip says at some places of it: the rows of the collection, mixed between two of them."""
    places = start + slope * np.asarray(at, float)
    first = np.floor(places).astype(int)
    share = (places - first)[:, None]
    return unit((1 - share) * rows.take(first) + share * rows.take(first + 1))


def heard_at(rows, ratios, pitch, start, slope, at, seed=0):
    """Returns a clip that says something at one pitch, half as much at those beside it, and nothing elsewhere."""
    rng = np.random.default_rng(seed)
    vectors = unit(rng.standard_normal((len(ratios), len(at), DIM)))
    true = along(rows, start, slope, at)
    vectors[pitch] = true
    for beside in (pitch - 1, pitch + 1):
        vectors[beside] = unit(true + 1.2 * vectors[beside])
    cosines = vectors @ rows.take(np.arange(len(rows))).T
    return transposed.Transposed(ratios, np.array(at, float), vectors, np.argsort(-cosines, axis=2)[:, :, :20])


RATIOS = np.exp(0.025 * np.arange(-6, 7))


@pytest.mark.parametrize("slope", [0.76, 1.0, 1.24])
def test_pitch_tempo_and_place_are_proposed(rows, slope):
    clip = heard_at(rows, RATIOS, 9, 117.3, slope, [0, 3, 6, 9])
    best, second = transposed.propose(clip, rows, most=2)
    assert best.track == 1
    assert best.score > second.score
    assert best.ratio == pytest.approx(RATIOS[9], rel=0.013)
    assert best.slope == pytest.approx(slope, abs=0.061)
    assert best.start == pytest.approx(117.3, abs=1.0)


def test_a_proposal_scores_as_the_obvious_search_of_all_pitches_places_and_slopes_does(rows):
    clip = heard_at(rows, RATIOS[:6], 4, 30.0, 0.94, [0, 2, 4])
    clip = clip._replace(near=clip.near[:, :, :5])
    best = 0.0
    for pitch in range(len(clip.ratios)):
        for heard, since in enumerate(clip.at):
            for row in clip.near[pitch, heard]:
                low = row // N_ROWS * N_ROWS
                for slope in np.unique(np.round(transposed.SLOPES[:, None] + transposed._FINER, 2)):
                    at = row + slope * (clip.at - since)
                    if low <= at.min() and at.max() < low + N_ROWS - 1:
                        cosines = np.vecdot(along(rows, at[0], slope, clip.at), clip.vectors[pitch])
                        best = max(best, float(cosines.mean()))
    assert best - 0.02 < transposed.propose(clip, rows, most=1)[0].score < best + 1e-5


def test_a_track_that_repeats_itself_is_proposed(rows):
    loop = np.tile(rows.take(np.arange(3)), (30, 1))
    tracks = [store.TrackRows(name, N_ROWS * number, N_ROWS, 45.0) for number, name in enumerate("abc")]
    repeated = collection.Collection([np.concatenate([loop, rows.take(np.arange(N_ROWS, 3 * N_ROWS))])], tracks)
    clip = heard_at(repeated, RATIOS, 9, 30.0, 1.0, [0, 3, 6, 9])
    clip.vectors[9] = unit(clip.vectors[9] + 0.4 * clip.vectors[2])  # The pitch is not met exactly.
    assert 9 in transposed.likeliest(clip, repeated, most=1)
    assert transposed.propose(clip, repeated, most=1)[0].track == 0


def test_one_row_proposes_its_pitch_and_place_and_no_tempo(rows):
    best = transposed.propose(heard_at(rows, RATIOS, 2, 200.0, 1.0, [0]), rows, most=1)[0]
    assert (best.track, best.start, best.slope) == (2, 200.0, 1.0)


def test_nothing_is_proposed_where_nothing_is_near(rows):
    clip = heard_at(rows, RATIOS, 2, 200.0, 1.0, [0, 2])
    assert transposed.propose(clip._replace(near=np.full_like(clip.near, -1)), rows, most=2) == []


@pytest.mark.parametrize("start, slope", [(20.3, 1.27), (31.7, 0.74), (12.0, 1.0), (50.4, 1.045)])
def test_a_line_is_fitted_between_rows(rows, start, slope):
    query = along(rows, start, slope, np.arange(19))
    found_at = start + 9 * (slope - 1)  # The diagonal meets the line in the middle.
    line = slopes.fitted(query, rows, track=0, start=found_at)
    assert line.slope == pytest.approx(slope, abs=0.004)
    assert line.start == pytest.approx(start, abs=0.08)
    assert line.score > 0.99


def test_half_as_many_rows_lie_on_the_same_line(rows):
    query = along(rows, 20.3, 1.2, np.arange(0, 10, 0.5))
    line = slopes.fitted(query, rows, track=0, start=21.0, shifts=2)
    assert line.slope == pytest.approx(1.2, abs=0.004)
    assert line.start == pytest.approx(20.3, abs=0.08)


def test_a_likely_tempo_is_taken_where_it_scores_about_as_much(rows):
    query = along(rows, 20.0, 1.203, np.arange(19))
    assert slopes.fitted(query, rows, track=0, start=21.0, likely=[1.2, 1.0]).slope == 1.2
    query = along(rows, 20.0, 1.24, np.arange(19))
    assert slopes.fitted(query, rows, track=0, start=21.0, likely=[1.2, 1.0]).slope == pytest.approx(1.24, abs=0.004)


def test_a_tempo_that_was_undone_already_counts_once(rows):
    query = along(rows, 20.0, 1.05, np.arange(19))
    line = slopes.fitted(query, rows, track=0, start=20.5, tempo=1.3)
    assert line.slope == pytest.approx(1.05, abs=0.004)
    query = along(rows, 20.0, 1.2, np.arange(19))  # 1.56 times as fast is out of reach.
    assert slopes.fitted(query, rows, track=0, start=21.5, tempo=1.3).slope * 1.3 < slopes.FASTEST + 1e-6


def test_two_rows_have_no_slope(rows):
    query = along(rows, 20.3, 1.3, np.arange(2))
    line = slopes.fitted(query, rows, track=0, start=20.25)
    assert (line.start, line.slope) == (20.25, 1.0)


@pytest.fixture(scope="module")
def streams():
    """Sound before, within and beyond a track, as rows that overlap, and a collection of the track and two others."""
    rng = np.random.default_rng(6)
    outside = [rng.standard_normal((N_ROWS + 21, DIM)) for _ in range(3)]
    parts = [unit(sound[:-1] + sound[1:]) for sound in outside]
    tracks = [store.TrackRows(name, N_ROWS * number, N_ROWS, 45.0) for number, name in enumerate("abc")]
    return parts[1], collection.Collection([part[10:-10] for part in parts], tracks, hop_s=0.5)


@pytest.mark.parametrize("first", [4, 7, 92, 94])
def test_a_clip_that_begins_before_its_track_or_ends_after_it_keeps_its_tempo(streams, first):
    sound, known = streams
    heard = sound[first : first + 14].copy()
    stranger = unit(np.random.default_rng(first).standard_normal((14, DIM)))
    at = first + np.arange(14) - 10  # In rows of the track. The row beyond each end holds half of it.
    heard[(at < -1) | (at > N_ROWS)] = stranger[(at < -1) | (at > N_ROWS)]
    line = slopes.fitted(heard, known, track=1, start=N_ROWS + first - 10.0)
    assert (line.start, line.slope) == pytest.approx((N_ROWS + first - 10, 1), abs=0.02)
    near = np.argsort(-heard @ known.take(np.arange(len(known))).T, axis=1)[:, :20]
    found = speeds.rank([speeds.ClipAtSpeed(1.0, heard, near, [14])], known)[0]
    assert (found.tracks[0], found.slopes[0]) == (1, 1)
    assert found.starts[0] == pytest.approx(N_ROWS + first - 10, abs=0.1)
