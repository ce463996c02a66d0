"""Turns the convolutions of an ONNX graph into products of 8-bit integers, by the ranges that real segments have.

The ranges are fixed when the file is written, so that a fingerprint depends on its segment alone. Weights have a scale
for each output channel. Spectrogram, norms, activations and head stay in float32. A runtime that knows the pattern of
QuantizeLinear and DequantizeLinear around a convolution computes it in integers.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from nafp.models import onnx_graph, onnx_network
from nafp.models.onnx_graph import Graph, Node

_BATCH = 8  # Segments whose activations are looked at together.
# Weights have 7 bits: with 8, processors with AVX2 alone add up pairs of products in 16 bits, which overflow. There the
# mean cosine of fingerprints to those of float32 was .961 with 8 bits and .997 with 7.
_LARGEST = 63
_TINY = 1e-12  # Keeps the scale of a channel of zeros finite.


class _Range(NamedTuple):
    """The least and the largest value that was seen, 0 included."""

    low: float
    high: float

    @property
    def scale(self) -> np.ndarray:
        return np.float32(max(self.high - self.low, _TINY) / 255)

    @property
    def zero(self) -> np.ndarray:
        return np.uint8(np.clip(round(-self.low / float(self.scale)), 0, 255))


def quantised(graph: Graph, waveforms: np.ndarray, *, dim: int) -> Graph:
    """Returns the graph with convolutions in 8 bits.

    waveforms: real segments [n, S] that set the ranges, some hundreds of several recordings. dim: D of the output.
    Raises nafp.errors.Invalid if `onnx` or `onnxruntime` is missing.
    """
    convolutions = [node for node in graph.nodes if node.kind == "Conv"]
    fixed = [name for node in convolutions for name in node.inputs[1:] if name not in graph.constants]
    moving = [name for node in convolutions for name in (node.inputs[0], node.outputs[0])]
    model = graph.model(segment=waveforms.shape[1], dim=dim, about={}, more_outputs=[*fixed, *moving])
    ranges: dict[str, _Range] = {}
    arrays = {name: array for name, array in graph.constants.items() if array.dtype == np.float32}
    for i in range(0, len(waveforms), _BATCH):
        found = onnx_network.values(model, [*fixed, *moving], waveforms[i : i + _BATCH])
        arrays.update({name: found[name] for name in fixed})
        for name in moving:
            low, high = ranges.get(name, (0.0, 0.0))
            ranges[name] = _Range(min(low, float(found[name].min())), max(high, float(found[name].max())))
    result = Graph()
    result.constants.update(graph.constants)
    for node in graph.nodes:
        result.nodes += _converted(result, node, ranges, arrays) if node.kind == "Conv" else [node]
    onnx_graph.prune(result)
    return result


def _converted(graph: Graph, node: Node, ranges: dict[str, _Range], arrays: dict[str, np.ndarray]) -> list[Node]:
    """Returns the nodes that take the place of a convolution, and adds their constants."""
    x, kernel, bias = node.inputs
    (y,) = node.outputs
    weights = arrays[kernel]
    by_channel = np.maximum(np.abs(weights).reshape(len(weights), -1).max(axis=1), _TINY) / _LARGEST
    whole = np.round(weights / by_channel.reshape(-1, *[1] * (weights.ndim - 1)))
    bias_scale = (by_channel * ranges[x].scale).astype(np.float32)
    constants = {
        f"{y}_kernel": whole.astype(np.int8),
        f"{y}_kernel_scale": by_channel.astype(np.float32),
        f"{y}_kernel_zero": np.zeros(len(weights), np.int8),
        f"{y}_bias": np.round(arrays[bias] / bias_scale).astype(np.int32),
        f"{y}_bias_scale": bias_scale,
        f"{y}_bias_zero": np.zeros(len(weights), np.int32),
    }
    for name in (x, y):
        constants |= {f"{y}_{name}_scale": ranges[name].scale, f"{y}_{name}_zero": ranges[name].zero}
    graph.constants.update({name: np.asarray(array) for name, array in constants.items()})

    def rounded(name: str, source: str, target: str) -> list[Node]:
        by = [f"{y}_{name}_scale", f"{y}_{name}_zero"]
        middle = f"{target}_uint8"
        return [
            Node("QuantizeLinear", [source, *by], [middle], {}),
            Node("DequantizeLinear", [middle, *by], [target], {}),
        ]

    def restored(name: str) -> Node:
        by = [f"{y}_{name}_scale", f"{y}_{name}_zero"]
        return Node("DequantizeLinear", [f"{y}_{name}", *by], [f"{y}_{name}_float"], {"axis": 0})

    inputs = [f"{y}_input", f"{y}_kernel_float", f"{y}_bias_float"]
    convolution = Node("Conv", inputs, [f"{y}_exact"], node.attributes)
    return [
        *rounded(x, x, f"{y}_input"),
        restored("kernel"),
        restored("bias"),
        convolution,
        *rounded(y, f"{y}_exact", y),
    ]
