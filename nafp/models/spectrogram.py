"""Computes log-mel spectrograms [B,F,T] of waveform segments [B,S], each independent of the others.

The constants are those of the original system (Chang et al., ICASSP 2021; its `default.yaml` and `melspectrogram.py`):
8 kHz, STFT 1024/256 with a periodic Hann window and zeros around the segment, 256 mel bins from 300 to 4000 Hz
(Slaney's scale and area norm, the default of kapre and librosa), magnitude instead of power, log10 with 0.06 added, the
maximum subtracted. The original takes that maximum over the whole batch, so that its fingerprints depend on the other
segments of the batch. Here it is taken over each segment.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp
import numpy as np

from nafp import config
from nafp.jobs import choices
from nafp.models import filterbank

if TYPE_CHECKING:
    from jaxtyping import Array, Complex, Float

_TINY = 1e-20  # Below any recorded level; keeps the division of a silent segment finite.


def log_mel(
    segments: Float[Array, "B S"],
    *,
    sample_rate_hz: int = 8000,
    n_fft: int = 1024,
    stft_hop: int = 256,
    n_mels: int = 256,
    low_hz: float = 300.0,
    high_hz: float = 4000.0,
    kind: str = "magnitude",
    floor: str = "relative",
    relative_floor: float = 1e-3,
    fixed_floor: float = 0.06,
    waveform_norm: str = "none",
) -> Float[Array, "B F T"]:
    """Computes log10 mel spectrograms, float32 [B,F,T] with T = 1 + S // stft_hop, whose maximum is 0.

    segments: waveforms at `sample_rate_hz` in -1..1. floor: "relative" adds `relative_floor` times the segment's own
    maximum before the logarithm, so that gain changes nothing and values lie in log10(relative_floor)..0; "fixed" adds
    `fixed_floor` (0.06 in the original), which is right for one level only. waveform_norm: "rms" or "peak" first brings
    that measure of each segment to 1. A silent segment has finite values. Raises nafp.errors.Invalid for an unknown
    choice or an impossible band.
    """
    choices.require("kind", kind, config.network.SPECTROGRAM_KINDS)
    choices.require("floor", floor, config.network.FLOORS)
    choices.require("waveform_norm", waveform_norm, config.network.WAVEFORM_NORMS)
    bank = filterbank.by_librosa(
        sample_rate_hz=sample_rate_hz, n_fft=n_fft, n_mels=n_mels, low_hz=low_hz, high_hz=high_hz
    )
    spectrum = jnp.abs(_stft(normalised(segments, waveform_norm), bank.window, stft_hop))  # [B,T,n_fft/2+1]
    spectrum = spectrum**2 if kind == "power" else spectrum
    mel = jnp.matmul(spectrum, bank.filters, precision=jax.lax.Precision.HIGHEST)  # [B,T,F]
    logarithm = _relative(mel, relative_floor) if floor == "relative" else _fixed(mel, fixed_floor)
    return jnp.swapaxes(logarithm, 1, 2)  # [B,F,T]


def normalised(segments: Float[Array, "B S"], waveform_norm: str) -> Float[Array, "B S"]:
    """Scales each segment so that its RMS ("rms") or peak ("peak") is 1, or not at all ("none"). Returns float32."""
    segments = segments.astype(jnp.float32)
    if waveform_norm == "rms":
        level = jnp.sqrt(jnp.mean(segments**2, axis=-1, keepdims=True))
    elif waveform_norm == "peak":
        level = jnp.max(jnp.abs(segments), axis=-1, keepdims=True)
    else:
        return segments
    return segments / jnp.maximum(level, _TINY)


def _stft(segments: Float[Array, "B S"], window: np.ndarray, stft_hop: int) -> Complex[Array, "B T n_bins"]:
    """Transforms frames that are centred on every hop, with zeros beyond the ends of a segment."""
    n_fft = len(window)
    n_frames = 1 + segments.shape[-1] // stft_hop
    padded = jnp.pad(segments, ((0, 0), (n_fft // 2, n_fft // 2 + stft_hop)))
    if n_fft % stft_hop:
        positions = jnp.arange(n_frames)[:, None] * stft_hop + jnp.arange(n_fft)[None]
        frames = padded[:, positions]
    else:
        # A frame is n_fft / hop whole hops: slices of hops, several times faster than a gather.
        n_hops = n_frames - 1 + n_fft // stft_hop
        hops = padded[:, : n_hops * stft_hop].reshape(-1, n_hops, stft_hop)
        parts = [hops[:, i : i + n_frames] for i in range(n_fft // stft_hop)]
        frames = jnp.concatenate(parts, axis=-1)  # [B,T,n_fft]
    return jnp.fft.rfft(frames * window[None, None])


def _relative(mel: jax.Array, share: float) -> jax.Array:
    loudest = jnp.max(mel, axis=(1, 2), keepdims=True)
    return jnp.log10((mel / jnp.maximum(loudest, _TINY) + share) / (1 + share))


def _fixed(mel: jax.Array, floor: float) -> jax.Array:
    logarithm = jnp.log10(mel + floor)
    return logarithm - jnp.max(logarithm, axis=(1, 2), keepdims=True)
