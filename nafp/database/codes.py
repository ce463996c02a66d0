"""Fingerprints as bytes: how a database stores a row, and what it reads back. Plain numpy.

    float32   4 bytes a dimension: what the network computed
    float16   2 bytes: cosines differ by 1e-4 at most
    int8      1 byte
    int4      half a byte
    pq2       2 bits: 4 for each pair of dimensions, which name one of 16 places learned from the fingerprints
    pq1       1 bit: 4 for each 4 dimensions

A fingerprint has length 1, so codes need no scale beside them: a row is divided by its length when it is read. The loss
turns a row a little, which makes cosines to it smaller by a factor. `gain` makes up for that, so that a score, and the
probability made of it, means the same in every storage.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping
from typing import Any, Protocol

import numpy as np

from nafp import errors
from nafp.jobs import choices

# Components beyond this many standard deviations are clipped. It gives the least error for normally distributed ones.
_CLIP_INT4 = 2.7
_DAMAGED = 0.1  # No fingerprint of any network or precision has a squared length that is off by so much.
_TINY = np.float32(1e-12)
_LEARN_ROWS, _LEARN_ROUNDS = 16_384, 12
LEAST_ROWS = 1024  # Fewer than these are not enough to learn places from.
LEARNED = {"pq2": 2, "pq1": 4}  # Learned storages -> dimensions that share a code.
STORAGES = ("float32", "float16", "int8", "int4", *LEARNED)
USUAL, UNTIL_LEARNED = "pq2", "float16"  # Storage of a new database, and of one that has not enough to learn from.


class RowCodec(Protocol):
    """Turns rows into bytes and back.

    name: the storage. dim: numbers in a row, D. row_bytes: bytes of a coded row. gain: the length that a decoded row
    is given, which makes up for the loss.
    """

    name: str
    dim: int
    row_bytes: int
    gain: float

    def encode(self, vectors: np.ndarray) -> np.ndarray:
        """Turns float32 [n, D] into uint8 [n, row_bytes]."""
        ...

    def decode(self, codes: np.ndarray) -> np.ndarray:
        """Turns uint8 [..., row_bytes] into float32 [..., D] of length 1."""
        ...


class Floats:
    """Rows as floating point numbers."""

    def __init__(self, name: str, dim: int):
        self.name, self.dim, self.gain = name, dim, 1.0
        self._dtype = np.dtype(name).newbyteorder("<")
        self.row_bytes = dim * self._dtype.itemsize

    def encode(self, vectors: np.ndarray) -> np.ndarray:
        """Turns float32 [n, D] into uint8 [n, row_bytes]."""
        return np.ascontiguousarray(vectors, self._dtype).view(np.uint8)

    def decode(self, codes: np.ndarray) -> np.ndarray:
        """Turns uint8 [..., row_bytes] into float32 [..., D]. A damaged row, not of length 1, becomes zeros."""
        vectors = np.ascontiguousarray(codes).view(self._dtype).astype(np.float32)
        with np.errstate(over="ignore", invalid="ignore"):
            squares = np.vecdot(vectors, vectors)
            damaged = ~(np.abs(squares - 1) < _DAMAGED)
        if damaged.any():
            vectors[damaged] = 0
        return vectors


class Int8:
    """Rows as signed bytes. The largest component of a row becomes 127."""

    def __init__(self, dim: int):
        self.name, self.dim, self.row_bytes, self.gain = "int8", dim, dim, 1.0

    def encode(self, vectors: np.ndarray) -> np.ndarray:
        """Turns float32 [n, D] into uint8 [n, D]."""
        largest = np.abs(vectors).max(axis=1, keepdims=True, initial=_TINY)
        return np.rint(vectors * (127 / largest)).astype(np.int8).view(np.uint8)

    def decode(self, codes: np.ndarray) -> np.ndarray:
        """Turns uint8 [..., D] into float32 [..., D] of length 1."""
        return _unit(np.ascontiguousarray(codes).view(np.int8).astype(np.float32))


class Int4:
    """Rows as numbers -7 .. 7 of four bits, two in a byte: the first of each pair in the lower four bits."""

    def __init__(self, dim: int):
        self.name, self.dim, self.row_bytes = "int4", dim, dim // 2
        self.gain = 1.006  # 1 / 0.994, where 0.994 is the mean cosine of a row that was read to the row written.
        self._step = np.float32(7 * np.sqrt(dim) / _CLIP_INT4)
        both = np.arange(256, dtype=np.uint8)
        values = np.stack([both & 15, both >> 4], axis=1).astype(np.float32) - 8
        self._pairs = values.view(np.complex64).ravel()  # Both values of a byte in one look-up.

    def encode(self, vectors: np.ndarray) -> np.ndarray:
        """Turns float32 [n, D] into uint8 [n, D / 2]."""
        values = (np.clip(np.rint(vectors * self._step), -7, 7) + 8).astype(np.uint8)
        return values[:, 0::2] | values[:, 1::2] << 4

    def decode(self, codes: np.ndarray) -> np.ndarray:
        """Turns uint8 [..., D / 2] into float32 [..., D] of length 1."""
        return _unit(self._pairs[codes].view(np.float32))


class Learned:
    """Rows as 4-bit numbers of learned places: one for every d dimensions, two in a byte, in faiss' order.

    places: float32 [D / d, 16, d], the vectors that the 16 numbers of each part stand for.
    """

    def __init__(self, name: str, places: np.ndarray, *, gain: float = 1.0):
        self.name, self.gain, self.places = name, gain, np.ascontiguousarray(places, np.float32)
        n_parts, _, width = places.shape
        self.dim, self.row_bytes = n_parts * width, n_parts // 2
        first, second = self.places[0::2], self.places[1::2]
        # [bytes of a row, upper four bits, lower four bits, dimensions of both]
        both = np.empty((self.row_bytes, 16, 16, 2 * width), np.float32)
        both[..., :width], both[..., width:] = first[:, None], second[:, :, None]
        self._words = both.reshape(self.row_bytes * 256, -1).view(f"V{8 * width}").ravel()
        self._offsets = np.arange(self.row_bytes) * 256

    def encode(self, vectors: np.ndarray) -> np.ndarray:
        """Turns float32 [n, D] into uint8 [n, row_bytes], the numbers of the nearest places."""
        nearest = np.concatenate([_nearest(vectors[i : i + 4096], self.places) for i in range(0, len(vectors), 4096)])
        return np.ascontiguousarray(nearest[:, 0::2] | nearest[:, 1::2] << 4)

    def decode(self, codes: np.ndarray) -> np.ndarray:
        """Turns uint8 [..., row_bytes] into float32 [..., D] of length 1."""
        words = np.take(self._words, codes + self._offsets)
        return _unit(words.view(np.float32).reshape(*codes.shape[:-1], self.dim))


def learn(name: str, vectors: np.ndarray) -> Learned:
    """Learns the places of a storage from fingerprints [n, D] by k-means.

    Raises errors.Invalid for fewer than LEAST_ROWS.
    """
    n_rows, dim = vectors.shape
    check(name, dim=dim)
    width = LEARNED[name]
    if n_rows < LEAST_ROWS:
        raise errors.Invalid(
            f"storage {name} learns from fingerprints: {LEAST_ROWS} are needed, {n_rows} there; take int4 until then"
        )
    rng = np.random.default_rng(0)
    sample = vectors[rng.choice(n_rows, min(n_rows, _LEARN_ROWS), replace=False)]
    codec = Learned(name, _places(sample, width))
    codec.gain = 1 / float(np.vecdot(codec.decode(codec.encode(sample)), sample).mean())
    return codec


def _places(sample: np.ndarray, width: int) -> np.ndarray:
    """Runs k-means for each part of `width` dimensions of rows [n, D]: float32 [D / width, 16, width]."""
    parts = sample.reshape(len(sample), -1, width).swapaxes(0, 1)  # [parts, n, width]
    places = parts[:, :16].copy()
    for _ in range(_LEARN_ROUNDS):
        nearest = _nearest(sample, places).T
        for part, values, numbers in zip(places, parts, nearest):
            counts = np.bincount(numbers, minlength=16)
            sums = np.stack([np.bincount(numbers, column, 16) for column in values.T], axis=1)
            part[counts > 0] = (sums / np.maximum(counts, 1)[:, None])[counts > 0]
    return places


def _nearest(vectors: np.ndarray, places: np.ndarray) -> np.ndarray:
    """Returns the number of the nearest place for every part of rows [n, D]: uint8 [n, D / d]."""
    parts = vectors.reshape(len(vectors), len(places), -1).swapaxes(0, 1)
    likeness = parts @ places.swapaxes(1, 2) - np.vecdot(places, places)[:, None] / 2  # [D / d, n, 16]
    return likeness.argmax(axis=2).astype(np.uint8).T


def check(storage: str, *, dim: int) -> None:
    """Raises errors.Invalid for an unknown storage, or one that cannot store rows of this dimension."""
    choices.require("storage", storage, STORAGES)
    multiple = 2 * LEARNED[storage] if storage in LEARNED else 2 if storage == "int4" else 1
    if dim % multiple:
        raise errors.Invalid(f"storage {storage} needs a multiple of {multiple} dimensions, not {dim}")


def usual(*, dim: int) -> str:
    """Returns the storage of a new database for which none is named: USUAL, unless rows of `dim` numbers do not fit."""
    return USUAL if dim % (2 * LEARNED[USUAL]) == 0 else UNTIL_LEARNED


def codec(storage: str, *, dim: int) -> RowCodec:
    """Returns the codec of a storage that learns nothing. For the learned ones see `learn` and `of`."""
    check(storage, dim=dim)
    if storage.startswith("float"):
        return Floats(storage, dim)
    return Int8(dim) if storage == "int8" else Int4(dim)


def of(about: Mapping[str, Any]) -> RowCodec:
    """Returns the codec of a database. about: what its catalogue says, with storage, dim, places and gain."""
    storage = about["storage"]
    if storage not in LEARNED:
        return codec(storage, dim=about["dim"])
    places = np.frombuffer(base64.b64decode(about["places"]), "<f4")
    return Learned(storage, places.reshape(-1, 16, LEARNED[storage]), gain=about["gain"])


def facts(codec: RowCodec) -> dict[str, Any]:
    """Returns the facts from which `of` makes this codec again."""
    if not isinstance(codec, Learned):
        return {"storage": codec.name, "places": None, "gain": None}
    places = base64.b64encode(codec.places.astype("<f4").tobytes()).decode()
    return {"storage": codec.name, "places": places, "gain": codec.gain}


def _unit(vectors: np.ndarray) -> np.ndarray:
    vectors /= np.sqrt(np.maximum(np.vecdot(vectors, vectors), _TINY))[..., None]
    return vectors
