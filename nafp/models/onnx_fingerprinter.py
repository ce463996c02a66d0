"""Writes the encoder of `nafp.models.fingerprinter` into an ONNX graph: spectrograms in, features out."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import ml_collections

import nafp.config
from nafp.jobs import choices
from nafp.models import onnx_layers
from nafp.models.onnx_graph import Functions, Graph, Value, integers

_TAPS = 3
# ONNX Runtime adds the values of a LayerNormalization one by one. Of half a million, fingerprints were off by 5e-5.
_SUMMED_AT_ONCE = 2**17
_PARTS = 512


class _Layer(NamedTuple):
    """One convolution with its norm. kernel: [3,1,C,D] or [1,3,C,D], depthwise with C = 1."""

    axis: int  # 0 frequency, 1 time.
    stride: int
    n_positions: int  # Length of the input along the axis.
    shape: tuple[int, int, int]  # [F,T,D] of the output.
    kernel: Value
    bias: Value
    scale: Value
    shift: Value
    statistics: tuple[Value, Value] | None  # Mean and variance of batch norm, [D].
    n_groups: int


def encode(
    graph: Graph, mel: Value, variables: Mapping[str, Any], model: ml_collections.ConfigDict, *, shape: tuple[int, int]
) -> Value:
    """Adds the features [B,D,S] of spectrograms [B,F,T], S for each of D values of a fingerprint.

    shape: (F, T). Raises nafp.errors.Invalid for a configuration that it cannot write.
    """
    choices.require("config.model.norm", model.norm, nafp.config.network.NORMS)
    choices.require("config.model.activation", model.activation, nafp.config.network.ACTIVATIONS)
    choices.require("config.model.activation_order", model.activation_order, nafp.config.network.ORDERS)
    choices.require("config.model.padding", model.padding, nafp.config.network.PADDINGS)
    x, sizes = graph("Unsqueeze", mel, integers(1)), list(shape)  # [B,1,F,T]
    for i, stride in enumerate(model.time_strides, 1):
        for name, axis, step in ((f"block{i}_time", 1, stride), (f"block{i}_frequency", 0, 2)):
            depthwise = bool(model.depthwise) and axis == 0
            layer = _layer(graph, name, variables, axis=axis, stride=step, sizes=sizes, depthwise=depthwise)
            x = _apply(x, layer, model)
            sizes[axis] = layer.shape[axis]
    return x.transposed(0, 2, 3, 1).reshaped(0, model.dim, math.prod(layer.shape) // model.dim)


def _layer(
    graph: Graph,
    name: str,
    variables: Mapping[str, Any],
    *,
    axis: int,
    stride: int,
    sizes: Sequence[int],
    depthwise: bool,
) -> _Layer:
    """Returns a layer with its parameters. sizes: [F,T] of its input."""
    p = onnx_layers.parameters(graph, name, variables)
    batch_norm = f"{name}_mean" in variables["batch_stats"]
    statistics = onnx_layers.running(graph, name, variables) if batch_norm else None
    n_outputs = variables["params"][name]["kernel"].shape[3]
    n_bins, n_frames = (-(-n // stride) if a == axis else n for a, n in enumerate(sizes))
    n_groups = n_outputs if depthwise else 1
    kernel, bias, scale, shift = (p[key] for key in ("kernel", "bias", "norm_scale", "norm_bias"))
    shape = (n_bins, n_frames, n_outputs)
    return _Layer(axis, stride, sizes[axis], shape, kernel, bias, scale, shift, statistics, n_groups)


def _apply(x: Value, layer: _Layer, model: ml_collections.ConfigDict) -> Value:
    x = _convolve(x, layer, model.padding)
    if model.norm != "layer_norm2d":
        return _activated_and_normalised(x, layer, model)
    # With arrays of this shape ONNX Runtime takes a tenth less time for the whole network.
    x = _activated_and_normalised(x.reshaped(0, 1, math.prod(layer.shape)), layer, model)
    n_bins, n_frames, n_outputs = layer.shape
    return x.reshaped(0, n_outputs, n_bins, n_frames)


def _activated_and_normalised(x: Value, layer: _Layer, model: ml_collections.ConfigDict) -> Value:
    if model.activation_order == "after_norm":
        return onnx_layers.ACTIVATIONS[model.activation](_normalise(x, layer, model, raised_by=0))
    if model.activation == "elu":
        return _normalise(onnx_layers.elu_above_0(x), layer, model, raised_by=1)
    return _normalise(onnx_layers.relu(x), layer, model, raised_by=0)


def _convolve(x: Value, layer: _Layer, padding: str) -> Value:
    """Convolves x [B,C,F,T] along the layer's axis: [B,D,F',T']."""
    kernel, axis, n, stride = layer.kernel.transposed(3, 2, 0, 1), layer.axis, layer.n_positions, layer.stride
    pads, strides = [0, 0, 0, 0], [1, 1]
    if n == 1:
        kernel = kernel.sliced(1, 2, axis=2 + axis)  # The outer taps meet only padding.
    else:
        total = max((-(-n // stride) - 1) * stride + _TAPS - n, 0)
        before, after = (1, 1) if padding == "symmetric" else (total // 2, total - total // 2)
        pads[axis], pads[axis + 2], strides[axis] = before, after, stride
    return x.graph("Conv", x, kernel, layer.bias, pads=pads, strides=strides, group=layer.n_groups)


def _normalise(x: Value, layer: _Layer, model: ml_collections.ConfigDict, *, raised_by: float) -> Value:
    """Normalises x [B,C,F,T], of layer_norm2d [B,1,C*F*T], then scales and shifts it.

    raised_by: what x is above its true value everywhere.
    """
    graph, epsilon = x.graph, float(model.epsilon)
    if model.norm == "layer_norm2d":
        scale, shift = (value.transposed(2, 0, 1).reshaped(-1) for value in (layer.scale, layer.shift))
        if math.prod(layer.shape) > _SUMMED_AT_ONCE:
            return _normalise_many(x, math.prod(layer.shape), epsilon) * scale + shift
        return graph("LayerNormalization", x, scale, shift, axis=-1, epsilon=epsilon)
    if model.norm == "layer_norm1d":
        last = x.transposed(0, 2, 3, 1)
        return graph("LayerNormalization", last, layer.scale, layer.shift, axis=3, epsilon=epsilon).transposed(
            0, 3, 1, 2
        )
    assert layer.statistics is not None
    mean, variance = layer.statistics
    xp = Functions(graph)
    scale = layer.scale / xp.sqrt(variance + epsilon)
    shift = layer.shift - (mean + raised_by) * scale
    shape = (1, -1, 1, 1)
    return x * scale.reshaped(*shape) + shift.reshaped(*shape)


def _normalise_many(x: Value, n: int, epsilon: float) -> Value:
    """Brings each row of x [B,1,n] to mean 0 and variance 1. Sums of parts are summed, which rounds far less."""
    xp, n_parts = Functions(x.graph), math.gcd(n, _PARTS)
    parts = x.reshaped(0, n_parts, n // n_parts)
    means, squares = (xp.mean(values, 2).reshaped(0, 1, n_parts) for values in (parts, parts * parts))
    # A single row would be summed in another order than several, and a fingerprint depend on its batch.
    both = xp.mean(x.graph("Concat", means, squares, axis=1), 2)
    mean, square = both.sliced(0, 1, axis=1), both.sliced(1, 2, axis=1)
    return (x - mean) / xp.sqrt(square - mean * mean + epsilon)
