"""Reads the constants and the metadata of an ONNX file in numpy alone, and refuses what `nafp export` never writes.

ONNX files are protocol buffers. Every field outside the lists below is refused. That excludes data in other files,
control flow, functions and operators of other domains, so that a runtime that opens the file does nothing but
arithmetic on what the file itself holds.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

# Numbers of the fields of onnx.proto3 that may occur.
_GRAPH, _OPSET, _METADATA = 7, 8, 14
_MODEL = {1, 2, _GRAPH, _OPSET, _METADATA}  # Version of the format, name of the writer.
_NODE, _CONSTANT = 1, 5
_IN_GRAPH = {_NODE, 2, _CONSTANT, 11, 12}  # Name, inputs, outputs.
_KIND, _ATTRIBUTE = 4, 5
_IN_NODE = {1, 2, 3, _KIND, _ATTRIBUTE}  # Names of inputs, outputs and node.
_IN_ATTRIBUTE = {1, 2, 3, 8, 20}  # Name, one float, one integer, integers, type.
_DIMS, _TYPE, _NAME, _RAW = 1, 2, 8, 9
_IN_CONSTANT = {_DIMS, _TYPE, _NAME, _RAW}
_TYPES = {1: np.float32, 2: np.uint8, 3: np.int8, 6: np.int32, 7: np.int64, 10: np.float16}
_MOST_FIELDS = 500_000
_WHOLE, _BYTES, _SIZES = 0, 2, {1: 8, 5: 4}  # How a field is written.
# Operators that networks are written with.
_ARITHMETIC = {"Add", "Div", "Max", "Min", "Mul", "Sub"}
_ELEMENTWISE = {"Abs", "Cast", "Exp", "Identity", "Log", "Relu", "Sqrt", "Tanh"}
_OVER_AXES = {"LayerNormalization", "ReduceMax", "ReduceMean", "ReduceMin", "ReduceSum", "Softmax"}
_PRODUCTS = {"Conv", "DequantizeLinear", "Gemm", "MatMul", "QuantizeLinear"}
_PLACES = {"Concat", "Gather", "Pad", "Reshape", "ScatterND", "Slice", "Split", "Squeeze", "Transpose", "Unsqueeze"}
_OPERATORS = _ARITHMETIC | _ELEMENTWISE | _OVER_AXES | _PRODUCTS | _PLACES


class Contents(NamedTuple):
    """Constants by name, and the metadata."""

    constants: dict[str, np.ndarray]
    metadata: dict[str, str]


def read(data: bytes) -> Contents:
    """Reads a serialised model. Raises ValueError for one that `nafp export` did not write."""
    return _Reader().model(memoryview(data))


class _Reader:
    """Reads one model. It gives up after so many fields that no network has them."""

    def __init__(self) -> None:
        self._n_left = _MOST_FIELDS

    def model(self, data: memoryview) -> Contents:
        result = Contents({}, {})
        for number, value in self._fields(data, _MODEL, "the model"):
            if number == _GRAPH:
                self._graph(_message(value), result.constants)
            elif number == _METADATA:
                key, text = self._strings(_message(value), "the metadata")
                result.metadata[key] = text
            elif number == _OPSET:
                self._require_default(_message(value))
        return result

    def _require_default(self, opset: memoryview) -> None:
        if any(number == 1 and _text(value) for number, value in self._fields(opset, {1, 2}, "a set of operators")):
            raise ValueError("it needs operators of another domain")

    def _graph(self, data: memoryview, constants: dict[str, np.ndarray]) -> None:
        for number, value in self._fields(data, _IN_GRAPH, "the graph"):
            if number == _NODE:
                self._require_plain(_message(value))
            elif number == _CONSTANT:
                name, array = self._constant(_message(value))
                constants[name] = array

    def _require_plain(self, node: memoryview) -> None:
        for number, value in self._fields(node, _IN_NODE, "a node"):
            if number == _KIND and _text(value) not in _OPERATORS:
                raise ValueError(f"it has an operator {_text(value)[:40]!r}, which nafp does not write")
            if number == _ATTRIBUTE:
                for _ in self._fields(_message(value), _IN_ATTRIBUTE, "an attribute"):
                    pass

    def _constant(self, data: memoryview) -> tuple[str, np.ndarray]:
        shape: list[int] = []
        name, dtype, raw = "", None, memoryview(b"")
        for number, value in self._fields(data, _IN_CONSTANT, "a constant"):
            if number == _DIMS:
                shape += [value] if isinstance(value, int) else list(_varints(value))
            elif number == _TYPE:
                dtype = _TYPES.get(value) if isinstance(value, int) else None
            elif number == _NAME:
                name = _text(value)
            else:
                raw = _message(value)
        if dtype is None or math.prod(shape) * np.dtype(dtype).itemsize != len(raw):
            raise ValueError(f"its constant {name[:40]!r} has another size or type than it states")
        return name, np.frombuffer(raw, np.dtype(dtype).newbyteorder("<")).reshape(shape)

    def _strings(self, data: memoryview, what: str) -> tuple[str, str]:
        texts = {number: _text(value) for number, value in self._fields(data, {1, 2}, what)}
        return texts.get(1, ""), texts.get(2, "")

    def _fields(self, data: memoryview, allowed: set[int], what: str) -> Iterator[tuple[int, int | memoryview]]:
        """Yields number and value of each field: an integer, or the bytes of a message, a string or a float."""
        position = 0
        while position < len(data):
            tag, position = _varint(data, position)
            number, wire = tag >> 3, tag & 7
            self._n_left -= 1
            if number not in allowed or self._n_left < 0:
                raise ValueError(f"{what} has a field {number}, or more of them, than nafp writes")
            n_bytes, position = (_SIZES[wire], position) if wire in _SIZES else _varint(data, position)
            if wire == _WHOLE:
                yield number, n_bytes
                continue
            if wire not in _SIZES and wire != _BYTES:
                raise ValueError("it is no protocol buffer")
            if position + n_bytes > len(data):
                raise ValueError("it ends too early")
            yield number, data[position : position + n_bytes]
            position += n_bytes


def _varints(data: memoryview) -> Iterator[int]:
    position = 0
    while position < len(data):
        value, position = _varint(data, position)
        yield value


def _varint(data: memoryview, position: int) -> tuple[int, int]:
    value = 0
    for shift in range(0, 70, 7):
        if position >= len(data):
            raise ValueError("it ends too early")
        byte = data[position]
        position += 1
        value |= (byte & 127) << shift
        if byte < 128:
            return value, position
    raise ValueError("it is no protocol buffer")


def _message(value: int | memoryview) -> memoryview:
    if isinstance(value, int):
        raise ValueError("it has a number where a message belongs")
    return value


def _text(value: int | memoryview) -> str:
    return str(_message(value), "utf-8")
