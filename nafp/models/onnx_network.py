"""Runs a trained network by ONNX Runtime, the only file that imports it. It needs numpy beside it, and no JAX."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import ml_collections
import numpy as np

from nafp import errors
from nafp.models import protocol, threaded_network

if TYPE_CHECKING:
    from jaxtyping import Float32


class OnnxNetwork(threaded_network.ThreadedNetwork):
    """A trained network that ONNX Runtime runs on CPU, a `nafp.models.protocol.Network`.

    model: what `nafp.models.onnx_writer` wrote, serialised. A fingerprint depends on its segment alone. Raises
    nafp.errors.Invalid if ONNX Runtime is missing or refuses the model.
    """

    _batch = 4  # Segments that go through the network together: their activations stay in the cache.
    _batches_a_thread = 16

    def __init__(self, model: bytes, config: ml_collections.ConfigDict, *, identity: Mapping[str, Any]):
        super().__init__(config, identity=identity)
        self._session = _opened(model)
        shapes = [
            [value.shape[1:] for value in values]
            for values in (self._session.get_inputs(), self._session.get_outputs())
        ]
        if shapes != [[[self.segment]], [[self.dim]]]:
            raise errors.Invalid(f"the ONNX graph has inputs and outputs {shapes}, not those of its configuration")
        self._input = self._session.get_inputs()[0].name

    def _few(self, inputs: np.ndarray) -> np.ndarray:
        return self._session.run(None, {self._input: np.ascontiguousarray(inputs)})[0]


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
