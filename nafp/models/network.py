"""Turns a configuration into a model and its spectrogram, and runs a trained network under JAX."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, cast

import jax
import jax.numpy as jnp
import ml_collections
import numpy as np

import nafp.config
from nafp import models
from nafp.audio import segments
from nafp.models import filterbank, front_ends, protocol, spectrogram

if TYPE_CHECKING:
    import flax.linen as nn
    from jaxtyping import Array, Float, Float32

Variables = dict[str, Any]  # A tree as flax takes it: "params" and "batch_stats", each nested by layer.


def create(config: ml_collections.ConfigDict, *, dtype: str | None = None, axis_name: str | None = None) -> nn.Module:
    """Builds the model of config.model. dtype: type to compute in, in place of config.model.dtype."""
    ignored = nafp.config.network.ignored(config.model.name)
    chosen = {key: value for key, value in config.model.items() if f"model.{key}" not in ignored}
    if dtype:
        chosen["dtype"] = dtype
    return models.create(chosen.pop("name"), axis_name=axis_name, **chosen)


def mel_settings(config: ml_collections.ConfigDict, *, training: bool = False) -> dict[str, Any]:
    """Returns the keywords of `spectrogram.log_mel`. training: for the segments of training, in place of inference."""
    return dict(config.spectrogram.to_dict(), sample_rate_hz=config.audio.sample_rate_hz, training=training)


def mel_shape(config: ml_collections.ConfigDict) -> tuple[int, int]:
    """Returns (F, T), the shape of one segment's spectrogram."""
    segment = segments.to_samples(config.audio.segment_s, config.audio.sample_rate_hz)
    return config.spectrogram.n_mels, 1 + segment // config.spectrogram.stft_hop


def abstract_variables(config: ml_collections.ConfigDict) -> Variables:
    """Returns the network's variables as shapes and types, without computing them."""
    mel = jax.ShapeDtypeStruct((1, *mel_shape(config)), jnp.float32)
    shapes = jax.eval_shape(create(config).init, jax.random.key(0), mel)
    return {"params": shapes["params"], "batch_stats": shapes.get("batch_stats", {})}


class JaxNetwork:
    """A trained network that JAX runs on all local devices, a `nafp.models.protocol.Network`.

    One batch shape is compiled: smaller batches are padded, larger ones are cut. batch_size: segments in a batch,
    rounded up to a multiple of the devices. dtype: type of the products. A fingerprint depends on its segment alone,
    except with the front end "original", whose spectrograms depend on the batch of a device. Silence fills up a batch,
    and counts there.
    """

    def __init__(
        self,
        variables: Variables,
        config: ml_collections.ConfigDict,
        *,
        batch_size: int = 128,
        dtype: str = "float32",
        identity: Mapping[str, Any] | None = None,
    ):
        self.config = config
        self.identity: Mapping[str, Any] = identity or {}
        self.sample_rate_hz: int = config.audio.sample_rate_hz
        self.segment = segments.to_samples(config.audio.segment_s, self.sample_rate_hz)
        self.hop = segments.to_samples(config.audio.hop_s, self.sample_rate_hz)
        self.dim: int = config.model.dim
        self._devices = jax.local_devices()
        self.batch_size = -(-batch_size // len(self._devices)) * len(self._devices)
        model, mel = create(config, dtype=dtype), mel_settings(config)
        self._front_end = front_ends.of_settings(config.spectrogram)

        def fingerprint(variables: Variables, waveforms: jax.Array, filters: jax.Array | None = None) -> jax.Array:
            return cast(jax.Array, model.apply(variables, spectrogram.log_mel(waveforms, filters=filters, **mel)))

        self._variables = jax.tree.map(jnp.asarray, variables)
        if len(self._devices) > 1:
            self._variables = jax.pmap(lambda _, v: v, in_axes=(0, None))(np.arange(len(self._devices)), variables)
            self._run = jax.pmap(fingerprint)
        else:
            self._run = jax.jit(fingerprint)
        self._run_with = jax.jit(fingerprint)  # On one device: few segments have their own filters.

    def start(self, waveforms: Float32[np.ndarray, "B S"]) -> Float[Array, "*B D"]:
        """Starts on exactly `batch_size` segments and returns without waiting.

        Of n > 1 devices the result is [n, B / n, D], else [B, D].
        """
        if len(self._devices) > 1:
            waveforms = waveforms.reshape(len(self._devices), -1, waveforms.shape[-1])
        return self._run(self._variables, waveforms)

    def __call__(self, waveforms: Float[np.ndarray, "n S"]) -> Float32[np.ndarray, "n D"]:
        """Computes the fingerprints of segments in -1..1: each of unit length. n may be 0."""
        waveforms = np.asarray(waveforms, np.float32)
        protocol.require_segments(self, waveforms)
        parts = []
        for first in range(0, len(waveforms), self.batch_size):
            part = waveforms[first : first + self.batch_size]
            padded = np.zeros((self.batch_size, self.segment), np.float32)
            padded[: len(part)] = part
            parts.append(np.asarray(self.start(padded)).reshape(-1, self.dim)[: len(part)])
        return np.concatenate(parts) if parts else np.zeros((0, self.dim), np.float32)

    def transposed(self, waveforms: Float[np.ndarray, "n S"], ratios: Sequence[float]) -> Float32[np.ndarray, "R n D"]:
        """Computes the fingerprints of segments with a change of pitch undone. Their tempo stays."""
        waveforms = np.asarray(waveforms, np.float32)
        protocol.require_segments(self, waveforms)
        shape = (len(ratios), len(waveforms), self.dim)
        if self._front_end.sees_batch:
            return self(protocol.at_ratios(waveforms, ratios)).reshape(shape)
        filters = np.stack([bank.filters for bank in self._banks(ratios)])
        variables = self._variables if len(self._devices) == 1 else jax.tree.map(lambda v: v[0], self._variables)
        numbers, vectors = np.arange(shape[0] * shape[1]), np.zeros((0, self.dim), np.float32)
        for first in range(0, len(numbers), self.batch_size):
            ratio, row = np.divmod(np.resize(numbers[first : first + self.batch_size], self.batch_size), shape[1])
            batch = np.asarray(self._run_with(variables, waveforms[row], filters[ratio]))
            vectors = np.concatenate([vectors, batch[: len(numbers) - first]])
        return vectors.reshape(shape)

    def _banks(self, ratios: Sequence[float]) -> list[filterbank.MelBank]:
        names = ("n_fft", "n_mels", "low_hz", "high_hz")
        return filterbank.stretched(
            ratios,
            sample_rate_hz=self.sample_rate_hz,
            scale=self._front_end.scale,
            area_norm=self._front_end.area_norm,
            **{name: self.config.spectrogram[name] for name in names},
        )

    def track(self, samples: Float[np.ndarray, " S"]) -> Float32[np.ndarray, "n D"]:
        """Computes the fingerprints of a whole waveform at the hop."""
        protocol.require_sound(samples)
        return self(segments.frame(samples, segment=self.segment, hop=self.hop))

    def at_hop(self, hop: int) -> JaxNetwork:
        """Returns the same network with another hop, in samples."""
        other = copy.copy(self)
        other.hop = hop
        return other


if TYPE_CHECKING:
    _conforms: type[protocol.Network] = JaxNetwork
