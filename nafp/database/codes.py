"""Fingerprints as bytes: how a database keeps a row, and what it reads back. Plain numpy.

    float32   4 bytes a dimension; what the network computed
    float16   2 bytes; cosines differ by 1e-4 at most
    int8      1 byte
    int4      half a byte
    pq2       2 bits: 4 for each pair of dimensions, which name one of 16 places learned from the fingerprints
    pq1       1 bit: 4 for each 4 dimensions

A fingerprint has length 1, so codes need no scale beside them: a row is divided by its length when it is read. What is
lost turns it a little, which makes cosines to it smaller by a factor; `gain` makes up for that, so that a score, and
the probability made of it, means the same in every storage.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping
from typing import Any

import numpy as np

from nafp import errors

# Of a component, in standard deviations: what lies beyond is clipped. Least error for normally distributed ones.
_CLIP_INT4 = 2.7
_DAMAGED = 0.1  # Of a squared length: no fingerprint of any network or precision is off by so much.
_TINY = np.float32(1e-12)
_LEARN_ROWS, _LEARN_ROUNDS = 16_384, 12
LEAST_ROWS = 1024


class Floats:
    """Rows as floating point numbers."""

    gain = 1.0

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

    name, gain = "int8", 1.0

    def __init__(self, dim: int):
        self.dim = self.row_bytes = dim

    def encode(self, vectors: np.ndarray) -> np.ndarray:
        largest = np.abs(vectors).max(axis=1, keepdims=True, initial=_TINY)
        return np.rint(vectors * (127 / largest)).astype(np.int8).view(np.uint8)

    def decode(self, codes: np.ndarray) -> np.ndarray:
        return _unit(np.ascontiguousarray(codes).view(np.int8).astype(np.float32))


class Int4:
    """Rows as half bytes -7 .. 7, two in a byte: the first of each pair in the lower four bits."""

    name, gain = "int4", 1.006  # 1 / 0.994, the mean cosine of a row read to the row written.

    def __init__(self, dim: int):
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


class Learned:
    """Rows as 4-bit numbers of learned places, one for every d dimensions, two in a byte as faiss has them.

    places: float32 [D / d, 16, d].
    """

    def __init__(self, name: str, places: np.ndarray, *, gain: float = 1.0):
        self.name, self.gain, self.places = name, gain, np.ascontiguousarray(places, np.float32)
        n_parts, _, width = places.shape
        self.dim, self.row_bytes = n_parts * width, n_parts // 2
        first, second = self.places[0::2], self.places[1::2]
        # By byte, upper four bits, lower four bits.
        both = np.empty((self.row_bytes, 16, 16, 2 * width), np.float32)
        both[..., :width], both[..., width:] = first[:, None], second[:, :, None]
        self._words = both.reshape(self.row_bytes * 256, -1).view(f"V{8 * width}").ravel()
        self._offsets = np.arange(self.row_bytes) * 256

    def encode(self, vectors: np.ndarray) -> np.ndarray:
        nearest = np.concatenate([_nearest(vectors[i : i + 4096], self.places) for i in range(0, len(vectors), 4096)])
        return np.ascontiguousarray(nearest[:, 0::2] | nearest[:, 1::2] << 4)

    def decode(self, codes: np.ndarray) -> np.ndarray:
        found = np.take(self._words, codes + self._offsets)
        return _unit(found.view(np.float32).reshape(*codes.shape[:-1], self.dim))


def learn(name: str, vectors: np.ndarray) -> Learned:
    """Learns the places of a storage from fingerprints [n, D] by k-means.

    Raises ValueError for fewer than LEAST_ROWS.
    """
    width = LEARNED[name]
    n_rows, dim = vectors.shape
    check(name, dim=dim)
    if n_rows < LEAST_ROWS:
        raise errors.Invalid(
            f"storage {name} learns from fingerprints: {LEAST_ROWS} are needed, {n_rows} there; take int4 until then"
        )
    rng = np.random.default_rng(0)
    some = vectors[rng.choice(n_rows, min(n_rows, _LEARN_ROWS), replace=False)]
    parts = some.reshape(len(some), -1, width).swapaxes(0, 1)  # [parts, n, d]
    places = parts[:, :16].copy()
    for _ in range(_LEARN_ROUNDS):
        chosen = _nearest(some, places).T
        for part, values, numbers in zip(places, parts, chosen):
            counts = np.bincount(numbers, minlength=16)
            sums = np.stack([np.bincount(numbers, column, 16) for column in values.T], axis=1)
            part[counts > 0] = (sums / np.maximum(counts, 1)[:, None])[counts > 0]
    found = Learned(name, places)
    found.gain = 1 / float(np.vecdot(found.decode(found.encode(some)), some).mean())
    return found


def _nearest(vectors: np.ndarray, places: np.ndarray) -> np.ndarray:
    """Gives the number of the nearest place for every part of rows [n, D]: uint8 [n, D / d]."""
    parts = vectors.reshape(len(vectors), len(places), -1).swapaxes(0, 1)
    # [D / d, n, 16]
    likeness = parts @ places.swapaxes(1, 2) - np.vecdot(places, places)[:, None] / 2
    return likeness.argmax(axis=2).astype(np.uint8).T


LEARNED = {"pq2": 2, "pq1": 4}  # Dimensions that share a code.
STORAGES = ("float32", "float16", "int8", "int4", *LEARNED)


def check(storage: str, *, dim: int) -> None:
    """Raises ValueError for a storage that is unknown, or not for so many dimensions."""
    if storage not in STORAGES:
        raise errors.Invalid(f"storage {storage!r}: allowed are {', '.join(STORAGES)}")
    multiple = 2 * LEARNED.get(storage, 1 if storage == "int4" else 0.5)
    if dim % multiple:
        raise errors.Invalid(f"storage {storage} needs a multiple of {multiple} dimensions, not {dim}")


def codec(storage: str, *, dim: int) -> Any:
    """Returns what turns rows into bytes and back: row_bytes, encode, decode. Learned ones: see `learn` and `of`."""
    check(storage, dim=dim)
    if storage.startswith("float"):
        return Floats(storage, dim)
    return {"int8": Int8, "int4": Int4}[storage](dim)


def of(about: Mapping[str, Any]) -> Any:
    """Returns the codec of a database, by what its catalogue says: storage, dim, places."""
    if about["storage"] not in LEARNED:
        return codec(about["storage"], dim=about["dim"])
    places = np.frombuffer(base64.b64decode(about["places"]), "<f4")
    width = LEARNED[about["storage"]]
    return Learned(about["storage"], places.reshape(-1, 16, width), gain=about["gain"])


def told(one: Any) -> dict[str, Any]:
    """Returns what `of` needs to know of a codec."""
    if not isinstance(one, Learned):
        return {"storage": one.name, "places": None, "gain": None}
    places = base64.b64encode(one.places.astype("<f4").tobytes()).decode()
    return {"storage": one.name, "places": places, "gain": one.gain}


def _unit(vectors: np.ndarray) -> np.ndarray:
    vectors /= np.sqrt(np.maximum(np.vecdot(vectors, vectors), _TINY))[..., None]
    return vectors
