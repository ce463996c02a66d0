"""Runs a trained network by ONNX Runtime, the only file that imports it. It needs numpy beside it, and no JAX."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import ml_collections
import numpy as np

from nafp import errors
from nafp.audio import segments
from nafp.jobs import threads
from nafp.models import protocol

if TYPE_CHECKING:
    from jaxtyping import Float, Float32

_BATCH = 4  # Segments that go through the network together: their activations stay in the cache.
_SHARE = 8  # Segments below which a thread is not worth its start.
_BATCHES_A_THREAD = 16


class OnnxNetwork:
    """A trained network that ONNX Runtime runs on CPU, a `nafp.models.protocol.Network`.

    model: what `nafp.models.onnx_writer` wrote, serialised. A fingerprint depends on its segment alone. Raises
    nafp.errors.Invalid if ONNX Runtime is missing or refuses the model.
    """

    def __init__(self, model: bytes, config: ml_collections.ConfigDict, *, identity: Mapping[str, Any]):
        self.config = config
        self.identity: Mapping[str, Any] = identity
        self.sample_rate_hz: int = config.audio.sample_rate_hz
        self.segment = segments.to_samples(config.audio.segment_s, self.sample_rate_hz)
        self.hop = segments.to_samples(config.audio.hop_s, self.sample_rate_hz)
        self.dim: int = config.model.dim
        self.batch_size = _BATCHES_A_THREAD * _BATCH * threads.n_threads()
        self._session = _opened(model)
        shapes = [
            [value.shape[1:] for value in values]
            for values in (self._session.get_inputs(), self._session.get_outputs())
        ]
        if shapes != [[[self.segment]], [[self.dim]]]:
            raise errors.Invalid(f"the ONNX graph has inputs and outputs {shapes}, not those of its configuration")
        self._input = self._session.get_inputs()[0].name

    def __call__(self, waveforms: Float[np.ndarray, "n S"]) -> Float32[np.ndarray, "n D"]:
        """Computes the fingerprints of segments in -1..1: each of unit length. n may be 0."""
        waveforms = np.ascontiguousarray(waveforms, np.float32)
        protocol.require_segments(self, waveforms)
        if not len(waveforms):
            return np.zeros((0, self.dim), np.float32)
        # A session has one thread, as its own would wait for each other by spinning.
        shares = threads.shares(len(waveforms), n=threads.n_threads(), smallest=_SHARE)
        with threads.threads(len(shares)) as lend:
            return np.concatenate(lend(lambda share: self._batched(waveforms[share]), shares))

    def track(self, samples: Float[np.ndarray, " S"]) -> Float32[np.ndarray, "n D"]:
        """Computes the fingerprints of a whole waveform at the hop."""
        protocol.require_sound(samples)
        return self(segments.frame(samples, segment=self.segment, hop=self.hop))

    def start(self, waveforms: Float32[np.ndarray, "B S"]) -> Float32[np.ndarray, "B D"]:
        """Computes the fingerprints of exactly `batch_size` segments, complete on return."""
        return self(waveforms)

    def at_hop(self, hop: int) -> OnnxNetwork:
        """Returns the same network with another hop, in samples."""
        other = copy.copy(self)
        other.hop = hop
        return other

    def _batched(self, waveforms: np.ndarray) -> np.ndarray:
        parts = (waveforms[i : i + _BATCH] for i in range(0, len(waveforms), _BATCH))
        return np.concatenate([self._session.run(None, {self._input: part})[0] for part in parts])


def values(model: bytes, names: Sequence[str], waveforms: Float32[np.ndarray, "n S"]) -> dict[str, np.ndarray]:
    """Returns what outputs of a graph are for some segments. Errors as of `OnnxNetwork`."""
    session = _opened(model)
    return dict(zip(names, session.run(list(names), {session.get_inputs()[0].name: waveforms})))


def _opened(model: bytes) -> Any:
    try:
        import onnxruntime
    except ModuleNotFoundError as error:
        raise errors.Invalid("--runtime=onnx needs the package onnxruntime: pip install 'nafp[onnx]'") from error
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 3  # Errors, which are raised as well.
    try:
        return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # It has an exception for each of its status codes, and none that they share.
        reason = str(error).partition("\n")[0][:200]
        raise errors.Invalid(f"ONNX Runtime cannot run the network: {reason}") from error


if TYPE_CHECKING:
    _conforms: type[protocol.Network] = OnnxNetwork
