"""Waveform segments [B,S] -> log-mel spectrograms [B,F,T], each on its own terms.

Constants of the original system (Chang et al., ICASSP 2021; its `default.yaml` and
`melspectrogram.py`): 8 kHz, STFT 1024/256 with periodic Hann and zeros around the segment, 256 mel
bins from 300 to 4000 Hz (Slaney's scale and area norm, kapre's and librosa's default), magnitude
not power, log10 with 0.06 added, the maximum subtracted. One change: the original takes the maximum
over the whole batch, so its fingerprints depend on their batch mates; here each segment is alone.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp

from nafp import errors
from nafp.models import filterbank

KINDS = ("magnitude", "power")
FLOORS = ("relative", "fixed")
WAVEFORM_NORMS = ("none", "rms", "peak")
_TINY = 1e-20  # Below any recorded level; keeps the division of a silent segment finite.


def log_mel(
    segments: jax.Array,
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
) -> jax.Array:
    """Computes log10 mel spectrograms whose loudest point is 0.

    segments: float [B,S] at `sample_rate_hz`, full scale is 1. Returns float32 [B,F,T] with
    T = 1 + S // stft_hop.
    floor: "relative" adds `relative_floor` of the segment's own maximum before the logarithm, so
    that gain changes nothing and values lie in [log10(relative_floor), 0]; "fixed" adds
    `fixed_floor` (the original's 0.06), which assumes a certain level: see `waveform_norm`.
    waveform_norm: "rms" or "peak" brings that of each segment to 1 first.
    A silent segment is finite: all floor.
    """
    _check(kind=(kind, KINDS), floor=(floor, FLOORS), waveform_norm=(waveform_norm, WAVEFORM_NORMS))
    spectrum = jnp.abs(_stft(normalised(segments, waveform_norm), n_fft, stft_hop))  # [B,T,n_fft/2+1]
    spectrum = spectrum**2 if kind == "power" else spectrum
    filters = filterbank.mel_filters(
        sample_rate_hz=sample_rate_hz, n_fft=n_fft, n_mels=n_mels, low_hz=low_hz, high_hz=high_hz
    )
    mel = jnp.matmul(spectrum, filters, precision=jax.lax.Precision.HIGHEST)  # [B,T,F]
    logarithm = _relative(mel, relative_floor) if floor == "relative" else _fixed(mel, fixed_floor)
    return jnp.swapaxes(logarithm, 1, 2)  # [B,F,T]


def normalised(segments: jax.Array, waveform_norm: str) -> jax.Array:
    """Brings each segment's RMS ("rms") or peak ("peak") to 1, or leaves it ("none"). [B,S]."""
    segments = segments.astype(jnp.float32)
    if waveform_norm == "rms":
        level = jnp.sqrt(jnp.mean(segments**2, axis=-1, keepdims=True))
    elif waveform_norm == "peak":
        level = jnp.max(jnp.abs(segments), axis=-1, keepdims=True)
    else:
        return segments
    return segments / jnp.maximum(level, _TINY)


def _stft(segments: jax.Array, n_fft: int, stft_hop: int) -> jax.Array:
    """Transforms frames centred on every hop, zeros beyond the ends. Returns complex [B,T,bins]."""
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
    return jnp.fft.rfft(frames * filterbank.hann(n_fft)[None, None])


def _relative(mel: jax.Array, share: float) -> jax.Array:
    loudest = jnp.max(mel, axis=(1, 2), keepdims=True)
    return jnp.log10((mel / jnp.maximum(loudest, _TINY) + share) / (1 + share))


def _fixed(mel: jax.Array, floor: float) -> jax.Array:
    logarithm = jnp.log10(mel + floor)
    return logarithm - jnp.max(logarithm, axis=(1, 2), keepdims=True)


def _check(**choices: tuple[str, tuple[str, ...]]) -> None:
    for name, (given, allowed) in choices.items():
        if given not in allowed:
            raise errors.Invalid(f"{name}={given!r}: allowed are {', '.join(allowed)}")
