"""Spectral peaks, against loops that anybody can follow, and what they are for."""

import math
import statistics

import numpy as np
import pytest

from nafp.search import peaks
from tests import tunes

RATE_HZ, SEGMENT, HOP = 8000, 8000, 4000
WINDOW, FRAME_HOP = 512, 250


def segments(samples: np.ndarray) -> np.ndarray:
    return np.lib.stride_tricks.sliding_window_view(samples, SEGMENT)[::HOP]


def of(samples: np.ndarray) -> np.ndarray:
    """Returns the peaks of a recording, frame after frame: uint8 [n, B]."""
    return peaks.of_segments(segments(samples), sample_rate_hz=RATE_HZ, hop=HOP).reshape(-1, len(peaks.BANDS))


def tune(seconds: float, seed: int) -> np.ndarray:
    return tunes.tune(seconds, sample_rate_hz=RATE_HZ, seed=seed)


def levels_by_hand(samples: np.ndarray) -> list[list[float]]:
    """Returns the logarithm of each frequency of each frame."""
    starts = range(0, len(samples) - WINDOW + 1, FRAME_HOP)
    window = [0.5 - 0.5 * math.cos(2 * math.pi * i / WINDOW) for i in range(WINDOW)]
    spectra = [np.abs(np.fft.fft(samples[at : at + WINDOW] * window))[:256].tolist() for at in starts]
    floor = max(map(max, spectra)) * 1e-4 + 1e-9
    return [[math.log(amplitude + floor) for amplitude in spectrum] for spectrum in spectra]


def standing_out_by_hand(levels: list[list[float]], frame: int, frequency: int) -> float:
    """Returns by how many deviations a level differs from those of 31 frames and 21 frequencies around it."""
    frames = [min(max(0, frame + i), len(levels) - 1) for i in range(-15, 16)]
    frequencies = [min(max(0, frequency + i), 255) for i in range(-10, 11)]
    around = [levels[i][k] for i in frames for k in frequencies]
    mean = sum(around) / len(around)
    variance = sum(level**2 for level in around) / len(around) - mean**2
    return (levels[frame][frequency] - mean) / math.sqrt(max(variance, 1e-3))


def test_the_peaks_of_a_segment_are_those_found_by_hand():
    segment = tune(1, 3)
    (row,) = peaks.of_segments(segment[None], sample_rate_hz=RATE_HZ, hop=HOP).reshape(1, 16, 2).tolist()
    levels = levels_by_hand(segment)
    assert len(levels) == 30
    first = peaks.lead(segment=SEGMENT, sample_rate_hz=RATE_HZ, hop=HOP)
    assert first == 7
    for frame in (0, 9, 15):
        for peak, band in zip(row[frame], (range(3, 64), range(64, 256)), strict=True):
            out = {f: standing_out_by_hand(levels, first + frame, f) for f in band}
            best = max(band, key=out.__getitem__)
            assert out[best] > 0.5
            assert peak == best or out[peak] == pytest.approx(out[best], abs=1e-3)


@pytest.mark.parametrize(("hop_s", "n_bytes"), [(0.5, 32), (1.0, 64), (0.25, 16), (0.01, 2)])
def test_a_row_has_a_byte_for_each_band_of_each_frame_of_its_hop(hop_s, n_bytes):
    hop = round(hop_s * RATE_HZ)
    rows = peaks.of_segments(segments(tune(2, 0)), sample_rate_hz=RATE_HZ, hop=hop)
    assert rows.shape == (3, n_bytes)
    assert peaks.row_bytes(hop_s) == n_bytes
    assert rows.any()


def test_peaks_depend_on_nothing_but_their_segment():
    rows = peaks.of_segments(segments(tune(6, 1)), sample_rate_hz=RATE_HZ, hop=HOP)
    alone = peaks.of_segments(segments(tune(6, 1))[4:5], sample_rate_hz=RATE_HZ, hop=HOP)
    np.testing.assert_array_equal(rows[4:5], alone)


def test_silence_has_no_peaks():
    for samples in (np.zeros(SEGMENT, np.float32), np.full(SEGMENT, 0.3, np.float32)):
        assert not peaks.of_segments(samples[None], sample_rate_hz=RATE_HZ, hop=HOP).any()
    assert not peaks.of_clip(np.zeros(SEGMENT, np.float32), sample_rate_hz=RATE_HZ, hop=HOP).any()


def test_a_clip_fits_a_recording_as_a_loop_over_its_frames_says():
    rng = np.random.default_rng(0)
    clip = rng.standard_normal((5, 256)).astype(np.float32)
    clip[:, 0] = 0
    frames = rng.integers(0, 256, (40, 2), np.uint8)

    def by_hand(start: int) -> float:
        return float(sum(clip[f, band] for f in range(5) for band in frames[start + f].tolist()))

    around = np.stack([frames[3:11], frames[20:28]])
    sums = [[by_hand(first + i) for i in range(4)] for first in (3, 20)]
    chance = statistics.median(sums[0] + sums[1])
    spread = 1.4826 * statistics.median(abs(value - chance) for value in sums[0] + sums[1])
    best = [(max(row) - chance) / spread for row in sums]
    np.testing.assert_allclose(peaks.near(clip, around), best, atol=1e-4)


def test_a_recording_is_found_under_another_one_as_loud():
    recording, other = tune(20, 5), tune(20, 6)
    at = 7 * RATE_HZ
    mixed = recording[at : at + 2 * RATE_HZ] + other[: 2 * RATE_HZ]
    clip = peaks.of_clip(mixed, sample_rate_hz=RATE_HZ, hop=HOP)
    lead = peaks.lead(segment=SEGMENT, sample_rate_hz=RATE_HZ, hop=HOP)
    first = 7 * peaks.FRAMES_PER_S - lead
    around = slice(first - 8, first + 8 + len(clip))
    fits = peaks.near(clip, np.stack([of(tune(20, seed))[around] for seed in (5, 7, 8, 9, 10)]))
    assert fits[0] > 1.5 * fits[1:].max()
