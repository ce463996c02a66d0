"""Clean clips become pairs of a clean anchor and a degraded replica, on the accelerator.

Every function is data -> data with an explicit key, for one example; `pairs` maps the chain over a batch. The key
of an example is folded from the seed and the example's position in the stream, so that a resumed run, or one on
another number of devices, hears the same noise.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import scipy.fft

_TINY = 1e-12
_SINC_TAPS = 16  # Windowed-sinc resampling; -60 dB of error below 0.8 of half the rate.
_TAPS = np.arange(-_SINC_TAPS // 2 + 1, _SINC_TAPS // 2 + 1)


class Bank(NamedTuple):
    """Responses as spectra, so that a training step transforms none of them again.

    spectra: [R, n_fft // 2 + 1] complex64; n_samples: length of each response.
    """

    spectra: jax.Array
    n_samples: int


def bank(responses: np.ndarray, *, clip_samples: int, kept_samples: int) -> Bank:
    """Transforms responses [R, H] for clips whose last `kept_samples` must be a linear convolution."""
    n_samples = responses.shape[1]
    n_fft = fft_length(clip_samples, n_samples, kept_samples=kept_samples)
    return Bank(jnp.asarray(np.fft.rfft(responses, n_fft).astype(np.complex64)), n_samples)


def fft_length(clip_samples: int, response_samples: int, *, kept_samples: int) -> int:
    """Returns a transform length at which wrapping round touches none of the last `kept_samples`.

    The tail that wraps has clip + response - 1 - n samples and must end before the kept part starts.
    """
    discarded = clip_samples - kept_samples
    return scipy.fft.next_fast_len(max(clip_samples, clip_samples + response_samples - 1 - discarded), real=True)


def rms(samples: jax.Array) -> jax.Array:
    """Root mean square over the last axis: [..., S] -> [...]."""
    return jnp.sqrt(jnp.mean(samples * samples, axis=-1) + _TINY)


def mix(signal: jax.Array, noise: jax.Array, *, snr_db: jax.Array, over: int) -> jax.Array:
    """Adds noise [S] to signal [S] so that the last `over` samples have the ratio asked for.

    Silent noise adds nothing; a silent signal is returned as it is (no ratio exists).
    """
    power, noise_power = rms(signal[-over:]), rms(noise[-over:])
    scale = power / noise_power * 10.0 ** (-snr_db / 20.0)
    audible = (noise_power > 1e-5) & (power > 1e-5)
    return signal + noise * jnp.where(audible, scale, 0.0)


def convolve(samples: jax.Array, spectrum: jax.Array) -> jax.Array:
    """Convolves [S] with a response of a `Bank`; linear over the samples the bank was made for."""
    n_fft = 2 * (spectrum.shape[-1] - 1)
    return jnp.fft.irfft(jnp.fft.rfft(samples, n_fft) * spectrum, n_fft)[: samples.shape[-1]]


def cut_off(
    samples: jax.Array,
    *,
    sample_rate_hz: int,
    low_pass_hz: jax.Array,
    low_pass_slope: jax.Array,
    high_pass_hz: jax.Array,
    high_pass_slope: jax.Array,
) -> jax.Array:
    """Filters [S] with Butterworth magnitudes: -3 dB at the cut-off, `slope` dB per octave beyond.

    An infinite low_pass_hz, or a high_pass_hz of 0, passes everything. Zero phase.
    """
    n_fft = scipy.fft.next_fast_len(samples.shape[-1] + sample_rate_hz // 8, real=True)
    hz = jnp.asarray(np.fft.rfftfreq(n_fft, 1 / sample_rate_hz), jnp.float32)
    decade = 20 * np.log10(2.0)  # dB per octave of one order.
    low = 1 / jnp.sqrt(1 + (hz / low_pass_hz) ** (2 * low_pass_slope / decade))
    high = 1 / jnp.sqrt(1 + (high_pass_hz / jnp.maximum(hz, 1e-3)) ** (2 * high_pass_slope / decade))
    return jnp.fft.irfft(jnp.fft.rfft(samples, n_fft) * low * high, n_fft)[: samples.shape[-1]]


def saturate(samples: jax.Array, *, drive_db: jax.Array) -> jax.Array:
    """Clips softly, as a small loudspeaker or an overdriven microphone does: tanh of the waveform over its peak."""
    peak = jnp.max(jnp.abs(samples)) + _TINY
    drive = 10.0 ** (drive_db / 20.0)
    return jnp.tanh(samples / peak * drive) * peak / jnp.tanh(drive)


def play(clip: jax.Array, *, start: jax.Array, n_samples: int, pivot: int, speed: jax.Array) -> jax.Array:
    """Cuts n_samples out of clip [S] from (fractional) sample `start`, played at `speed` around `pivot`.

    Output sample i is clip at start + pivot + (i - pivot) * speed, interpolated by a Hann-windowed sinc.
    Outside the clip there is silence.
    """
    where = start + pivot + (jnp.arange(n_samples, dtype=jnp.float32) - pivot) * speed
    base = jnp.floor(where)
    weights = _hann_sinc(where - base)  # [taps][S]
    base = base.astype(jnp.int32)
    total = jnp.zeros(n_samples, jnp.float32)
    for tap, weight in zip(_TAPS, weights):
        total += weight * clip.at[base + int(tap)].get(mode="fill", fill_value=0.0, wrap_negative_indices=False)
    return total


def _hann_sinc(fraction: jax.Array) -> list[jax.Array]:
    """Weights of the taps for a position `fraction` after the sample: sinc(k - f) times a raised cosine.

    The sine of pi (k - f) and the cosine of the window are expanded by k, so that a sample costs three
    trigonometric functions and not two for every tap.
    """
    narrow = jnp.pi * 2 / (_SINC_TAPS + 1)
    sine, far_cos, far_sin = (
        jnp.sin(jnp.pi * fraction),
        jnp.cos(narrow * fraction),
        jnp.sin(narrow * fraction),
    )
    weights = []
    for k in _TAPS:
        distance = k - fraction
        near = jnp.abs(distance) < 1e-4
        sinc = jnp.where(near, 1.0, (-1.0) ** (k + 1) * sine / jnp.where(near, 1.0, jnp.pi * distance))
        window = 0.5 + 0.5 * (np.cos(narrow * k) * far_cos + np.sin(narrow * k) * far_sin)
        weights.append(sinc * window)
    return weights


def uniform(key: jax.Array, low: float, high: float) -> jax.Array:
    return jax.random.uniform(key, (), minval=low, maxval=high)


def happens(key: jax.Array, probability: float) -> jax.Array:
    return jax.random.uniform(key, ()) < probability


class Settings(NamedTuple):
    """What `pairs` needs to know, unpacked from config.audio and config.augment at the door."""

    sample_rate_hz: int
    segment: int
    context: int
    margin: int  # Samples either side of the segment that offsets and speed may reach.
    offset: int
    augment: Any  # The frozen augment section: one field a degradation.


def settings(*, audio: Any, augment: Any) -> Settings:
    """Unpacks the two sections into samples."""
    rate = audio.sample_rate_hz
    segment = round(audio.segment_s * rate)
    context = round(augment.context_s * rate)
    offset = round(augment.offset_s * rate)
    reach = 2 * offset  # The anchor moves off its grid and the replica off the anchor.
    stretch = int(np.ceil(augment.speed * (segment / 2 + context))) + (_SINC_TAPS if augment.speed else 0)
    return Settings(rate, segment, context, reach + stretch, offset, augment)


def pairs(
    s: Settings,
    keys: jax.Array,
    clips: jax.Array,
    noise: jax.Array | None,
    speech: jax.Array | None,
    rooms: Bank | None,
    microphones: Bank | None,
    degraded: jax.Array | None = None,
) -> tuple[jax.Array, jax.Array]:
    """Cuts and degrades a batch.

    keys: [B] one per example. clips: [B, context + margin + segment + margin] in -1..1. noise, speech: [B, context +
    segment] or None. degraded: as clips, degraded already: replicas are cut from these, and from nothing else.
    Returns (anchors, replicas), each [B, segment] float32.
    """

    def one(key, clip, noise_clip, speech_clip, degraded_clip):
        anchor, replica = _cut(s, key, clip, clip if degraded is None else degraded_clip)
        if s.augment.enabled and degraded is None:
            replica = degrade(s, key, replica, noise_clip, speech_clip, rooms, microphones)
        return anchor, replica[-s.segment :]

    axes = (0, 0, *(None if given is None else 0 for given in (noise, speech, degraded)))
    return jax.vmap(one, in_axes=axes)(keys, clips, noise, speech, degraded)


def _cut(s: Settings, key: jax.Array, clip: jax.Array, other: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Draws the two offsets: the anchor's off its grid in `clip`, the replica's in `other` off the anchor; uniform."""
    k_anchor, k_replica, k_speed = jax.random.split(jax.random.fold_in(key, 0), 3)
    moved = jax.random.randint(k_anchor, (), -s.offset, s.offset + 1)
    further = jax.random.randint(k_replica, (), -s.offset, s.offset + 1)
    start = s.context + s.margin + moved
    anchor = jax.lax.dynamic_slice(clip, (start,), (s.segment,))
    n_samples, first = s.context + s.segment, start + further - s.context
    if not s.augment.speed:
        return anchor, jax.lax.dynamic_slice(other, (first,), (n_samples,))
    speed = uniform(k_speed, 1 - s.augment.speed, 1 + s.augment.speed)
    pivot = s.context + s.segment // 2
    return anchor, play(other, start=first, n_samples=n_samples, pivot=pivot, speed=speed)


def degrade(
    s: Settings,
    key: jax.Array,
    samples: jax.Array,
    noise: jax.Array | None,
    speech: jax.Array | None,
    rooms: Bank | None,
    microphones: Bank | None,
) -> jax.Array:
    """Applies the chain to one clip [context + segment]: noise, room, noise, microphone, filters, saturation, gain.

    Noise is mixed before the room with probability `noise_in_room`, otherwise after it, never twice.
    """
    a, k = s.augment, jax.random.split(jax.random.fold_in(key, 1), 12)
    early = happens(k[0], a.noise_in_room)
    samples = _add(s, k[1], samples, noise, a.noise, when=early)
    samples = _add(s, k[2], samples, speech, a.speech, when=early)
    samples = _respond(k[3], samples, rooms, a.room.probability)
    samples = _add(s, k[1], samples, noise, a.noise, when=~early)
    samples = _add(s, k[2], samples, speech, a.speech, when=~early)
    samples = _respond(k[4], samples, microphones, a.microphone.probability)
    samples = _filter(s, k[5], samples)
    if a.saturation.probability:
        drive_db = uniform(k[6], a.saturation.low_db, a.saturation.high_db)
        clipped = saturate(samples, drive_db=drive_db)
        samples = jnp.where(happens(k[7], a.saturation.probability), clipped, samples)
    if a.gain.probability:
        gain_db = uniform(k[8], a.gain.low_db, a.gain.high_db)
        samples = samples * jnp.where(happens(k[9], a.gain.probability), 10.0 ** (gain_db / 20.0), 1.0)
    return samples


def _add(s: Settings, key, samples, noise, setting, *, when):
    if noise is None or not setting.probability:
        return samples
    k_db, k_happens = jax.random.split(key)
    mixed = mix(samples, noise, snr_db=uniform(k_db, setting.low_db, setting.high_db), over=s.segment)
    return jnp.where(when & happens(k_happens, setting.probability), mixed, samples)


def _respond(key, samples, responses: Bank | None, probability: float):
    """Convolves with one response of the bank, drawn evenly; unit-energy responses keep the level."""
    if responses is None or not probability:
        return samples
    k_which, k_happens = jax.random.split(key)
    which = jax.random.randint(k_which, (), 0, responses.spectra.shape[0])
    wet = convolve(samples, responses.spectra[which])
    return jnp.where(happens(k_happens, probability), wet, samples)


def _filter(s: Settings, key, samples):
    low, high = s.augment.low_pass, s.augment.high_pass
    if not low.probability and not high.probability:
        return samples
    k = jax.random.split(key, 6)
    low_hz = jnp.where(happens(k[0], low.probability), uniform(k[1], low.low_hz, low.high_hz), jnp.inf)
    high_hz = jnp.where(happens(k[2], high.probability), uniform(k[3], high.low_hz, high.high_hz), 0.0)
    return cut_off(
        samples,
        sample_rate_hz=s.sample_rate_hz,
        low_pass_hz=low_hz,
        low_pass_slope=uniform(k[4], low.low_slope, low.high_slope),
        high_pass_hz=high_hz,
        high_pass_slope=uniform(k[5], high.low_slope, high.high_slope),
    )


def masked(keys: jax.Array, mels: jax.Array, *, augment: Any) -> jax.Array:
    """Masks log-mel spectrograms [B, F, T], each with its own draw: cut-out, frequency mask, time mask."""
    return jax.vmap(lambda key, mel: _mask_one(jax.random.fold_in(key, 2), mel, augment))(keys, mels)


def _mask_one(key: jax.Array, mel: jax.Array, a: Any) -> jax.Array:
    k = jax.random.split(key, 8)
    n_bins, n_frames = mel.shape
    hole = jnp.zeros(mel.shape, bool)
    everywhere = (jnp.ones((n_bins, 1), bool), jnp.ones((1, n_frames), bool))
    if a.cutout.probability:
        bins, frames = (
            _stripe(k[0], n_bins, a.cutout)[:, None],
            _stripe(k[1], n_frames, a.cutout)[None, :],
        )
        hole |= happens(k[2], a.cutout.probability) & (bins & frames)
    if a.frequency_mask.probability:
        bins = _stripe(k[3], n_bins, a.frequency_mask)[:, None]
        hole |= happens(k[4], a.frequency_mask.probability) & (bins & everywhere[1])
    if a.time_mask.probability:
        frames = _stripe(k[5], n_frames, a.time_mask)[None, :]
        hole |= happens(k[6], a.time_mask.probability) & (everywhere[0] & frames)
    return jnp.where(hole, _filling(k[7], mel, a), mel)


def _stripe(key: jax.Array, n: int, mask: Any) -> jax.Array:
    """Marks a run of round(n * share) cells, at least one, anywhere along an axis of n: [n] bool."""
    k_size, k_start = jax.random.split(key)
    size = jnp.clip(jnp.round(uniform(k_size, mask.low, mask.high) * n), 1, n)
    start = jnp.floor(jax.random.uniform(k_start, ()) * (n - size + 1))
    cells = jnp.arange(n)
    return (cells >= start) & (cells < start + size)


def _filling(key: jax.Array, mel: jax.Array, a: Any) -> jax.Array:
    """What a hole is filled with: zeros (the segment's maximum), its min or mean, or noise between two values."""
    if a.fill == "zeros":
        return jnp.zeros_like(mel)
    if a.fill == "min":
        return jnp.full_like(mel, jnp.min(mel))
    if a.fill == "mean":
        return jnp.full_like(mel, jnp.mean(mel))
    if a.fill == "random":
        low, high = jnp.min(mel), jnp.max(mel)
    else:
        low, high = a.fill_low, a.fill_high
    return jax.random.uniform(key, mel.shape) * (high - low) + low
