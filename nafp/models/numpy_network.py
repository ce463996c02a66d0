"""Runs a trained network in numpy alone, where JAX is not installed or would take too long to start.

It computes the forward pass in float32, as matrix products over a few segments at a time. It has the results of
`nafp.models.network.JaxNetwork` to 1e-4.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import ml_collections
import numpy as np

from nafp.jobs import choices, threads
from nafp.models import (
    filterbank,
    front_ends,
    numpy_attention_residual,
    numpy_fingerprinter,
    numpy_layers,
    numpy_spectrogram,
    protocol,
    threaded_network,
)

_Encoder = Callable[[np.ndarray], np.ndarray]
# Name -> what computes features [B,D,S] from spectrograms [B,F,T], created from (variables, config.model).
_ENCODERS: dict[str, Callable[[Mapping[str, Any], ml_collections.ConfigDict], _Encoder]] = {
    "nafp": numpy_fingerprinter.Encoder,
    "audsearch": numpy_attention_residual.Encoder,
}


class NumpyNetwork(threaded_network.ThreadedNetwork):
    """A trained network that numpy runs, a `nafp.models.protocol.Network`.

    variables: "params" and "batch_stats", each nested by layer. bank: mel filters and window that came with the
    parameters; None computes them. A fingerprint depends on its segment alone, except with the front end "original":
    there, a call is a batch. Raises nafp.errors.Invalid for a configuration that it cannot run.
    """

    _batch = 32  # Segments that go through the last layers of an encoder together.
    _batches_a_thread = 2  # A pool of threads costs some milliseconds, a batch some tens of them.

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
        super().__init__(config, identity=identity)
        self._mel = dict(config.spectrogram.to_dict(), sample_rate_hz=self.sample_rate_hz, bank=bank)
        self._sees_batch = front_ends.of_settings(config.spectrogram).sees_batch
        self._encoder = _ENCODERS[model.name](variables, model)
        self._head = {k: np.asarray(v, np.float32) for k, v in variables["params"]["head"].items()}

    def transposed(self, waveforms: Float[np.ndarray, "n S"], ratios: Sequence[float]) -> Float32[np.ndarray, "R n D"]:
        """Computes the fingerprints of segments with a change of pitch undone. Their tempo stays."""
        if self._sees_batch or not len(waveforms):
            return super().transposed(waveforms, ratios)
        waveforms = np.asarray(waveforms, np.float32)
        protocol.require_segments(self, waveforms)
        with threads.threads(1):  # Left alone, the threads of BLAS spin through these products, see `_shared`.
            mel = numpy_spectrogram.transposed(waveforms, ratios, **self._mel)  # [R,n,F,T]
        vectors = self._shared(mel.reshape(-1, *mel.shape[2:]), self._encoded)
        return vectors.reshape(len(ratios), len(waveforms), self.dim)

    def _prepared(self, waveforms: np.ndarray) -> np.ndarray:
        return self._spectrograms(waveforms) if self._sees_batch else waveforms

    def _spectrograms(self, waveforms: np.ndarray) -> np.ndarray:
        return numpy_spectrogram.log_mel(waveforms, **self._mel)

    def _few(self, inputs: np.ndarray) -> np.ndarray:
        return self._encoded(inputs if self._sees_batch else self._spectrograms(inputs))

    def _encoded(self, mel: np.ndarray) -> np.ndarray:
        return numpy_layers.encode(self._encoder(mel), self._head)


if TYPE_CHECKING:
    from jaxtyping import Float, Float32

    _conforms: type[protocol.Network] = NumpyNetwork
