"""Runs a trained network in numpy alone, where JAX is not installed or would take too long to start.

It computes the forward pass in float32, as matrix products over a few segments at a time. It has the results of
`nafp.models.network.JaxNetwork` to 1e-4.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import ml_collections
import numpy as np

from nafp.audio import segments
from nafp.jobs import choices, threads
from nafp.models import (
    filterbank,
    front_ends,
    numpy_attention_residual,
    numpy_fingerprinter,
    numpy_layers,
    numpy_spectrogram,
    protocol,
)

if TYPE_CHECKING:
    from jaxtyping import Float, Float32

_BATCH = 32  # Segments that go through the last layers of an encoder together.
_BATCHES_A_THREAD = 2  # A pool of threads costs some milliseconds, a batch some tens of them.
_SHARE = 8  # Segments below which a thread is not worth its start.
_Encoder = Callable[[np.ndarray], np.ndarray]
# Name -> what computes features [B,D,S] from spectrograms [B,F,T], created from (variables, config.model).
_ENCODERS: dict[str, Callable[[Mapping[str, Any], ml_collections.ConfigDict], _Encoder]] = {
    "nafp": numpy_fingerprinter.Encoder,
    "audsearch": numpy_attention_residual.Encoder,
}


class NumpyNetwork:
    """A trained network that numpy runs, a `nafp.models.protocol.Network`.

    variables: "params" and "batch_stats", each nested by layer. bank: mel filters and window that came with the
    parameters; None computes them. A fingerprint depends on its segment alone, except with the front end "original":
    there, a call is a batch. Raises nafp.errors.Invalid for a configuration that it cannot run.
    """

    def __init__(
        self,
        variables: Mapping[str, Any],
        config: ml_collections.ConfigDict,
        *,
        identity: Mapping[str, Any],
        bank: filterbank.MelBank | None = None,
    ):
        model = config.model
        choices.require("config.model.name", model.name, tuple(_ENCODERS))
        self.config = config
        self.sample_rate_hz: int = config.audio.sample_rate_hz
        self.segment = segments.to_samples(config.audio.segment_s, self.sample_rate_hz)
        self.hop = segments.to_samples(config.audio.hop_s, self.sample_rate_hz)
        self.dim: int = model.dim
        self.batch_size = _BATCHES_A_THREAD * _BATCH * threads.n_threads()
        self.identity: Mapping[str, Any] = identity
        self._mel = dict(config.spectrogram.to_dict(), sample_rate_hz=self.sample_rate_hz, bank=bank)
        self._sees_batch = front_ends.of_settings(config.spectrogram).sees_batch
        self._encoder = _ENCODERS[model.name](variables, model)
        self._head = {k: np.asarray(v, np.float32) for k, v in variables["params"]["head"].items()}

    def __call__(self, waveforms: Float[np.ndarray, "n S"]) -> Float32[np.ndarray, "n D"]:
        """Computes the fingerprints of segments in -1..1: each of unit length. n may be 0."""
        waveforms = np.asarray(waveforms, np.float32)
        protocol.require_segments(self, waveforms)
        if not len(waveforms):
            return np.zeros((0, self.dim), np.float32)
        inputs = self._spectrograms(waveforms) if self._sees_batch else waveforms
        # Each thread takes a share of the segments. The threads of BLAS would share every product instead, and wait for
        # each other by spinning, which costs 8 times the CPU beside other work.
        shares = threads.shares(len(waveforms), n=threads.n_threads(), smallest=_SHARE)
        with threads.threads(len(shares)) as lend:
            return np.concatenate(lend(lambda share: self._batched(inputs[share]), shares))

    def track(self, samples: Float[np.ndarray, " S"]) -> Float32[np.ndarray, "n D"]:
        """Computes the fingerprints of a whole waveform at the hop."""
        protocol.require_sound(samples)
        return self(segments.frame(samples, segment=self.segment, hop=self.hop))

    def start(self, waveforms: Float32[np.ndarray, "B S"]) -> Float32[np.ndarray, "B D"]:
        """Computes the fingerprints of exactly `batch_size` segments, complete on return."""
        return self(waveforms)

    def at_hop(self, hop: int) -> NumpyNetwork:
        """Returns the same network with another hop, in samples."""
        other = copy.copy(self)
        other.hop = hop
        return other

    def _spectrograms(self, waveforms: np.ndarray) -> np.ndarray:
        return numpy_spectrogram.log_mel(waveforms, **self._mel)

    def _batched(self, inputs: np.ndarray) -> np.ndarray:
        return np.concatenate([self._fingerprint(inputs[i : i + _BATCH]) for i in range(0, len(inputs), _BATCH)])

    def _fingerprint(self, inputs: np.ndarray) -> np.ndarray:
        mel = inputs if self._sees_batch else self._spectrograms(inputs)
        return numpy_layers.encode(self._encoder(mel), self._head)


if TYPE_CHECKING:
    _conforms: type[protocol.Network] = NumpyNetwork
