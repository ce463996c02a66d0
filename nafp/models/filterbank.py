"""The mel filters and the window of the short-time Fourier transform (STFT), shared by all runtimes.

Training and extraction take them from librosa. An exported network carries them in its file, so that numpy alone can
run it. Files from version 0.1 carry none: for those, `by_formula` computes them without librosa, equal to 1e-7 of the
largest filter weight.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from nafp import errors

# Slaney's Auditory Toolbox scale: linear below 1 kHz, 27 logarithmic steps for a factor of 6.4.
_HZ_PER_MEL = 200 / 3
_KNEE_HZ = 1000.0
_KNEE_MEL = _KNEE_HZ / _HZ_PER_MEL
_LOG_STEP = math.log(6.4) / 27


class MelBank(NamedTuple):
    """Mel filters [n_fft // 2 + 1, n_mels] and window [n_fft], both float32.

    A spectrum [n_fft // 2 + 1] times the filters is a mel spectrum [n_mels].
    """

    filters: np.ndarray
    window: np.ndarray


@functools.cache
def by_librosa(
    *,
    sample_rate_hz: int,
    n_fft: int,
    n_mels: int,
    low_hz: float,
    high_hz: float,
    scale: str = "slaney",
    area_norm: bool = True,
) -> MelBank:
    """Builds librosa's triangles on a mel scale, and the periodic Hann window. Read-only.

    scale: "slaney" or "htk". area_norm: whether triangles have equal areas, in place of equal heights. Raises
    nafp.errors.Invalid for a band that does not lie between 0 and half the sample rate.
    """
    import librosa.filters  # A second, and only where a network is trained or runs under JAX.

    _require_band(low_hz, high_hz, sample_rate_hz)
    filters = librosa.filters.mel(
        sr=sample_rate_hz,
        n_fft=n_fft,
        n_mels=n_mels,
        fmin=low_hz,
        fmax=high_hz,
        htk=scale == "htk",
        norm="slaney" if area_norm else None,
    )
    return _read_only(filters.T, librosa.filters.get_window("hann", n_fft, fftbins=True))


@functools.cache
def by_formula(
    *,
    sample_rate_hz: int,
    n_fft: int,
    n_mels: int,
    low_hz: float,
    high_hz: float,
    scale: str = "slaney",
    area_norm: bool = True,
    stretch: float = 1.0,
) -> MelBank:
    """Builds the bank of `by_librosa` from its formulas, in numpy alone. Raises the same errors.

    stretch: what all frequencies of the filters are multiplied by. Sound that is 1.2 times as high as its recording
    has in a bank stretched by 1.2 the mel spectrum that the recording has in the plain bank. A filter above half the
    sample rate is 0.
    """
    _require_band(low_hz, high_hz, sample_rate_hz)
    bins_hz = np.linspace(0, sample_rate_hz / 2, n_fft // 2 + 1)
    to_mel, to_hz = (_hz_to_htk, _htk_to_hz) if scale == "htk" else (hz_to_mel, mel_to_hz)
    corners_hz = stretch * to_hz(np.linspace(to_mel(low_hz), to_mel(high_hz), n_mels + 2))
    filters = _triangles(bins_hz, corners_hz) * (2 / (corners_hz[2:] - corners_hz[:-2]) if area_norm else 1)
    return _read_only(filters, np.hanning(n_fft + 1)[:-1])


def stretched(ratios: Sequence[float], **bank: Any) -> list[MelBank]:
    """Returns a bank for each ratio by which its frequencies are multiplied. bank: arguments of `by_formula`."""
    return [_stretched(stretch=float(ratio), **bank) for ratio in ratios]


def hz_to_mel(hz: float) -> float:
    """Converts a frequency to Slaney's mel scale."""
    if hz < _KNEE_HZ:
        return hz / _HZ_PER_MEL
    return _KNEE_MEL + float(np.log(hz / _KNEE_HZ)) / _LOG_STEP


def mel_to_hz(mel: np.ndarray) -> np.ndarray:
    """Converts positions on Slaney's mel scale to frequencies."""
    above = _KNEE_HZ * np.exp(_LOG_STEP * (np.maximum(mel, _KNEE_MEL) - _KNEE_MEL))
    return np.where(mel < _KNEE_MEL, mel * _HZ_PER_MEL, above)


# A bank takes half a megabyte. There is room for the grid of ratios that clips are asked at.
_stretched = functools.lru_cache(maxsize=64)(by_formula.__wrapped__)


def _triangles(bins_hz: np.ndarray, corners_hz: np.ndarray) -> np.ndarray:
    """Returns the heights of triangles at frequencies, [bins, triangles].

    Triangle i rises from corner i to 1 at corner i + 1, and falls to corner i + 2. So a frequency lies in two of them
    at most, and only these are computed.
    """
    heights = np.zeros((len(bins_hz), len(corners_hz) - 2))
    corner = np.searchsorted(corners_hz, bins_hz)  # The first at or above a frequency.
    inside = np.flatnonzero((corner > 0) & (corner < len(corners_hz)))
    corner, hz = corner[inside], bins_hz[inside]
    low, high = corners_hz[corner - 1], corners_hz[corner]
    falls, rises = corner > 1, corner < len(corners_hz) - 1
    heights[inside[falls], corner[falls] - 2] = ((high - hz) / (high - low))[falls]
    heights[inside[rises], corner[rises] - 1] = ((hz - low) / (high - low))[rises]
    return heights


def _hz_to_htk(hz: float) -> float:
    return 2595 * math.log10(1 + hz / 700)


def _htk_to_hz(mel: np.ndarray) -> np.ndarray:
    return 700 * (10 ** (mel / 2595) - 1)


def _require_band(low_hz: float, high_hz: float, sample_rate_hz: int) -> None:
    if not 0 <= low_hz < high_hz <= sample_rate_hz / 2:
        raise errors.Invalid(
            f"low_hz={low_hz}, high_hz={high_hz}: need 0 <= low_hz < high_hz <= "
            f"{sample_rate_hz / 2:g}, half of sample_rate_hz={sample_rate_hz}"
        )


def _read_only(filters: np.ndarray, window: np.ndarray) -> MelBank:
    bank = MelBank(np.ascontiguousarray(filters, np.float32), np.ascontiguousarray(window, np.float32))
    for array in bank:
        array.setflags(write=False)
    return bank
