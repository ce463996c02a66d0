"""The interface of a trained network, which every runtime implements: JAX, numpy and ONNX Runtime."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from nafp import errors
from nafp.audio import rates

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

    def transposed(self, waveforms: Float[np.ndarray, "n S"], ratios: Sequence[float]) -> Float32[np.ndarray, "R n D"]:
        """Computes the fingerprints of segments with a change of pitch undone, once for each of R ratios.

        ratios: frequencies of the segments divided by those of their recordings; 1.06 for sound a semitone too high.
        The tempo stays as it is, where the runtime can see to that: numpy and JAX stretch the mel filters. ONNX Runtime
        takes waveforms alone, and gets them resampled, see `resampled`. Raises as a call does.
        """
        ...

    def at_hop(self, hop: int) -> Network:
        """Returns the same network with another hop, in samples."""
        ...


def resampled(waveforms: Float32[np.ndarray, "n S"], ratio: float) -> Float32[np.ndarray, "n S"]:
    """Undoes a change of pitch by playing segments `ratio` times slower. Their middle stays in the middle.

    The tempo changes with the pitch, what then sticks out is cut off, and what is missing is silence.
    """
    played = rates.resample(np.ascontiguousarray(waveforms.T), from_hz=1.0, to_hz=ratio).T
    missing = waveforms.shape[1] - played.shape[1]
    if missing >= 0:
        return np.pad(played, ((0, 0), (missing // 2, missing - missing // 2)))
    first = -missing // 2
    return np.ascontiguousarray(played[:, first : first + waveforms.shape[1]])


def at_ratios(waveforms: Float32[np.ndarray, "n S"], ratios: Sequence[float]) -> Float32[np.ndarray, "Rn S"]:
    """Undoes R changes of pitch by resampling, all segments of the first ratio first. n may be 0."""
    return np.concatenate([resampled(waveforms, ratio) for ratio in ratios]) if len(waveforms) else waveforms


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
