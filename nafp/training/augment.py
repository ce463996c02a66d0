"""Clean clips become pairs of a clean anchor and a degraded replica, on the accelerator.

Every function maps the data of one example to data, with an explicit random key; `pairs` maps the chain over a batch.
The key of an example is folded from the seed and the example's position in the stream. A resumed run, or a run on
another number of devices, therefore draws the same noise.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import scipy.fft

from nafp.training import draws, playback

if TYPE_CHECKING:
    from jaxtyping import Array, Complex, Float, Shaped

_TINY = 1e-12
# What is mixed into a replica, in this order, and the kind of recording that it is drawn from.
ADDED = {"noise": "noise", "speech": "speech", "song": "music"}


class Bank(NamedTuple):
    """Responses of rooms or microphones, as spectra, so that a training step need not transform them again.

    spectra: [R, n_fft // 2 + 1] complex64. n_samples: the length of each response.
    """

    spectra: jax.Array
    n_samples: int


def bank(responses: Float[np.ndarray, "R H"], *, clip_samples: int, kept_samples: int, circular: bool = False) -> Bank:
    """Transforms responses [R, H] for clips whose last `kept_samples` must be those of a linear convolution.

    circular: the tail wraps round into the beginning of the clip instead. clip_samples must then be even.
    """
    n_samples = responses.shape[1]
    n_fft = clip_samples if circular else fft_length(clip_samples, n_samples, kept_samples=kept_samples)
    return Bank(jnp.asarray(np.fft.rfft(responses, n_fft).astype(np.complex64)), n_samples)


def fft_length(clip_samples: int, response_samples: int, *, kept_samples: int) -> int:
    """Returns a transform length n at which the circular convolution leaves the last `kept_samples` intact.

    The tail that wraps round has clip + response - 1 - n samples and must end before the kept part starts.
    """
    discarded = clip_samples - kept_samples
    return scipy.fft.next_fast_len(max(clip_samples, clip_samples + response_samples - 1 - discarded), real=True)


def rms(samples: jax.Array) -> jax.Array:
    """Computes the root mean square over the last axis: [..., S] -> [...]."""
    return jnp.sqrt(jnp.mean(samples * samples, axis=-1) + _TINY)


def mix(signal: Float[Array, " S"], noise: Float[Array, " S"], *, snr_db: jax.Array, over: int) -> Float[Array, " S"]:
    """Adds noise [S] to a signal [S] at a signal-to-noise ratio of `snr_db`, measured over the last `over` samples.

    Silent noise adds nothing. A silent signal, for which no ratio exists, is returned as it is.
    """
    power, noise_power = rms(signal[-over:]), rms(noise[-over:])
    scale = power / noise_power * 10.0 ** (-snr_db / 20.0)
    audible = (noise_power > 1e-5) & (power > 1e-5)
    return signal + noise * jnp.where(audible, scale, 0.0)


def convolve(samples: Float[Array, " S"], spectrum: Complex[Array, " bins"]) -> Float[Array, " S"]:
    """Convolves samples [S] with one spectrum of a `Bank`. The samples that the bank was made for are linear."""
    n_fft = 2 * (spectrum.shape[-1] - 1)
    return jnp.fft.irfft(jnp.fft.rfft(samples, n_fft) * spectrum, n_fft)[: samples.shape[-1]]


def cut_off(
    samples: Float[Array, " S"],
    *,
    sample_rate_hz: int,
    low_pass_hz: jax.Array,
    low_pass_slope: jax.Array,
    high_pass_hz: jax.Array,
    high_pass_slope: jax.Array,
) -> Float[Array, " S"]:
    """Filters samples [S] with Butterworth magnitudes and zero phase.

    The level is -3 dB at a cut-off and falls by its slope (dB per octave) beyond it. An infinite low_pass_hz, or a
    high_pass_hz of 0, passes everything.
    """
    n_fft = scipy.fft.next_fast_len(samples.shape[-1] + sample_rate_hz // 8, real=True)
    hz = jnp.asarray(np.fft.rfftfreq(n_fft, 1 / sample_rate_hz), jnp.float32)
    decade = 20 * np.log10(2.0)  # dB per octave of one order.
    low = 1 / jnp.sqrt(1 + (hz / low_pass_hz) ** (2 * low_pass_slope / decade))
    high = 1 / jnp.sqrt(1 + (high_pass_hz / jnp.maximum(hz, 1e-3)) ** (2 * high_pass_slope / decade))
    return jnp.fft.irfft(jnp.fft.rfft(samples, n_fft) * low * high, n_fft)[: samples.shape[-1]]


def saturate(samples: Float[Array, " S"], *, drive_db: jax.Array) -> Float[Array, " S"]:
    """Clips samples [S] softly, as a small loudspeaker does, by the tanh of the waveform over its peak."""
    peak = jnp.max(jnp.abs(samples)) + _TINY
    drive = 10.0 ** (drive_db / 20.0)
    return jnp.tanh(samples / peak * drive) * peak / jnp.tanh(drive)


class Response(NamedTuple):
    """Convolution with a response of at most `seconds`."""

    probability: float
    seconds: float


class CutOff(NamedTuple):
    """A filter whose cut-off frequency and slope (dB per octave) are uniform between their ends."""

    probability: float
    low_hz: float
    high_hz: float
    low_slope: float
    high_slope: float


class Mask(NamedTuple):
    """A mask whose size, as a share of the axis, is uniform between two shares.

    time_low, time_high: the shares of the time axis of a cut-out, if time_high is above 0.
    """

    probability: float
    low: float
    high: float
    time_low: float = 0.0
    time_high: float = 0.0

    @property
    def in_time(self) -> Mask:
        """The mask along the time axis."""
        return self._replace(low=self.time_low, high=self.time_high) if self.time_high else self


class Chain(NamedTuple):
    """Every degradation of a replica, in plain numbers: config.augment without its times."""

    enabled: bool
    speed: float
    noise: draws.Level
    speech: draws.Level
    song: draws.Level
    noise_in_room: float
    gain: draws.Level
    room: Response
    microphone: Response
    one_response: bool
    circular: bool
    low_pass: CutOff
    high_pass: CutOff
    filters_together: bool
    saturation: draws.Level
    cutout: Mask
    frequency_mask: Mask
    time_mask: Mask
    mask_placing: str
    mask_batch: bool
    peak_replicas: bool
    fill: str
    fill_low: float
    fill_high: float
    mask_anchors: bool


def _plain(section: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the values of a section, lists as tuples, so that a chain can be hashed."""
    return {key: tuple(value) if isinstance(value, (list, tuple)) else value for key, value in section.items()}


def chain(section: Mapping[str, Any]) -> Chain:
    """Unpacks config.augment."""
    levels = {name: draws.Level(**_plain(section[name])) for name in (*ADDED, "gain", "saturation")}
    responses = {name: Response(**section[name]) for name in ("room", "microphone")}
    filters = {name: CutOff(**section[name]) for name in ("low_pass", "high_pass")}
    masks = {name: Mask(**section[name]) for name in ("cutout", "frequency_mask", "time_mask")}
    parts: dict[str, Any] = levels | responses | filters | masks
    return Chain(**parts, **{name: section[name] for name in Chain._fields if name not in parts})


class Settings(NamedTuple):
    """The settings of `pairs`, in samples.

    segment: length of an anchor and of a replica. context: samples before the segment that feed the reverb tail.
    margin: samples on either side of the segment that offsets and speed may reach. replicas: those of each anchor.
    """

    sample_rate_hz: int
    segment: int
    context: int
    margin: int
    offsets: draws.Offsets
    chain: Chain
    replicas: int = 1

    @property
    def heard_samples(self) -> int:
        """The samples of a clip that is degraded: context + segment."""
        return self.context + self.segment

    @property
    def clip_samples(self) -> int:
        """The samples of a clip that is read: context + margin + segment + margin."""
        return self.heard_samples + 2 * self.margin


def settings(*, audio: Any, augment: Any) -> Settings:
    """Unpacks config.audio and config.augment, seconds into samples."""
    rate = audio.sample_rate_hz
    segment = round(audio.segment_s * rate)
    context = round(augment.context_s * rate)
    offsets = draws.Offsets(
        most=round(augment.offset_s * rate),
        least=round(augment.offset_least_s * rate),
        probability=augment.offset_probability,
        later=augment.offset_direction == "later",
        from_grid=augment.offset_from == "grid",
        of_anchors=augment.offset_anchors,
    )
    stretch = int(np.ceil(augment.speed * (segment / 2 + context))) + (playback.SINC_TAPS if augment.speed else 0)
    return Settings(rate, segment, context, offsets.reach + stretch, offsets, chain(augment), augment.replicas)


def pairs(
    s: Settings,
    keys: Shaped[Array, " B"],
    clips: Float[Array, "B clip"],
    added: dict[str, Float[Array, "B heard"]],
    rooms: Bank | None,
    microphones: Bank | None,
    degraded: Float[Array, "B clip"] | None = None,
    *,
    number: int = 0,
) -> tuple[Float[Array, "B S"], Float[Array, "B S"]]:
    """Cuts and degrades a batch into (anchors, replicas), each float32 [B, segment].

    keys: [B], one per example. clips: [B, clip_samples] in -1..1. added: what is mixed in, [B, heard_samples] by the
    names of ADDED. degraded: the clips in an already degraded version, or None. Replicas are then cut from these and
    not degraded.
    number: which replica of the anchors to draw, from 0. The anchors are those of any other.
    """

    def one(key, clip, added_clips, degraded_clip):
        other = draws.of_replica(key, number)
        anchor, replica = _cut(s, key, other, clip, clip if degraded is None else degraded_clip)
        if s.chain.enabled and degraded is None:
            replica = degrade(s, other, replica, added_clips, rooms, microphones)
        return anchor, replica[-s.segment :]

    axes = (0, 0, 0, None if degraded is None else 0)
    return jax.vmap(one, in_axes=axes)(keys, clips, added, degraded)


def _cut(
    s: Settings, key: jax.Array, key_of_replica: jax.Array, clip: jax.Array, other: jax.Array
) -> tuple[jax.Array, jax.Array]:
    """Cuts the anchor out of `clip` and the replica, with its context, out of `other`."""
    k_anchor, _, _ = jax.random.split(jax.random.fold_in(key, 0), 3)
    _, k_replica, k_speed = jax.random.split(jax.random.fold_in(key_of_replica, 0), 3)
    moved, further = s.offsets.draw(k_anchor, k_replica)
    start = s.context + s.margin
    anchor = jax.lax.dynamic_slice(clip, (start + moved,), (s.segment,))
    n_samples, first = s.heard_samples, start + further - s.context
    if not s.chain.speed:
        return anchor, jax.lax.dynamic_slice(other, (first,), (n_samples,))
    speed = draws.uniform(k_speed, 1 - s.chain.speed, 1 + s.chain.speed)
    pivot = s.context + s.segment // 2
    return anchor, playback.play(other, start=first, n_samples=n_samples, pivot=pivot, speed=speed)


def degrade(
    s: Settings,
    key: jax.Array,
    samples: Float[Array, " heard"],
    added: dict[str, Float[Array, " heard"]],
    rooms: Bank | None,
    microphones: Bank | None,
) -> Float[Array, " heard"]:
    """Degrades one clip [heard_samples] by noise, room, noise, microphone, filters, saturation and gain, in this order.

    What is `added`, by the names of ADDED, is mixed in once: before the room with probability `noise_in_room`,
    otherwise after it. `peak_replicas` brings
    the peak of the segment to 1 before the gain.
    """
    chain, k = s.chain, jax.random.split(jax.random.fold_in(key, 1), 12)
    early = draws.happens(k[0], chain.noise_in_room)
    samples = _with_all(s, k, samples, added, when=early)
    samples = _respond(k[3], samples, rooms, chain.room.probability)
    samples = _with_all(s, k, samples, added, when=~early)
    samples = _respond(k[4], samples, microphones, chain.microphone.probability)
    samples = _filter(s, k[5], samples)
    if chain.saturation.probability:
        drive_db = chain.saturation.draw(k[6])
        clipped = saturate(samples, drive_db=drive_db)
        samples = jnp.where(draws.happens(k[7], chain.saturation.probability), clipped, samples)
    if chain.peak_replicas:
        samples = samples / jnp.maximum(jnp.max(jnp.abs(samples[-s.segment :])), _TINY)
    if chain.gain.probability:
        gain_db = chain.gain.draw(k[8])
        samples = samples * jnp.where(draws.happens(k[9], chain.gain.probability), 10.0 ** (gain_db / 20.0), 1.0)
    return samples


def _with_all(
    s: Settings, keys: jax.Array, samples: jax.Array, added: dict[str, jax.Array], *, when: jax.Array
) -> jax.Array:
    """Mixes in all that is added, if `when` is True. keys: those of `degrade`."""
    for name, key in zip(ADDED, (keys[1], keys[2], keys[10])):
        level = getattr(s.chain, name)
        if name in added and level.probability:
            samples = _with_one(s, key, samples, added[name], level, when=when)
    return samples


def _with_one(
    s: Settings, key: jax.Array, samples: jax.Array, noise: jax.Array, level: draws.Level, *, when: jax.Array
) -> jax.Array:
    """Mixes noise in at a ratio drawn from `level`, if `when` is True and the level's probability says so."""
    k_db, k_happens = jax.random.split(key)
    mixed = mix(samples, noise, snr_db=level.draw(k_db), over=s.segment)
    return jnp.where(when & draws.happens(k_happens, level.probability), mixed, samples)


def _respond(key: jax.Array, samples: jax.Array, responses: Bank | None, probability: float) -> jax.Array:
    """Convolves with one response, drawn evenly from the bank. Responses of unit energy keep the level."""
    if responses is None or not probability:
        return samples
    k_which, k_happens = jax.random.split(key)
    which = jax.random.randint(k_which, (), 0, responses.spectra.shape[0])
    wet = convolve(samples, responses.spectra[which])
    return jnp.where(draws.happens(k_happens, probability), wet, samples)


def _filter(s: Settings, key: jax.Array, samples: jax.Array) -> jax.Array:
    low, high = s.chain.low_pass, s.chain.high_pass
    if not low.probability and not high.probability:
        return samples
    k = jax.random.split(key, 6)
    has_low = draws.happens(k[0], low.probability)
    has_high = has_low if s.chain.filters_together else draws.happens(k[2], high.probability)
    low_hz = jnp.where(has_low, draws.uniform(k[1], low.low_hz, low.high_hz), jnp.inf)
    high_hz = jnp.where(has_high, draws.uniform(k[3], high.low_hz, high.high_hz), 0.0)
    return cut_off(
        samples,
        sample_rate_hz=s.sample_rate_hz,
        low_pass_hz=low_hz,
        low_pass_slope=draws.uniform(k[4], low.low_slope, low.high_slope),
        high_pass_hz=high_hz,
        high_pass_slope=draws.uniform(k[5], high.low_slope, high.high_slope),
    )
