"""The interface of a trained network, which every runtime implements: JAX, numpy and ONNX Runtime."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from nafp import errors

if TYPE_CHECKING:
    import ml_collections
    from jaxtyping import Float, Float32


_HUGE = 2.0**32  # As in nafp.audio.decode: its square is still a float32.


class Network(Protocol):
    """A trained network, which computes the fingerprints of audio segments. `nafp.load` opens one.

    sample_rate_hz: rate of the audio it takes. segment, hop: number of samples in a segment, S, and between the starts
    of two segments. dim: number of values in a fingerprint, D. batch_size: number of segments that `start` takes, B.
    config: the configuration it was trained with. identity: digests of its parameters, its source and its step, see
    `nafp.models.identities`; fingerprints of two networks cannot be compared.
    """

    sample_rate_hz: int
    segment: int
    hop: int
    dim: int
    batch_size: int
    config: ml_collections.ConfigDict
    identity: Mapping[str, Any]

    def __call__(self, waveforms: Float[np.ndarray, "n S"]) -> Float32[np.ndarray, "n D"]:
        """Computes the fingerprints of segments in -1..1: each of unit length. n may be 0.

        A fingerprint depends on its segment alone. Raises nafp.Error for waveforms of another shape.
        """
        ...

    def track(self, samples: Float[np.ndarray, " S"]) -> Float32[np.ndarray, "n D"]:
        """Computes the fingerprints of a whole waveform at the hop. Raises nafp.Error for one that is no sound."""
        ...

    def start(self, waveforms: Float32[np.ndarray, "B S"]) -> Any:
        """Starts on exactly `batch_size` segments.

        Returns at once an array of B x D numbers, whose values `numpy.asarray` waits for.
        """
        ...

    def at_hop(self, hop: int) -> Network:
        """Returns the same network with another hop, in samples."""
        ...


def require_sound(samples: np.ndarray) -> None:
    """Raises nafp.errors.Invalid for samples that would give fingerprints that are no numbers."""
    if not (samples.max(initial=0) < _HUGE and samples.min(initial=0) > -_HUGE):  # False for NaN.
        raise errors.Invalid("the waveform has NaN, infinity or absurdly large samples in it; full scale is -1..1")


def require_segments(network: Network, waveforms: np.ndarray) -> None:
    """Raises nafp.errors.Invalid unless `waveforms` are segments of the network, [n, S]."""
    if waveforms.ndim != 2 or waveforms.shape[1] != network.segment:
        raise errors.Invalid(
            f"waveforms of shape {waveforms.shape}: need [n, {network.segment}], segments of "
            f"{network.config.audio.segment_s:g} s at {network.sample_rate_hz} Hz; a whole waveform goes into track()."
        )
