"""Computes spectrograms [B,F,T] of waveform segments [B,S] under JAX, by the rules of a front end.

The constants are those of the original system (Chang et al., ICASSP 2021; its `default.yaml` and `melspectrogram.py`):
8 kHz, STFT 1024/256 with a periodic Hann window and zeros around the segment, 256 mel bins from 300 to 4000 Hz
(Slaney's scale and area norm, the default of kapre and librosa). `front_ends` says what published systems do otherwise.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp

from nafp.models import filterbank, front_ends

if TYPE_CHECKING:
    from jaxtyping import Array, Complex, Float


def log_mel(
    segments: Float[Array, "B S"],
    *,
    sample_rate_hz: int = 8000,
    n_fft: int = 1024,
    stft_hop: int = 256,
    n_mels: int = 256,
    low_hz: float = 300.0,
    high_hz: float = 4000.0,
    training: bool = False,
    filters: Float[Array, "B n_bins F"] | None = None,
    **choices: Any,
) -> Float[Array, "B F T"]:
    """Computes spectrograms, float32 [B,F,T] with T = 1 + S // stft_hop.

    segments: waveforms at `sample_rate_hz` in -1..1. choices: the name of the front end and its settings, the keywords
    of `front_ends.create`. training: whether the segments are training's, for front ends that treat those otherwise.
    filters: of each segment, such as those of `filterbank.stretched`, in place of the bank that the settings name.
    With the front end "nafp" each spectrogram depends on its segment alone and has the maximum 0. A silent segment has
    finite values. Raises nafp.errors.Invalid for an unknown choice or an impossible band.
    """
    front_end = front_ends.create(**choices)
    bank = filterbank.by_librosa(
        sample_rate_hz=sample_rate_hz,
        n_fft=n_fft,
        n_mels=n_mels,
        low_hz=low_hz,
        high_hz=high_hz,
        scale=front_end.scale,
        area_norm=front_end.area_norm,
    )
    segments = segments.astype(jnp.float32)
    if front_end.centres and not training:
        segments = segments - jnp.mean(segments, axis=1, keepdims=True)
    spectrum = jnp.abs(_stft(front_end.level(jnp, segments), bank, stft_hop, front_end.reflects))  # [B,T,n_fft/2+1]
    spectrum = spectrum**2 if front_end.kind == "power" else spectrum
    mel = jnp.matmul(
        spectrum, bank.filters if filters is None else filters, precision=jax.lax.Precision.HIGHEST
    )  # [B,T,F]
    return jnp.swapaxes(front_end.logarithm(jnp, mel), 1, 2)  # [B,F,T]


def _stft(
    segments: Float[Array, "B S"], bank: filterbank.MelBank, stft_hop: int, reflects: bool
) -> Complex[Array, "B T n_bins"]:
    """Transforms frames that are centred on every hop, with zeros or reflections beyond the ends of a segment."""
    n_fft = len(bank.window)
    n_frames = 1 + segments.shape[-1] // stft_hop
    if reflects:
        segments = jnp.pad(segments, ((0, 0), (n_fft // 2, n_fft // 2)), mode="reflect")
        padded = jnp.pad(segments, ((0, 0), (0, stft_hop)))
    else:
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
    return jnp.fft.rfft(frames * bank.window[None, None])
