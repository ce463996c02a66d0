"""Configuration -> network: the one place where settings become a model and a front end."""

from __future__ import annotations

import copy
import hashlib
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import ml_collections
import numpy as np

from nafp import models
from nafp.audio import segments
from nafp.models import spectrogram


def create(config: ml_collections.ConfigDict, *, dtype: str | None = None, axis_name: str | None = None) -> Any:
    """Builds config.model; `dtype` overrides its compute type, e.g. float32 for extraction."""
    settings = config.model.to_dict()
    if dtype:
        settings["dtype"] = dtype
    return models.create(settings.pop("name"), axis_name=axis_name, **settings)


def mel_settings(config: ml_collections.ConfigDict) -> dict[str, Any]:
    """Returns the keywords of `spectrogram.log_mel`."""
    return dict(config.spectrogram.to_dict(), sample_rate_hz=config.audio.sample_rate_hz)


def mel_shape(config: ml_collections.ConfigDict) -> tuple[int, int]:
    """Returns (F, T) of one segment."""
    segment = segments.to_samples(config.audio.segment_s, config.audio.sample_rate_hz)
    return config.spectrogram.n_mels, 1 + segment // config.spectrogram.stft_hop


def abstract_variables(config: ml_collections.ConfigDict) -> Any:
    """Returns the shapes of the network's variables without computing them."""
    mel = jax.ShapeDtypeStruct((1, *mel_shape(config)), jnp.float32)
    shapes = jax.eval_shape(create(config).init, jax.random.key(0), mel)
    return {"params": shapes["params"], "batch_stats": shapes.get("batch_stats", {})}


def identity(variables: Any, *, source: str, step: int) -> dict[str, Any]:
    """Names a trained network by the SHA-256 of its parameters, and says where it came from."""
    digest = hashlib.sha256()
    for path, leaf in sorted(jax.tree_util.tree_flatten_with_path(variables)[0], key=lambda item: str(item[0])):
        digest.update(str(path).encode())
        digest.update(np.ascontiguousarray(leaf, np.float32).tobytes())
    return {"sha256": digest.hexdigest(), "source": source, "step": step}


class JaxNetwork:
    """A trained network, jitted over all local devices; a `nafp.models.protocol.Network`.

    One shape is compiled: smaller batches are padded, larger ones cut. A fingerprint depends on its segment
    alone, not on its batch mates.
    """

    def __init__(
        self,
        variables: Any,
        config: ml_collections.ConfigDict,
        *,
        batch_size: int = 128,
        dtype: str = "float32",
        identity: Mapping[str, Any] | None = None,
    ):
        self.config = config
        self.identity = identity or {}
        self.sample_rate_hz = config.audio.sample_rate_hz
        self.segment = segments.to_samples(config.audio.segment_s, self.sample_rate_hz)
        self.hop = segments.to_samples(config.audio.hop_s, self.sample_rate_hz)
        self.dim = config.model.dim
        self._devices = jax.local_devices()
        self.batch_size = -(-batch_size // len(self._devices)) * len(self._devices)
        model, mel = create(config, dtype=dtype), mel_settings(config)

        def fingerprint(variables, waveforms):
            return model.apply(variables, spectrogram.log_mel(waveforms, **mel))

        self._variables = jax.tree.map(jnp.asarray, variables)
        if len(self._devices) > 1:
            self._variables = jax.pmap(lambda _, v: v, in_axes=(0, None))(np.arange(len(self._devices)), variables)
            self._run = jax.pmap(fingerprint)
        else:
            self._run = jax.jit(fingerprint)

    def start(self, waveforms: np.ndarray) -> jax.Array:
        """Starts on exactly `batch_size` segments [B, S] float32 and returns without waiting: [B, D]."""
        if len(self._devices) > 1:
            waveforms = waveforms.reshape(len(self._devices), -1, waveforms.shape[-1])
        return self._run(self._variables, waveforms)

    def __call__(self, waveforms: np.ndarray) -> np.ndarray:
        """Fingerprints segments [n, S] in -1..1: float32 [n, D] of unit length; n may be 0."""
        waveforms = np.asarray(waveforms, np.float32)
        parts = []
        for first in range(0, len(waveforms), self.batch_size):
            part = waveforms[first : first + self.batch_size]
            padded = np.zeros((self.batch_size, self.segment), np.float32)
            padded[: len(part)] = part
            parts.append(np.asarray(self.start(padded)).reshape(-1, self.dim)[: len(part)])
        return np.concatenate(parts) if parts else np.zeros((0, self.dim), np.float32)

    def track(self, samples: np.ndarray) -> np.ndarray:
        """Fingerprints a whole waveform [S] at the hop: float32 [rows, D]."""
        return self(segments.frame(samples, segment=self.segment, hop=self.hop))

    def at_hop(self, hop: int) -> JaxNetwork:
        """Returns the same network with another hop, in samples."""
        other = copy.copy(self)
        other.hop = hop
        return other
