"""Computes spectrograms [B,F,T] of waveform segments [B,S] in numpy alone, as `nafp.models.spectrogram` does."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from nafp.models import filterbank, front_ends

if TYPE_CHECKING:
    from jaxtyping import Float32


def log_mel(
    waveforms: Float32[np.ndarray, "B S"],
    *,
    sample_rate_hz: int,
    n_fft: int,
    stft_hop: int,
    n_mels: int,
    low_hz: float,
    high_hz: float,
    bank: filterbank.MelBank | None = None,
    training: bool = False,
    **choices: Any,
) -> Float32[np.ndarray, "B F T"]:
    """Computes the spectrograms of segments, as `nafp.models.spectrogram.log_mel` has them.

    bank: mel filters and window; None computes them. choices: the keywords of `nafp.models.front_ends.create`.
    """
    front_end = front_ends.create(**choices)
    bank = bank or filterbank.by_formula(
        sample_rate_hz=sample_rate_hz,
        n_fft=n_fft,
        n_mels=n_mels,
        low_hz=low_hz,
        high_hz=high_hz,
        scale=front_end.scale,
        area_norm=front_end.area_norm,
    )
    centred = front_end.centres and not training
    return _through([bank], waveforms, front_end, stft_hop=stft_hop, centred=centred)[0]


def transposed(
    waveforms: Float32[np.ndarray, "B S"],
    ratios: Sequence[float],
    *,
    sample_rate_hz: int,
    n_fft: int,
    stft_hop: int,
    n_mels: int,
    low_hz: float,
    high_hz: float,
    bank: filterbank.MelBank | None = None,
    **choices: Any,
) -> Float32[np.ndarray, "R B F T"]:
    """Computes the spectrograms of segments with a change of pitch undone, for each of R ratios, as of `Network`.

    The Fourier transform is taken once. The other arguments are those of `log_mel`.
    """
    front_end = front_ends.create(**choices)
    banks = filterbank.stretched(
        ratios,
        sample_rate_hz=sample_rate_hz,
        n_fft=n_fft,
        n_mels=n_mels,
        low_hz=low_hz,
        high_hz=high_hz,
        scale=front_end.scale,
        area_norm=front_end.area_norm,
    )
    return np.stack(_through(banks, waveforms, front_end, stft_hop=stft_hop, centred=front_end.centres))


def _through(
    banks: Sequence[filterbank.MelBank],
    waveforms: np.ndarray,
    front_end: front_ends.FrontEnd,
    *,
    stft_hop: int,
    centred: bool,
) -> list[np.ndarray]:
    """Returns the spectrograms [B,F,T] that each bank gives of the same magnitudes or powers. All have one window."""
    if centred:
        waveforms = waveforms - waveforms.mean(axis=1, keepdims=True)
    spectrum = _stft(front_end.level(np, waveforms), banks[0], stft_hop, front_end.reflects)
    power = spectrum.real**2 + spectrum.imag**2
    spectra = power if front_end.kind == "power" else np.sqrt(power)  # [B,T,n_fft/2+1]
    return [front_end.logarithm(np, spectra @ bank.filters).swapaxes(1, 2) for bank in banks]


def _stft(waveforms: np.ndarray, bank: filterbank.MelBank, stft_hop: int, reflects: bool) -> np.ndarray:
    n_fft = len(bank.window)
    n_frames = 1 + waveforms.shape[1] // stft_hop
    edges = ((0, 0), (n_fft // 2, n_fft // 2))
    padded = np.pad(waveforms, edges, mode="reflect") if reflects else np.pad(waveforms, edges)
    padded = np.pad(padded, ((0, 0), (0, n_fft % 2)))
    frames = np.lib.stride_tricks.sliding_window_view(padded, n_fft, axis=1)[:, ::stft_hop]
    return np.fft.rfft(frames[:, :n_frames] * bank.window)
