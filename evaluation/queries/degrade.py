"""What happens to a recording on its way to a listener, as functions of arrays: float32 [S] -> [S].

The numpy twin of the augmentation in training, for whole files at their own rate.
"""

import numpy as np
from scipy import signal

from nafp import errors

_CREST_DB = 6.0  # A clipped phone recording: peaks cut at twice the RMS.
# The loudspeaker of a phone works on a cubic centimetre of air: its resonance lies near 800 Hz, and
# below it the sound falls by 12 dB per octave; above 7 kHz the opening swallows what is left.
_SPEAKER_HZ, _SPEAKER_Q, _SPEAKER_TOP_HZ = 800.0, 1.4, 7000.0


def mix(samples: np.ndarray, noise: np.ndarray, *, snr_db: float, over: slice) -> np.ndarray:
    """Adds noise [S] at this ratio of powers, both taken over the slice that will be heard.

    Raises Silent when one of the two is silent there: no gain gives the ratio asked for.
    """
    powers = [np.square(part[over], dtype=np.float64).mean() for part in (samples, noise)]
    if min(powers) == 0:
        silent = "noise" if powers[0] else "recording"
        raise errors.Silent(f"no {snr_db:g} dB between the two: the {silent} is silent")
    gain = np.sqrt(powers[0] / powers[1]) * 10 ** (-snr_db / 20)
    return samples + np.float32(gain) * noise


def convolve(samples: np.ndarray, response: np.ndarray, *, direct: int = 0) -> np.ndarray:
    """Convolves linearly with a response; as long as before, its sample `direct` without delay."""
    wet = signal.oaconvolve(samples, response)[direct:][: len(samples)]
    return np.pad(wet, (0, len(samples) - len(wet))).astype(np.float32)


def direct_sound(response: np.ndarray, *, sample_rate_hz: int) -> tuple[np.ndarray, int]:
    """Cuts a response [S] to start 1 ms before its direct sound, the largest peak; unit energy.

    Returns it and the sample its direct sound is at. Raises Silent for a response of zeros.
    """
    peak = int(np.argmax(np.abs(response)))
    first = max(0, peak - sample_rate_hz // 1000)
    kept = response[first:].astype(np.float64)
    energy = np.square(kept).sum()
    if energy == 0:
        raise errors.Silent("a response of zeros; every sound would be silent in that room")
    return (kept / np.sqrt(energy)).astype(np.float32), peak - first


def clip(samples: np.ndarray, *, over: slice, crest_db: float = _CREST_DB) -> np.ndarray:
    """Cuts off what exceeds the RMS of the slice by this much, as an overdriven input does."""
    rms = np.sqrt(np.square(samples[over], dtype=np.float64).mean())
    limit = np.float32(rms * 10 ** (crest_db / 20))
    return np.clip(samples, -limit, limit)


def band(samples: np.ndarray, *, low_hz: float = 0.0, high_hz: float = np.inf, sample_rate_hz: int) -> np.ndarray:
    """Keeps a band, 24 dB per octave on both sides; what the rate cannot hold stays as it is."""
    has_top = high_hz < 0.49 * sample_rate_hz
    if not has_top and not low_hz:
        return samples
    kind = "bandpass" if has_top and low_hz else "lowpass" if has_top else "highpass"
    edges = {"bandpass": (low_hz, high_hz), "lowpass": high_hz, "highpass": low_hz}[kind]
    sections = signal.butter(4, edges, kind, fs=sample_rate_hz, output="sos")
    return signal.sosfilt(sections, samples).astype(np.float32)


def phone_speaker(samples: np.ndarray, *, sample_rate_hz: int) -> np.ndarray:
    """Plays through a phone's own loudspeaker, as far as that is a filter."""
    turn = 2 * np.pi * _SPEAKER_HZ
    # Prewarped, so that the resonance is where it is said to be at any rate.
    warped = 2 * sample_rate_hz * np.tan(turn / (2 * sample_rate_hz))
    analog = [1.0, 0.0, 0.0], [1.0, warped / _SPEAKER_Q, warped**2]
    played = signal.lfilter(*signal.bilinear(*analog, fs=sample_rate_hz), samples)
    return band(played.astype(np.float32), high_hz=_SPEAKER_TOP_HZ, sample_rate_hz=sample_rate_hz)


def echo(samples: np.ndarray, *, delay_s: float, sample_rate_hz: int) -> np.ndarray:
    """Adds one repetition, half as loud."""
    delay = round(delay_s * sample_rate_hz)
    late = np.zeros_like(samples)
    late[delay:] = samples[: max(0, len(samples) - delay)]
    return samples + np.float32(0.5) * late


def gain(samples: np.ndarray, *, gain_db: float) -> np.ndarray:
    return samples * np.float32(10 ** (gain_db / 20))
