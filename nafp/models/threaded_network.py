"""What networks that run on the threads of a CPU have in common: their sizes, and how segments are shared out."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Self

import ml_collections
import numpy as np

from nafp.audio import segments
from nafp.jobs import threads
from nafp.models import protocol

if TYPE_CHECKING:
    from jaxtyping import Float, Float32

_SHARE = 8  # Segments below which a thread is not worth its start.


class ThreadedNetwork:
    """The part of a `nafp.models.protocol.Network` that does not depend on what computes it.

    A network says in `_few` how it computes fingerprints, `_batch` segments at a time. `_batches_a_thread` of them make
    a thread's share of a full batch.
    """

    _batch: ClassVar[int]
    _batches_a_thread: ClassVar[int]

    def __init__(self, config: ml_collections.ConfigDict, *, identity: Mapping[str, Any]):
        self.config = config
        self.identity: Mapping[str, Any] = identity
        self.sample_rate_hz: int = config.audio.sample_rate_hz
        self.segment = segments.to_samples(config.audio.segment_s, self.sample_rate_hz)
        self.hop = segments.to_samples(config.audio.hop_s, self.sample_rate_hz)
        self.dim: int = config.model.dim
        self.batch_size = self._batches_a_thread * self._batch * threads.n_threads()

    def __call__(self, waveforms: Float[np.ndarray, "n S"]) -> Float32[np.ndarray, "n D"]:
        """Computes the fingerprints of segments in -1..1: each of unit length. n may be 0."""
        waveforms = np.asarray(waveforms, np.float32)
        protocol.require_segments(self, waveforms)
        if not len(waveforms):
            return np.zeros((0, self.dim), np.float32)
        return self._shared(self._prepared(waveforms), self._few)

    def transposed(self, waveforms: Float[np.ndarray, "n S"], ratios: Sequence[float]) -> Float32[np.ndarray, "R n D"]:
        """Computes the fingerprints of segments with a change of pitch undone, by resampling them."""
        waveforms = np.asarray(waveforms, np.float32)
        protocol.require_segments(self, waveforms)
        return self(protocol.at_ratios(waveforms, ratios)).reshape(len(ratios), len(waveforms), self.dim)

    def _shared(self, inputs: np.ndarray, few: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
        """Computes fingerprints [n, D] of n inputs on all threads. few: does so for up to `_batch` of them."""
        # Each thread takes a share of the segments. The threads of a library would share every product instead, and
        # wait for each other by spinning. Those of BLAS cost 8 times the CPU beside other work.
        shares = threads.shares(len(inputs), n=threads.n_threads(), smallest=_SHARE)
        with threads.threads(len(shares)) as lend:
            return np.concatenate(lend(lambda share: self._batched(inputs[share], few), shares))

    def track(self, samples: Float[np.ndarray, " S"]) -> Float32[np.ndarray, "n D"]:
        """Computes the fingerprints of a whole waveform at the hop."""
        protocol.require_sound(samples)
        return self(segments.frame(samples, segment=self.segment, hop=self.hop))

    def start(self, waveforms: Float32[np.ndarray, "B S"]) -> Float32[np.ndarray, "B D"]:
        """Computes the fingerprints of exactly `batch_size` segments, complete on return."""
        return self(waveforms)

    def at_hop(self, hop: int) -> Self:
        """Returns the same network with another hop, in samples."""
        other = copy.copy(self)
        other.hop = hop
        return other

    def _prepared(self, waveforms: np.ndarray) -> np.ndarray:
        """Returns what is shared out: the segments, or what has to be computed from all of them at once."""
        return waveforms

    def _batched(self, inputs: np.ndarray, few: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
        return np.concatenate([few(inputs[i : i + self._batch]) for i in range(0, len(inputs), self._batch)])

    def _few(self, inputs: np.ndarray) -> np.ndarray:
        """Computes the fingerprints [b, D] of a few of what `_prepared` returns."""
        raise NotImplementedError
