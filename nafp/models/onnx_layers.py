"""Writes the pieces of networks that several encoders share into an ONNX graph."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from nafp.models.onnx_graph import Functions, Graph, Value, integers

_TINY_LENGTH = 1e-12  # As nafp.models.head has it.
_HEAD_EPSILON = 1e-5  # As nafp.models.head has it.


def relu(x: Value) -> Value:
    """Adds a ReLU."""
    return x.graph("Relu", x)


def elu_above_0(x: Value) -> Value:
    """Adds ELU + 1, which a norm that follows turns into the same as ELU. It spares a pass over the activations.

    ONNX Runtime computes its own Elu value by value, which took a third of the time of a network.
    """
    return relu(x) + x.graph("Exp", x.graph("Min", x, 0.0))


def elu(x: Value) -> Value:
    """Adds an ELU."""
    return relu(x) + (x.graph("Exp", x.graph("Min", x, 0.0)) - 1)


def encode(graph: Graph, slices: Value, head: Mapping[str, np.ndarray]) -> Value:
    """Adds the head that encodes each of D slices [B,D,S] by a small network of its own: [B,D] of unit length.

    head: the parameters of `nafp.models.head.Declared`.
    """
    p = {name: graph.parameter(f"params/head/{name}", array) for name, array in head.items()}
    hidden = slices.transposed(1, 0, 2) @ p["hidden_kernel"]  # [D,B,U]
    hidden = elu(hidden + graph("Unsqueeze", p["hidden_bias"], integers(1)))
    if "norm_scale" in p:
        shape = head["norm_scale"].shape
        unit = graph("LayerNormalization", hidden, np.ones(shape[1]), axis=2, epsilon=_HEAD_EPSILON)
        hidden = unit * graph("Unsqueeze", p["norm_scale"], integers(1)) + graph(
            "Unsqueeze", p["norm_bias"], integers(1)
        )
    values = hidden @ graph("Unsqueeze", p["output_kernel"], integers(2))  # [D,B,1]
    values = graph("Squeeze", values, integers(2)).transposed(1, 0) + p["output_bias"]
    xp = Functions(graph)
    return values / xp.sqrt(xp.sum(values * values, axis=1) + _TINY_LENGTH)


ACTIVATIONS = {"elu": elu, "relu": relu}
