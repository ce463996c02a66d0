"""Fingerprints as bytes: how a database keeps a row, and what it reads back. Plain numpy.

    float32   4 bytes a dimension; what the network computed
    float16   2 bytes; cosines differ by 1e-4 at most
    int8      1 byte
    int4      half a byte

A fingerprint has length 1, so integers need no scale beside them: a row is divided by its length when it is read.
"""

from __future__ import annotations

from typing import Any

import numpy as np

# Of a component, in standard deviations: what lies beyond is clipped. Least error for normally distributed ones.
_CLIP_INT4 = 2.7
_DAMAGED = 0.1  # Of a squared length: no fingerprint of any network or precision is off by so much.
_TINY = np.float32(1e-12)


class Floats:
    """Rows as floating point numbers."""

    def __init__(self, name: str, dim: int):
        self.name, self.dim = name, dim
        self._dtype = np.dtype(name).newbyteorder("<")
        self.row_bytes = dim * self._dtype.itemsize

    def encode(self, vectors: np.ndarray) -> np.ndarray:
        """Turns float32 [n, D] into uint8 [n, row_bytes]."""
        return np.ascontiguousarray(vectors, self._dtype).view(np.uint8)

    def decode(self, codes: np.ndarray) -> np.ndarray:
        """Turns uint8 [..., row_bytes] into float32 [..., D]; a row that is not of length 1, being damaged, is 0."""
        vectors = np.ascontiguousarray(codes).view(self._dtype).astype(np.float32)
        with np.errstate(over="ignore", invalid="ignore"):
            squares = np.vecdot(vectors, vectors)
            damaged = ~(np.abs(squares - 1) < _DAMAGED)
        if damaged.any():
            vectors[damaged] = 0
        return vectors


class Int8:
    """Rows as signed bytes, the largest component of a row as 127."""

    name = "int8"

    def __init__(self, dim: int):
        self.dim = self.row_bytes = dim

    def encode(self, vectors: np.ndarray) -> np.ndarray:
        largest = np.abs(vectors).max(axis=1, keepdims=True, initial=_TINY)
        return np.rint(vectors * (127 / largest)).astype(np.int8).view(np.uint8)

    def decode(self, codes: np.ndarray) -> np.ndarray:
        return _unit(np.ascontiguousarray(codes).view(np.int8).astype(np.float32))


class Int4:
    """Rows as half bytes -7 .. 7, two in a byte: the first of each pair in the lower four bits."""

    name = "int4"

    def __init__(self, dim: int):
        if dim % 2:
            raise ValueError(f"storage int4 needs an even number of dimensions, not {dim}")
        self.dim, self.row_bytes = dim, dim // 2
        self._step = np.float32(7 * np.sqrt(dim) / _CLIP_INT4)
        both = np.arange(256, dtype=np.uint8)
        values = np.stack([both & 15, both >> 4], axis=1).astype(np.float32) - 8
        self._pairs = values.view(np.complex64).ravel()  # Both values of a byte in one look-up.

    def encode(self, vectors: np.ndarray) -> np.ndarray:
        values = (np.clip(np.rint(vectors * self._step), -7, 7) + 8).astype(np.uint8)
        return values[:, 0::2] | values[:, 1::2] << 4

    def decode(self, codes: np.ndarray) -> np.ndarray:
        return _unit(self._pairs[codes].view(np.float32))


def _unit(vectors: np.ndarray) -> np.ndarray:
    vectors /= np.sqrt(np.maximum(np.vecdot(vectors, vectors), _TINY))[..., None]
    return vectors


STORAGES = ("float32", "float16", "int8", "int4")


def codec(storage: str, *, dim: int) -> Any:
    """Returns what turns rows into bytes and back: row_bytes, encode, decode."""
    if storage not in STORAGES:
        raise ValueError(f"storage {storage!r}: allowed are {', '.join(STORAGES)}")
    if storage.startswith("float"):
        return Floats(storage, dim)
    return {"int8": Int8, "int4": Int4}[storage](dim)
