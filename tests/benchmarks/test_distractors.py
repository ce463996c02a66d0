"""Mixtures are searched without being made, and the nearest are those of a search that makes them all."""

import numpy as np
import pytest

from benchmarks import _distractors as distractors
from nafp.search import collection, store

N_REAL, SIZES = 600, (300, 600, 1500, 9000)


def rows_of(n, random):
    rows = random.standard_normal((n, 16)).astype(np.float32)
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


@pytest.fixture
def made():
    """Real rows in tracks of 60, and the offsets of 20 copies."""
    random = np.random.default_rng(0)
    tracks = [store.TrackRows(f"{n}.wav", 60 * n, 60, 30.0) for n in range(N_REAL // 60)]
    real = collection.Collection([rows_of(N_REAL, random)], tracks, hop_s=0.5)
    clips = [distractors.Clip(rows_of(5, random), "0.wav", 0.0, "clean") for _ in range(6)]
    return real, random.integers(30, N_REAL - 30, 20), clips


def test_the_nearest_are_those_of_all_mixtures_also_after_a_stop(made, tmp_path, monkeypatch):
    monkeypatch.setattr(distractors, "SHORTEST", np.float32(0.2))  # All pairs, however opposite.
    real, shifts, clips = made
    queries = np.concatenate([clip.rows for clip in clips])
    for size in SIZES:
        near = distractors.Nearest(clips, str(tmp_path / "work.npz"))  # Goes on from the size before.
        part = distractors.Mixed(real, shifts, size)
        distractors.look_exactly(part, queries, np.arange(len(queries)), near)
        cosines = queries @ part.read(0, size).T
        np.testing.assert_allclose(np.sort(near.cosines), np.sort(cosines)[:, -100:], atol=1e-6)
        np.testing.assert_allclose(np.take_along_axis(cosines, near.rows, axis=1), near.cosines, atol=1e-6)


def test_blocks_are_the_rows_of_tracks_that_follow_each_other(made):
    real, shifts, _ = made
    part = distractors.Mixed(real, shifts, 1000)
    np.testing.assert_array_equal(np.concatenate([rows for _, rows in part.blocks_from(0)]), part.read(0, 1000))
    assert part.tracks[10] == "mix1 0.wav"
    assert part.end_rows[-1] == 1000
    np.testing.assert_allclose(np.linalg.norm(part.read(550, 1000), axis=1), 1, atol=1e-6)
    a, b = real.read(7, 9), real.read(7 + shifts[0], 9 + shifts[0])
    cosines = np.vecdot(part.windows(np.array([607]), 2)[0], 0.8 * a + 0.6 * b)
    np.testing.assert_allclose(cosines, np.linalg.norm(0.8 * a + 0.6 * b, axis=1), rtol=1e-5)


def test_the_line_falls_by_points_for_each_factor_of_ten():
    lines = [{"rows": 10**power, "hits": {"1": 70 - power, "3": 90 - 2 * power}} for power in range(5, 9)]
    assert distractors.fall(lines) == {"1": pytest.approx(1), "3": pytest.approx(2)}
