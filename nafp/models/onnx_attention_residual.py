"""Writes the encoder of `nafp.models.attention_residual` into an ONNX graph: spectrograms in, features out."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import ml_collections

from nafp.models import onnx_layers
from nafp.models.onnx_graph import Functions, Graph, Value, integers

_EPSILON = 1e-5  # As nafp.models.attention_residual has it, as well as the next.
_GAIN = 100.0


def encode(
    graph: Graph, mel: Value, variables: Mapping[str, Any], model: ml_collections.ConfigDict, *, shape: tuple[int, int]
) -> Value:
    """Adds the features [B,D,S] of spectrograms [B,F,T], S for each of D values of a fingerprint.

    shape: (F, T).
    """
    x = graph("Unsqueeze", mel, integers(1))  # [B,1,F,T]
    x = onnx_layers.relu(_convolve(x, "front", variables, stride=1))
    n_blocks = len(model.channels)
    for number in range(1, n_blocks + 1):
        x = _block(x, number, variables)
    n_channels = variables["params"][f"block{n_blocks}_second"]["kernel"].shape[3]
    n_places = math.prod(-(-n // 2 ** (n_blocks - 1)) for n in shape)  # Every block but the first halves both axes.
    return x.reshaped(0, model.dim, n_places * n_channels // model.dim)


def _block(x: Value, number: int, variables: Mapping[str, Any]) -> Value:
    first, second, shortcut = (f"block{number}_{place}" for place in ("first", "second", "shortcut"))
    stride = 1 if number == 1 else 2
    y = _attend(onnx_layers.relu(_convolve(x, first, variables, stride=stride)), first, variables)
    y = _convolve(y, second, variables, stride=1)
    if shortcut in variables["params"]:
        p = onnx_layers.parameters(x.graph, shortcut, variables)
        kernel = p["kernel"].transposed(1, 0).reshaped(0, 0, 1, 1)
        x = x.graph("Conv", x, kernel, p["bias"], strides=[stride, stride])
    return _attend(onnx_layers.relu(y + x), second, variables)


def _convolve(x: Value, name: str, variables: Mapping[str, Any], *, stride: int) -> Value:
    """Convolves x [B,C,F,T] with 3x3 taps, one zero around it, and normalises it: [B,D,F',T']."""
    p = onnx_layers.parameters(x.graph, name, variables)
    mean, variance = onnx_layers.running(x.graph, name, variables)
    scale = p["norm_scale"] / Functions(x.graph).sqrt(variance + _EPSILON)
    kernel = (p["kernel"] * scale).transposed(3, 2, 0, 1)
    shift = p["norm_bias"] + (p["bias"] - mean) * scale
    return x.graph("Conv", x, kernel, shift, pads=[1, 1, 1, 1], strides=[stride, stride])


def _attend(x: Value, name: str, variables: Mapping[str, Any]) -> Value:
    """Weighs x [B,C,F,T] by where it is in frequency and time."""
    graph, p = x.graph, onnx_layers.parameters(x.graph, name, variables)
    of_bins = x @ graph("Unsqueeze", p["spectral"], integers(2))  # [B,C,F,1]
    of_frames = graph("Unsqueeze", p["temporal"], integers(1)) @ x  # [B,C,1,T]
    of_bins = graph("Softmax", graph("Tanh", of_bins), axis=2)
    of_frames = graph("Softmax", graph("Tanh", of_frames), axis=3)
    return x * (of_bins * _GAIN * of_frames)
