"""Degrades a recording as the way to a listener does: functions of samples, float32 [S] -> [S].

These are the numpy twins of the augmentations of training, for whole files at their own rate.
"""

import numpy as np
import scipy  # Whose signal processing is imported when it is first used: it takes most of a second.

from nafp import errors

_CREST_DB = 6.0  # A clipped phone recording has its peaks cut at twice the RMS.
# The loudspeaker of a phone works on a cubic centimetre of air. Its resonance lies near 800 Hz, and below it the sound
# falls by 12 dB per octave. Above 7 kHz the opening swallows what is left.
_SPEAKER_HZ, _SPEAKER_Q, _SPEAKER_TOP_HZ = 800.0, 1.4, 7000.0


def mix(samples: np.ndarray, noise: np.ndarray, *, snr_db: float, over: slice) -> np.ndarray:
    """Adds noise [S] at a signal-to-noise ratio of `snr_db`, measured over the slice `over`.

    Raises errors.Silent if the samples or the noise are silent there: no gain gives that ratio.
    """
    powers = [np.square(part[over], dtype=np.float64).mean() for part in (samples, noise)]
    if min(powers) == 0:
        silent = "noise" if powers[0] else "recording"
        raise errors.Silent(f"no {snr_db:g} dB between the two: the {silent} is silent")
    gain = np.sqrt(powers[0] / powers[1]) * 10 ** (-snr_db / 20)
    return samples + np.float32(gain) * noise


def convolve(samples: np.ndarray, response: np.ndarray, *, direct: int = 0) -> np.ndarray:
    """Convolves samples [S] with a response, and returns as many samples.

    direct: the sample of the response that is not delayed.
    """
    wet = scipy.signal.oaconvolve(samples, response)[direct:][: len(samples)]
    return np.pad(wet, (0, len(samples) - len(wet))).astype(np.float32)


def direct_sound(response: np.ndarray, *, sample_rate_hz: int) -> tuple[np.ndarray, int]:
    """Cuts a response [S] to start 1 ms before its direct sound, and scales it to unit energy.

    The direct sound is the largest peak. Returns the response and the sample of its direct sound. Raises errors.Silent
    for a response of zeros.
    """
    peak = int(np.argmax(np.abs(response)))
    first = max(0, peak - sample_rate_hz // 1000)
    rest = response[first:].astype(np.float64)
    energy = np.square(rest).sum()
    if energy == 0:
        raise errors.Silent("a response of zeros; every sound would be silent in that room")
    return (rest / np.sqrt(energy)).astype(np.float32), peak - first


def clip(samples: np.ndarray, *, over: slice, crest_db: float = _CREST_DB) -> np.ndarray:
    """Cuts off peaks that exceed the RMS of the slice `over` by `crest_db`, as an overdriven input does."""
    rms = np.sqrt(np.square(samples[over], dtype=np.float64).mean())
    limit = np.float32(rms * 10 ** (crest_db / 20))
    return np.clip(samples, -limit, limit)


def band(samples: np.ndarray, *, low_hz: float = 0.0, high_hz: float = np.inf, sample_rate_hz: int) -> np.ndarray:
    """Keeps the band from low_hz to high_hz, with 24 dB per octave on both sides.

    An upper edge near or above half the sample rate filters nothing. A lower edge there would leave nothing and raises
    errors.Invalid.
    """
    if low_hz >= 0.49 * sample_rate_hz:
        raise errors.Invalid(
            f"nothing of a recording at {sample_rate_hz} Hz lies above {low_hz:g} Hz; give a lower edge below "
            f"{0.49 * sample_rate_hz:g} Hz"
        )
    has_top = high_hz < 0.49 * sample_rate_hz
    if low_hz and has_top:
        sections = scipy.signal.butter(4, (low_hz, high_hz), "bandpass", fs=sample_rate_hz, output="sos")
    elif has_top:
        sections = scipy.signal.butter(4, high_hz, "lowpass", fs=sample_rate_hz, output="sos")
    elif low_hz:
        sections = scipy.signal.butter(4, low_hz, "highpass", fs=sample_rate_hz, output="sos")
    else:
        return samples
    return scipy.signal.sosfilt(sections, samples).astype(np.float32)


def phone_speaker(samples: np.ndarray, *, sample_rate_hz: int) -> np.ndarray:
    """Plays samples through the loudspeaker of a phone, as far as that is a linear filter."""
    turn = 2 * np.pi * _SPEAKER_HZ
    # Prewarped, so that the resonance is at its frequency at any sample rate.
    warped = 2 * sample_rate_hz * np.tan(turn / (2 * sample_rate_hz))
    analog = [1.0, 0.0, 0.0], [1.0, warped / _SPEAKER_Q, warped**2]
    played = scipy.signal.lfilter(*scipy.signal.bilinear(*analog, fs=sample_rate_hz), samples)
    return band(played.astype(np.float32), high_hz=_SPEAKER_TOP_HZ, sample_rate_hz=sample_rate_hz)


def echo(samples: np.ndarray, *, delay_s: float, sample_rate_hz: int) -> np.ndarray:
    """Adds one repetition after delay_s, with half the amplitude."""
    delay = round(delay_s * sample_rate_hz)
    late = np.zeros_like(samples)
    late[delay:] = samples[: max(0, len(samples) - delay)]
    return samples + np.float32(0.5) * late


def gain(samples: np.ndarray, *, gain_db: float) -> np.ndarray:
    """Makes samples louder by gain_db."""
    return samples * np.float32(10 ** (gain_db / 20))
