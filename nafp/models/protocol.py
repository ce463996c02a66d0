"""What a trained network is, whichever runtime computes it: JAX, numpy, and whatever follows."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

import ml_collections
import numpy as np


class Network(Protocol):
    """A trained network: segments of audio in, fingerprints out. `nafp.load` opens one.

    sample_rate_hz: the rate of the audio it takes. segment, hop: samples of one fingerprint, and from the start of one
    fingerprint to the next. dim: numbers in a fingerprint, D. batch_size: segments that `start` takes. config: the
    configuration it was trained with. identity: sha256 of its parameters, source, step; two networks whose sha256
    differs write fingerprints that cannot be compared.
    """

    sample_rate_hz: int
    segment: int
    hop: int
    dim: int
    batch_size: int
    config: ml_collections.ConfigDict
    identity: Mapping[str, Any]

    def __call__(self, waveforms: np.ndarray) -> np.ndarray:
        """Fingerprints segments [n, S] in -1..1: float32 [n, D] of unit length; n may be 0.

        A fingerprint depends on its segment alone. Raises nafp.Error for another shape.
        """
        ...

    def track(self, samples: np.ndarray) -> np.ndarray:
        """Fingerprints a whole waveform [S] at the hop: float32 [rows, D]."""
        ...

    def start(self, waveforms: np.ndarray) -> Any:
        """Starts on exactly `batch_size` segments, float32 [B, S].

        Returns an array of B x D numbers at once; `numpy.asarray` waits for its values.
        """
        ...

    def at_hop(self, hop: int) -> Network:
        """Returns the same network with another hop, in samples."""
        ...
