"""The encoder of `nafp.models.fingerprinter` in numpy alone: spectrograms in, features out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import ml_collections
import numpy as np

import nafp.config
from nafp.jobs import choices
from nafp.models import numpy_layers

# Segments that go through a layer together: (number of layers, segments). The first layers take few, whose activations
# stay in the cache; the last layers take many, because their kernels are larger than their activations.
_GROUPS = ((4, 2), (4, 8))


class _Layer(NamedTuple):
    axis: int  # 1 frequency, 2 time.
    stride: int
    kernel: np.ndarray  # [3,C,D], depthwise [3,1,D].
    bias: np.ndarray  # [D]
    scale: np.ndarray  # Flat: [F'*T'*D] of layer_norm2d, else [D].
    shift: np.ndarray  # As `scale`.
    fixed: bool  # True with batch norm: its running statistics are part of scale and shift.


class Encoder:
    """Computes features [B,D,S] from spectrograms [B,F,T], S for each of D values of a fingerprint.

    Raises nafp.errors.Invalid for a configuration that it cannot run.
    """

    def __init__(self, variables: Mapping[str, Any], model: ml_collections.ConfigDict):
        choices.require("config.model.norm", model.norm, nafp.config.network.NORMS)
        choices.require("config.model.activation", model.activation, nafp.config.network.ACTIVATIONS)
        choices.require("config.model.activation_order", model.activation_order, nafp.config.network.ORDERS)
        choices.require("config.model.padding", model.padding, nafp.config.network.PADDINGS)
        self._dim = model.dim
        self._activate = numpy_layers.ACTIVATIONS[model.activation]
        self._activate_first = model.activation_order == "before_norm"
        self._padding, self._epsilon = model.padding, np.float32(model.epsilon)
        self._layers = _layers(variables, model)

    def __call__(self, mel: np.ndarray) -> np.ndarray:
        x, first = mel[..., None], 0  # [B,F,T,1]
        for n_layers, size in (*_GROUPS, (len(self._layers), len(mel))):
            group = self._layers[first : first + n_layers]
            first += n_layers
            x = np.concatenate([self._run(x[i : i + size], group) for i in range(0, len(x), size)])
        return x.reshape(len(x), self._dim, -1)

    def _run(self, x: np.ndarray, layers: Sequence[_Layer]) -> np.ndarray:
        for layer in layers:
            x = self._convolve(x, layer)
            if self._activate_first:
                self._normalise(self._activate(x), layer)
            else:
                self._activate(self._normalise(x, layer))
        return x

    def _convolve(self, x: np.ndarray, layer: _Layer) -> np.ndarray:
        """Convolves x [B,F,T,C] along the layer's axis, as one matrix product: [B,F',T',D]."""
        seen, kernel = numpy_layers.columns(x, layer.axis, layer.stride, self._padding), layer.kernel
        if x.shape[layer.axis] == 1:
            kernel = kernel[1:2]  # The outer taps meet only padding.
        if kernel.shape[1] < x.shape[3]:  # Depthwise: every channel has taps of its own.
            y = np.einsum("bftkc,kc->bftc", seen, kernel[:, 0])
        else:
            y = seen.reshape(-1, kernel.shape[0] * kernel.shape[1]) @ kernel.reshape(-1, kernel.shape[2])
            y = y.reshape(*seen.shape[:3], -1)
        y += layer.bias
        return y

    def _normalise(self, x: np.ndarray, layer: _Layer) -> np.ndarray:
        """Normalises x to mean 0 and variance 1 over the layer's axes, then scales and shifts it. Works in place."""
        rows = x.reshape(-1, len(layer.scale))  # A view: [B,F*T*C] or [B*F*T,C].
        if not layer.fixed:
            numpy_layers.normalise(rows, self._epsilon)
        rows *= layer.scale
        rows += layer.shift
        return x


def _layers(variables: Mapping[str, Any], model: ml_collections.ConfigDict) -> list[_Layer]:
    statistics = variables["batch_stats"] if model.norm == "batch_norm" else None
    layers = []
    for i, stride in enumerate(model.time_strides, 1):
        for name, axis, step in ((f"block{i}_time", 2, stride), (f"block{i}_frequency", 1, 2)):
            layers.append(_layer(name, axis, step, variables["params"][name], statistics, model.epsilon))
    return layers


def _layer(
    name: str,
    axis: int,
    stride: int,
    parameters: Mapping[str, Any],
    statistics: Mapping[str, Any] | None,
    epsilon: float,
) -> _Layer:
    p = {key: np.asarray(value, np.float32) for key, value in parameters.items()}
    scale, shift = p["norm_scale"].ravel(), p["norm_bias"].ravel()
    if statistics is not None:
        mean = np.asarray(statistics[f"{name}_mean"], np.float32).ravel()
        variance = np.asarray(statistics[f"{name}_variance"], np.float32).ravel()
        scale = scale / np.sqrt(variance + np.float32(epsilon))
        shift = shift - mean * scale
    kernel = p["kernel"].reshape(3, *p["kernel"].shape[2:])
    return _Layer(axis, stride, kernel, p["bias"], scale, shift, statistics is not None)
