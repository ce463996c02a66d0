"""Writes the pieces of networks that several encoders share into an ONNX graph."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from nafp.models.onnx_graph import Functions, Graph, Value, integers

_TINY_LENGTH = 1e-12  # As nafp.models.head has it.
_HEAD_EPSILON = 1e-5  # As nafp.models.head has it.


def relu(x: Value) -> Value:
    """Adds a ReLU."""
    return x.graph("Relu", x)


def elu_above_0(x: Value) -> Value:
    """Adds ELU + 1, which a norm that follows turns into the same as ELU. It spares a pass over the activations.

    ONNX Runtime computes its own Elu value by value, which took a third of the time of a network. It keeps a Relu in
    the layout of its convolutions, from which the other half would have to be brought back as well: Max spares that.
    """
    return x.graph("Max", x, 0.0) + x.graph("Exp", x.graph("Min", x, 0.0))


def elu(x: Value) -> Value:
    """Adds an ELU."""
    return relu(x) + (x.graph("Exp", x.graph("Min", x, 0.0)) - 1)


def parameters(graph: Graph, name: str, variables: Mapping[str, Any]) -> dict[str, Value]:
    """Returns the parameters of a layer by their names."""
    return {key: graph.parameter(f"params/{name}/{key}", array) for key, array in variables["params"][name].items()}


def running(graph: Graph, name: str, variables: Mapping[str, Any]) -> tuple[Value, Value]:
    """Returns mean and variance [D] that the batch norm of a layer keeps."""
    names = [f"{name}_{kind}" for kind in ("mean", "variance")]
    mean, variance = (graph.parameter(f"batch_stats/{key}", variables["batch_stats"][key]) for key in names)
    return mean.reshaped(-1), variance.reshaped(-1)


def encode(graph: Graph, slices: Value, variables: Mapping[str, Any]) -> Value:
    """Adds the head that encodes each of D slices [B,D,S] by a small network of its own: [B,D] of unit length."""
    p = parameters(graph, "head", variables)
    hidden = slices.transposed(1, 0, 2) @ p["hidden_kernel"]  # [D,B,U]
    hidden = elu(hidden + graph("Unsqueeze", p["hidden_bias"], integers(1)))
    if "norm_scale" in p:
        n_hidden = variables["params"]["head"]["norm_scale"].shape[1]
        hidden = graph("LayerNormalization", hidden, np.ones(n_hidden), axis=2, epsilon=_HEAD_EPSILON)
        hidden = hidden * graph("Unsqueeze", p["norm_scale"], integers(1))
        hidden = hidden + graph("Unsqueeze", p["norm_bias"], integers(1))
    values = hidden @ graph("Unsqueeze", p["output_kernel"], integers(2))  # [D,B,1]
    values = graph("Squeeze", values, integers(2)).transposed(1, 0) + p["output_bias"]
    xp = Functions(graph)
    return values / xp.sqrt(xp.sum(values * values, axis=1) + _TINY_LENGTH)


ACTIVATIONS = {"elu": elu, "relu": relu}
