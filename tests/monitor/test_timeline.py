"""What is played is found: once, with its borders, its place and its speed, whatever else is on."""

import json

import numpy as np
import pytest

from nafp.monitor import diagonals, timeline
from nafp.search import collection, store

HOP_S, SEGMENT_S = 0.25, 1.0
DIM = 128


def unit(rows):
    return (rows / np.maximum(np.linalg.norm(rows, axis=-1, keepdims=True), 1e-9)).astype(np.float32)


def track(seed, *, n_rows=200):
    """Rows that are a little like their neighbours, as overlapping seconds are."""
    rows = np.random.default_rng(seed).standard_normal((n_rows + 1, DIM))
    return unit(rows[1:] + 0.5 * rows[:-1])


def kept(vectors):
    tracks = [store.TrackRows(f"t{i}", 200 * i, 200, 100.5) for i in range(len(vectors))]
    return collection.Collection([np.concatenate(vectors)], tracks)


@pytest.fixture(scope="module")
def rows():
    return kept([track(seed) for seed in range(6)])


class Heard:
    """Rows that are there already, searched one by one."""

    def __init__(self, vectors, rows):
        self._vectors, self._rows = vectors, rows

    def prepare(self, speeds, first, last):
        pass

    def vectors(self, speed, first, last):
        return self._vectors[first:last]

    def near(self, speed, first, last):
        cosines = self._vectors[first:last] @ self._rows.read(0, len(self._rows)).T
        near = np.argsort(-cosines, axis=1)[:, :10]
        return np.take_along_axis(cosines, near, axis=1), near


def sound(rows, seconds, plays, *, noise=0.08, seed=0):
    """Rows of a recording in which (track, start_s, end_s, track_start_s, speed) are played."""
    n = round((seconds - SEGMENT_S) / HOP_S) + 1
    times = np.arange(n) * HOP_S
    heard = noise * np.random.default_rng(seed).standard_normal((n, DIM))
    for number, start_s, end_s, track_start_s, speed in plays:
        centres = times + SEGMENT_S / 2
        inside = (centres >= start_s) & (centres < end_s)
        refs = track_start_s + (centres[inside] - start_s) * speed
        heard[inside] += diagonals.at(number, (refs - SEGMENT_S / 2) / rows.hop_s, rows)
    return unit(heard)


def followed(rows, vectors, *, steps=None, interrupt_at=None):
    line, heard = timeline.Timeline(rows, hop_s=HOP_S, segment_s=SEGMENT_S), Heard(vectors, rows)
    found = []
    while line.heard < len(vectors):
        found += line.advance(heard, min(line.heard + line.n_step, len(vectors)))
        if interrupt_at and line.heard >= interrupt_at:
            state, interrupt_at = json.loads(json.dumps(line.state())), None
            line = timeline.Timeline(rows, hop_s=HOP_S, segment_s=SEGMENT_S)
            line.restore(state)
    return found + line.finish()


def check(found, plays, *, abs_s=1.5):
    assert [one.track for one in found] == [play[0] for play in plays]
    for one, (_, start_s, end_s, track_start_s, speed) in zip(found, plays):
        assert one.start_s == pytest.approx(start_s, abs=abs_s)
        assert one.end_s == pytest.approx(end_s, abs=abs_s)
        at = (one.start_s + one.end_s) / 2
        place_s = one.track_start_s + (at - one.start_s) * one.speed
        assert place_s == pytest.approx(track_start_s + (at - start_s) * speed, abs=0.5)


def test_a_track_is_found_from_where_it_starts_to_where_it_ends(rows):
    plays = [(2, 20.0, 70.0, 30.0, 1.0)]
    found = followed(rows, sound(rows, 100, plays))
    check(found, plays)
    assert found[0].speed == pytest.approx(1.0, abs=0.005)
    assert found[0].score > 0.6
    assert found[0].margin > 0.2


@pytest.mark.parametrize("speed", [0.95, 0.98, 1.03, 1.05])
def test_the_slope_of_a_track_is_its_speed(rows, speed):
    plays = [(1, 10.0, 70.0, 5.0, speed)]
    found = followed(rows, sound(rows, 80, plays))
    check(found, plays)
    assert found[0].speed == pytest.approx(speed, abs=0.003)


def test_two_tracks_at_once_are_both_found(rows):
    plays = [(0, 5.0, 50.0, 0.0, 1.0), (3, 30.0, 80.0, 20.0, 1.0)]
    check(followed(rows, sound(rows, 90, plays)), plays, abs_s=2.0)


def test_a_track_played_twice_is_found_twice(rows):
    plays = [(4, 5.0, 35.0, 0.0, 1.0), (4, 50.0, 85.0, 10.0, 1.0)]
    check(followed(rows, sound(rows, 95, plays)), plays)


def test_unknown_sound_is_nothing(rows):
    assert followed(rows, sound(rows, 150, [], noise=1.0)) == []


def test_a_track_that_is_kept_twice_is_found_once():
    twins = kept([track(0), track(1), track(0), unit(track(0) + 0.3 * track(5))])
    found = followed(twins, sound(twins, 80, [(0, 10.0, 60.0, 20.0, 1.0)]))
    assert len(found) == 1
    assert found[0].track in (0, 2, 3)


def test_a_track_that_is_drowned_out_for_a_while_goes_on(rows):
    plays = [(5, 5.0, 85.0, 0.0, 1.0)]
    vectors = sound(rows, 95, plays)
    vectors[160:200] = sound(rows, 95, [], noise=1.0, seed=9)[160:200]  # 10 s of something else.
    check(followed(rows, vectors), plays)


def test_silence_is_nothing_and_ends_a_track(rows):
    plays = [(0, 5.0, 40.0, 10.0, 1.0)]
    vectors = sound(rows, 80, plays)
    vectors[160:] = 0
    found = followed(rows, vectors)
    check(found, plays)


def test_a_track_ends_at_the_latest_where_it_has_no_more_rows(rows):
    found = followed(rows, sound(rows, 60, [(2, 10.0, 30.0, 80.0, 1.0)]))
    assert found[0].track_end_s <= 100.5 + 0.5


@pytest.mark.parametrize("at", [40, 130, 200, 290])
def test_an_interrupted_run_finds_what_an_uninterrupted_one_does(rows, at):
    plays = [(0, 5.0, 50.0, 0.0, 1.0), (3, 30.0, 75.0, 20.0, 1.03)]
    vectors = sound(rows, 85, plays)
    assert followed(rows, vectors, interrupt_at=at) == followed(rows, vectors)


def test_what_is_kept_does_not_grow(rows):
    line = timeline.Timeline(rows, hop_s=HOP_S, segment_s=SEGMENT_S)
    plays = [(i % 6, 50.0 * i, 50.0 * i + 45, 0.0, 1.0) for i in range(4)]
    heard = Heard(sound(rows, 200, plays), rows)
    sizes = []
    while line.heard + line.n_step < 790:
        line.advance(heard, line.heard + line.n_step)
        sizes.append(len(json.dumps(line.state())))
    assert max(sizes) < 8000
