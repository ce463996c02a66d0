"""The mel filterbank and the STFT window in numpy alone, for JAX and the exported network."""

from __future__ import annotations

import functools

import numpy as np

from nafp import errors

# Slaney's Auditory Toolbox scale: linear below 1 kHz, 27 logarithmic steps for a factor of 6.4.
_HZ_PER_MEL = 200 / 3
_KNEE_HZ = 1000.0
_KNEE_MEL = _KNEE_HZ / _HZ_PER_MEL
_LOG_STEP = np.log(6.4) / 27


def hz_to_mel(hz: np.ndarray) -> np.ndarray:
    """Converts frequencies to Slaney's mel scale."""
    hz = np.asarray(hz, np.float64)
    above = _KNEE_MEL + np.log(np.maximum(hz, _KNEE_HZ) / _KNEE_HZ) / _LOG_STEP
    return np.where(hz < _KNEE_HZ, hz / _HZ_PER_MEL, above)


def mel_to_hz(mel: np.ndarray) -> np.ndarray:
    """Converts Slaney mels to frequencies."""
    mel = np.asarray(mel, np.float64)
    above = _KNEE_HZ * np.exp(_LOG_STEP * (np.maximum(mel, _KNEE_MEL) - _KNEE_MEL))
    return np.where(mel < _KNEE_MEL, mel * _HZ_PER_MEL, above)


@functools.cache
def mel_filters(*, sample_rate_hz: int, n_fft: int, n_mels: int, low_hz: float, high_hz: float) -> np.ndarray:
    """Builds triangles of equal area on the mel scale, librosa's (htk=False, norm="slaney").

    Returns float32 [n_fft // 2 + 1, n_mels], read-only: a spectrum times it is the mel spectrum.
    """
    if not 0 <= low_hz < high_hz <= sample_rate_hz / 2:
        raise errors.Invalid(
            f"low_hz={low_hz}, high_hz={high_hz}: need 0 <= low_hz < high_hz <= "
            f"{sample_rate_hz / 2:g}, half of sample_rate_hz={sample_rate_hz}"
        )
    bins_hz = np.linspace(0, sample_rate_hz / 2, n_fft // 2 + 1)[:, None]
    corners_hz = mel_to_hz(np.linspace(hz_to_mel(low_hz), hz_to_mel(high_hz), n_mels + 2))
    low, centre, high = corners_hz[:-2], corners_hz[1:-1], corners_hz[2:]
    rising = (bins_hz - low) / (centre - low)
    falling = (high - bins_hz) / (high - centre)
    triangles = np.maximum(0, np.minimum(rising, falling)) * (2 / (high - low))
    filters = triangles.astype(np.float32)
    filters.setflags(write=False)
    return filters


def hann(n_fft: int) -> np.ndarray:
    """Builds the periodic Hann window, the STFT's usual one. Returns float32 [n_fft]."""
    return np.hanning(n_fft + 1)[:-1].astype(np.float32)
