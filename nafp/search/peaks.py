"""Spectral peaks of recordings, which judge what fingerprints found: they are heard through what drowns a fingerprint.

In each frame of a recording, a byte for each band of frequencies names the one that stands out most from what is around
it. Where another song is mixed over a clip, or loud noise, many of these frequencies still stand out in the clip. So a
clip is compared by its whole spectrogram, and not by peaks of its own, which would be those of the louder sound: the
likeness of a place is how much the frequencies of its recording stand out in the clip, frame by frame.

Peaks are computed for each segment by itself, as fingerprints are. Those of a row are of the frames in the middle of
its segment, so that the rows of a track give every frame once.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from jaxtyping import Float32, UInt8

WINDOW_S = 0.064  # Of a frame: 15.6 Hz from one frequency to the next.
FRAMES_PER_S = 32
# Frequencies of a band, as numbers of 1 / WINDOW_S: 47 to 1000 Hz, and up to 4 kHz. A byte names one. 0 names none.
BANDS = ((3, 64), (64, 256))
_N_FREQUENCIES = BANDS[-1][1]
# What a frequency stands out from: half a second before and after it, and 160 Hz below and above it.
_AROUND_FRAMES, _AROUND_FREQUENCIES = 31, 21
_FLOOR_DB = -80.0  # Below the loudest of a segment: what is quieter counts as silence.
_SILENCE = 1e-9  # Added to amplitudes, so that silence has a logarithm.
_LEAST_VARIANCE = 1e-3  # Of levels in what is around a frequency. Less is rounding.
_LEAST_PEAK = 0.5  # Standard deviations. What stands out less is no peak.
_LEAST, _MOST = -1.5, 3.0  # Standard deviations that count.
_NORMAL_MAD = 1.4826  # Standard deviations in the median absolute deviation of a normal distribution.
_LEAST_SPREAD = 1.0  # Of a sum, so that silence says nothing.


def frames_per_row(hop_s: float) -> int:
    """Returns how many frames belong to a row. hop_s: seconds from one row to the next."""
    return max(1, round(hop_s * FRAMES_PER_S))


def row_bytes(hop_s: float) -> int:
    """Returns the number of bytes that the peaks of a row take."""
    return frames_per_row(hop_s) * len(BANDS)


def of_segments(waveforms: Float32[np.ndarray, "n S"], *, sample_rate_hz: int, hop: int) -> UInt8[np.ndarray, "n P"]:
    """Computes the peaks of segments, P = `row_bytes` of each: of the frames in the middle, band after band in each.

    hop: samples from one segment to the next. A segment too short for all frames of a hop has zeros for the others.
    """
    n_frames = frames_per_row(hop / sample_rate_hz)
    levels = standing_out(waveforms, sample_rate_hz=sample_rate_hz, frame_hop=hop / n_frames)
    found = np.stack([_strongest(levels, low, high) for low, high in BANDS], axis=2)
    first = max(0, (found.shape[1] - n_frames) // 2)
    peaks = np.zeros((len(waveforms), n_frames, len(BANDS)), np.uint8)
    middle = found[:, first : first + n_frames]
    peaks[:, : middle.shape[1]] = middle
    return peaks.reshape(len(waveforms), -1)


def of_clip(samples: Float32[np.ndarray, " S"], *, sample_rate_hz: int, hop: int) -> Float32[np.ndarray, "F 256"]:
    """Computes what each frequency of each frame of a clip says for a recording that has its peak there.

    hop: samples from one segment to the next, as in `of_segments`. Values have mean 0 and a standard deviation of 1; a
    peak at 0, which is none, says nothing.
    """
    frame_hop = hop / frames_per_row(hop / sample_rate_hz)
    levels = standing_out(samples[None], sample_rate_hz=sample_rate_hz, frame_hop=frame_hop)[0]
    said = np.clip(levels, _LEAST, _MOST)
    said -= said.mean()
    said /= max(1e-6, float(said.std()))
    said[:, 0] = 0
    return said


def lead(*, segment: int, sample_rate_hz: int, hop: int) -> int:
    """Returns how many frames of a segment come before those whose peaks its row has. segment, hop: in samples."""
    n_frames = frames_per_row(hop / sample_rate_hz)
    return max(0, (_n_frames(segment, sample_rate_hz, hop / n_frames) - n_frames) // 2)


def near(clip: Float32[np.ndarray, "F 256"], frames: UInt8[np.ndarray, "C G B"]) -> Float32[np.ndarray, " C"]:
    """Returns how well a clip fits each of C places, at the best of the G - F + 1 frames where it may begin there.

    frames: the peaks around each place. Nearly all of these frames are wrong. So their median is what chance gives for
    this clip, and the values are standard deviations above it.
    """
    n_starts = frames.shape[1] - len(clip) + 1
    total = np.zeros((len(frames), n_starts), np.float32)
    for frame, said in enumerate(clip):
        total += said[frames[:, frame : frame + n_starts]].sum(axis=2)
    chance = np.median(total)
    spread = _NORMAL_MAD * np.median(np.abs(total - chance))
    return (total.max(axis=1) - chance) / np.float32(max(spread, _LEAST_SPREAD))


def standing_out(
    waveforms: Float32[np.ndarray, "n S"], *, sample_rate_hz: int, frame_hop: float
) -> Float32[np.ndarray, "n F 256"]:
    """Returns by how many standard deviations the level of each frequency differs from what is around it.

    Around it is what `_AROUND_FRAMES` and `_AROUND_FREQUENCIES` say, in decibels. frame_hop: samples from one frame to
    the next.
    """
    from scipy import ndimage  # Here, because only collections with peaks pay for its import.

    n_window, n_frames = round(WINDOW_S * sample_rate_hz), _n_frames(waveforms.shape[1], sample_rate_hz, frame_hop)
    starts = np.round(np.arange(n_frames) * frame_hop).astype(np.int64)
    frames = np.lib.stride_tricks.sliding_window_view(waveforms, n_window, axis=1)[:, starts]
    window = np.hanning(n_window + 1)[:-1].astype(np.float32)
    amplitudes = np.abs(np.fft.rfft(frames * window, axis=2))[:, :, :_N_FREQUENCIES].astype(np.float32)
    loudest = amplitudes.max(axis=(1, 2), keepdims=True)
    levels = np.log(amplitudes + loudest * np.float32(10 ** (_FLOOR_DB / 20)) + np.float32(_SILENCE))
    size = (1, _AROUND_FRAMES, _AROUND_FREQUENCIES)
    mean = ndimage.uniform_filter(levels, size, mode="nearest")
    variance = ndimage.uniform_filter(np.square(levels), size, mode="nearest") - np.square(mean)
    return (levels - mean) / np.sqrt(np.maximum(variance, _LEAST_VARIANCE))


def _n_frames(n_samples: int, sample_rate_hz: int, frame_hop: float) -> int:
    left = n_samples - round(WINDOW_S * sample_rate_hz)
    return int(left / frame_hop) + 1 if left >= 0 else 0


def _strongest(levels: np.ndarray, low: int, high: int) -> np.ndarray:
    """Returns the frequency of a band that stands out most in each frame [n, F], 0 where none does."""
    part = levels[:, :, low:high]
    best = part.argmax(axis=2)
    is_peak = np.take_along_axis(part, best[:, :, None], axis=2)[:, :, 0] >= _LEAST_PEAK
    return np.where(is_peak, low + best, 0)
