"""Collects the nodes of an ONNX graph and writes them. It is the only file that imports `onnx`.

Graphs are of operators that every runtime has, ONNX Runtime Web included: opset 17, without control flow, functions or
data in other files. Parameters keep the names, layouts and types that exported networks have. What prepares them for
the graph is written as nodes, too, which a runtime computes once, when it opens the file.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, Union

import numpy as np

from nafp import errors

OPSET = 17  # The first with LayerNormalization.
IR_VERSION = 8  # The one that came with the opset.
SPARSE = ("values", "places", "shape")  # What `Graph.sparse` writes.
INPUT, OUTPUT = "waveform", "fingerprint"

_Operand = Union["Value", np.ndarray, np.generic, float]


class Value:
    """What a node of a graph gives: an array of float32 that can be calculated with, as with one of numpy."""

    __array_ufunc__ = None  # Makes numpy leave `array @ value` to __rmatmul__.

    def __init__(self, graph: Graph, name: str):
        self.graph, self.name = graph, name

    def __add__(self, other: _Operand) -> Value:
        return self.graph("Add", self, other)

    def __radd__(self, other: _Operand) -> Value:
        return self.graph("Add", other, self)

    def __sub__(self, other: _Operand) -> Value:
        return self.graph("Sub", self, other)

    def __rsub__(self, other: _Operand) -> Value:
        return self.graph("Sub", other, self)

    def __mul__(self, other: _Operand) -> Value:
        return self.graph("Mul", self, other)

    def __rmul__(self, other: _Operand) -> Value:
        return self.graph("Mul", other, self)

    def __truediv__(self, other: _Operand) -> Value:
        return self.graph("Div", self, other)

    def __matmul__(self, other: _Operand) -> Value:
        return self.graph("MatMul", self, other)

    def __rmatmul__(self, other: _Operand) -> Value:
        return self.graph("MatMul", other, self)

    def __pow__(self, power: int) -> Value:
        if power != 2:
            raise NotImplementedError(f"power {power}")
        return self * self

    def reshaped(self, *shape: int) -> Value:
        """Returns the same numbers in another shape. 0 keeps the length of an axis, -1 follows from the others."""
        return self.graph("Reshape", self, integers(*shape))

    def transposed(self, *axes: int) -> Value:
        """Returns the array with its axes in another order."""
        return self.graph("Transpose", self, perm=list(axes))

    def sliced(self, start: int, stop: int, *, axis: int, step: int = 1) -> Value:
        """Returns a part of the array along an axis."""
        return self.graph("Slice", self, integers(start), integers(stop), integers(axis), integers(step))


class Node(NamedTuple):
    """One operation. inputs, outputs: names of values."""

    kind: str
    inputs: list[str]
    outputs: list[str]
    attributes: dict[str, Any]


class Graph:
    """An ONNX graph that grows node by node. A call adds one and returns its value.

    graph = Graph()
    y = graph("Relu", graph.input + 1)

    nodes: in an order that each comes after those it needs. constants: arrays by name.
    """

    def __init__(self) -> None:
        self.nodes: list[Node] = []
        self.constants: dict[str, np.ndarray] = {}
        self._unnamed: dict[tuple[str, tuple[int, ...], bytes], Value] = {}
        self.input = Value(self, INPUT)

    def __call__(self, kind: str, *inputs: _Operand, **attributes: Any) -> Value:
        """Adds a node of one output. Arrays and numbers among the inputs become constants."""
        return self._node(kind, inputs, 1, attributes)[0]

    def split(self, x: Value, *sizes: int, axis: int) -> list[Value]:
        """Cuts an array along an axis into parts of these sizes."""
        return self._node("Split", (x, integers(*sizes)), len(sizes), {"axis": axis})

    def parameter(self, name: str, array: np.ndarray) -> Value:
        """Adds an array under its name, in its type. Those of float16 are calculated with in float32."""
        self.constants[name] = np.array(array, order="C")
        value = Value(self, name)
        return value if array.dtype == np.float32 else self("Cast", value, to=_FLOAT)

    def sparse(self, name: str, array: np.ndarray) -> Value:
        """Adds an array [n,m] of float32 under its name, as the values that are not 0 and their places.

        `nafp.weights.onnx_files` puts them back. A runtime does so once, when it opens the file.
        """
        places = np.flatnonzero(array)[:, None]
        parts = dict(zip(SPARSE, (array.ravel()[places[:, 0]], places, np.array(array.shape, np.int64))))
        self.constants.update({f"{name}/{part}": values for part, values in parts.items()})
        zeros = self("Pad", np.zeros(1), integers(0, array.size - 1))
        filled = self("ScatterND", zeros, *(Value(self, f"{name}/{part}") for part in ("places", "values")))
        return self("Reshape", filled, Value(self, f"{name}/shape"))

    def constant(self, x: _Operand) -> Value:
        """Returns a value as it is, and anything else as a constant. Equal constants are kept once."""
        if isinstance(x, Value):
            return x
        whole = isinstance(x, np.ndarray) and x.dtype == np.int64
        array = np.array(x, np.int64 if whole else np.float32, order="C")
        key = (array.dtype.name, array.shape, array.tobytes())
        if key not in self._unnamed:
            name = f"constant{len(self._unnamed)}"
            self.constants[name] = array
            self._unnamed[key] = Value(self, name)
        return self._unnamed[key]

    def finish(self, x: Value) -> None:
        """Declares a value as the output of the graph."""
        self.nodes.append(Node("Identity", [x.name], [OUTPUT], {}))

    def model(self, *, segment: int, dim: int, about: Mapping[str, str], more_outputs: Sequence[str] = ()) -> bytes:
        """Serialises the graph, checked by ONNX's own checker. Equal graphs give equal bytes.

        segment, dim: lengths of a row of the input and of the output. about: the metadata. more_outputs: names of
        values that are outputs, too, of float32. Raises nafp.errors.Invalid if `onnx` is not installed.
        """
        onnx = _library()
        nodes = [
            onnx.helper.make_node(kind, inputs, outputs, name=outputs[0], **attributes)
            for kind, inputs, outputs, attributes in self.nodes
        ]
        constants = [onnx.numpy_helper.from_array(array, name) for name, array in self.constants.items()]
        rows = [
            onnx.helper.make_tensor_value_info(name, _FLOAT, ["n", width])
            for name, width in ((INPUT, segment), (OUTPUT, dim))
        ]
        rows += [onnx.helper.make_tensor_value_info(name, _FLOAT, None) for name in more_outputs]
        graph = onnx.helper.make_graph(nodes, "nafp", rows[:1], rows[1:], constants)
        opsets = [onnx.helper.make_opsetid("", OPSET)]
        model = onnx.helper.make_model(graph, opset_imports=opsets, ir_version=IR_VERSION, producer_name="nafp")
        onnx.helper.set_model_props(model, dict(about))
        if not more_outputs:  # Whose shapes are left open, which the checker does not take.
            onnx.checker.check_model(model, full_check=True)
        return model.SerializeToString(deterministic=True)

    def _node(self, kind: str, inputs: Sequence[_Operand], n_outputs: int, attributes: dict[str, Any]) -> list[Value]:
        names = [self.constant(x).name for x in inputs]
        stem = f"{kind}{len(self.nodes)}"
        outputs = [stem] if n_outputs == 1 else [f"{stem}_{i}" for i in range(n_outputs)]
        self.nodes.append(Node(kind, names, outputs, attributes))
        return [Value(self, name) for name in outputs]


class Functions:
    """The functions of numpy that front ends call, for values of a graph: their `xp`.

    An axis of None means all but the first: a segment is a batch of its own.
    """

    def __init__(self, graph: Graph):
        self._graph = graph

    def abs(self, x: Value) -> Value:
        return self._graph("Abs", x)

    def sqrt(self, x: Value) -> Value:
        return self._graph("Sqrt", x)

    def log(self, x: Value) -> Value:
        return self._graph("Log", x)

    def log10(self, x: Value) -> Value:
        return self._graph("Log", x) * (1 / np.log(10))

    def maximum(self, x: Value, least: float) -> Value:
        return self._graph("Max", x, least)

    def max(self, x: Value, axis: int | tuple[int, ...] | None = None, keepdims: bool = True) -> Value:
        return self._graph("ReduceMax", x, axes=_axes(axis), keepdims=int(keepdims))

    def min(self, x: Value, axis: int | tuple[int, ...] | None = None, keepdims: bool = True) -> Value:
        return self._graph("ReduceMin", x, axes=_axes(axis), keepdims=int(keepdims))

    def mean(self, x: Value, axis: int | tuple[int, ...] | None = None, keepdims: bool = True) -> Value:
        return self._graph("ReduceMean", x, axes=_axes(axis), keepdims=int(keepdims))

    def sum(self, x: Value, axis: int, keepdims: bool = True) -> Value:
        return self._graph("ReduceSum", x, integers(axis), keepdims=int(keepdims))


def prune(graph: Graph) -> None:
    """Removes nodes and constants that the output does not need."""
    needed, kept = {OUTPUT}, []
    for node in reversed(graph.nodes):
        if needed & set(node.outputs):
            kept.append(node)
            needed |= set(node.inputs)
    graph.nodes[:] = kept[::-1]
    for name in set(graph.constants) - needed:
        del graph.constants[name]


def integers(*values: int) -> np.ndarray:
    """Returns sizes, positions or axes as operators take them."""
    return np.array(values, np.int64)


_FLOAT = 1  # onnx.TensorProto.FLOAT


def _axes(axis: int | tuple[int, ...] | None) -> list[int]:
    if axis is None:
        return [1, 2]
    return [axis] if isinstance(axis, int) else list(axis)


def _library() -> Any:
    try:
        import onnx
        import onnx.checker
        import onnx.helper
        import onnx.numpy_helper
    except ModuleNotFoundError as error:
        raise errors.Invalid("an ONNX file is written with the package onnx: pip install 'nafp[onnx]'") from error
    return onnx
