"""Reads the checkpoints of TensorFlow, without TensorFlow: the arrays of a TensorBundle by their names.

A checkpoint PREFIX is an index, PREFIX.index, and one or more files of raw values, PREFIX.data-00000-of-00001. The
index is a table of LevelDB: blocks of sorted entries, each a name and a protocol buffer that says the type, the shape
and the place of one array. TensorFlow never compresses these blocks. A folder of checkpoints names its latest one in a
text file, `checkpoint`.
"""

from __future__ import annotations

import pathlib
import re
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np

from nafp import errors
from nafp.weights import checksums

_FOOTER_BYTES, _TRAILER_BYTES = 48, 5
_MAGIC = 0xDB4775248B80FB57  # LevelDB's.
_HEADER = b""  # The name of the entry that describes the whole.
# TensorFlow's numbers of the types that a network may hold. Others, such as text, are left out.
_TYPES = {1: "<f4", 2: "<f8", 3: "<i4", 4: "u1", 5: "<i2", 6: "i1", 9: "<i8", 10: "?", 19: "<f2", 22: "<u4", 23: "<u8"}
_LATEST = re.compile(r'^model_checkpoint_path: "(.+)"$', re.MULTILINE)


class _Entry(NamedTuple):
    """The place of an array. crc32c: its checksum in TensorFlow's masked form."""

    dtype: int
    shape: tuple[int, ...]
    shard: int
    offset: int
    size: int
    crc32c: int


def latest(path: pathlib.Path) -> pathlib.Path | None:
    """Returns the prefix of a checkpoint, None for what is none.

    path: the prefix itself, its index, or a folder that names its latest checkpoint.
    """
    if path.suffix == ".index" and path.is_file():
        return path.with_suffix("")
    named = _LATEST.search(_text(path / "checkpoint"))
    if named:
        return path / pathlib.PurePosixPath(named[1]).name  # The path where it was trained, of which the name stays.
    return path if path.with_name(path.name + ".index").is_file() else None


def read(prefix: pathlib.Path, *, under: tuple[str, ...] = ("",)) -> dict[str, np.ndarray]:
    """Reads the arrays of the checkpoint PREFIX whose names begin with one of `under`, by their names.

    Raises errors.NotFound for a missing file of the checkpoint, and errors.Invalid for a damaged one.
    """
    index = prefix.with_name(prefix.name + ".index")
    try:
        entries = dict(_table(_bytes(index)))
        header = _fields(entries.pop(_HEADER))
        if header.get(2, [0])[0]:
            raise ValueError("its numbers are big-endian")
        names = {name.decode(): value for name, value in entries.items()}
        places = {name: _entry(value) for name, value in names.items() if name.startswith(under)}
        return _arrays(prefix, places, n_shards=header[1][0])
    except (ValueError, LookupError, TypeError, OverflowError) as error:
        if isinstance(error, errors.Error):
            raise
        raise errors.Invalid(f"{index}: damaged, or no checkpoint of TensorFlow: {error or 'cut short'}.") from None


def _arrays(prefix: pathlib.Path, places: dict[str, _Entry], *, n_shards: int) -> dict[str, np.ndarray]:
    numbers = {entry.shard for entry in places.values()}  # A damaged file may state more shards than memory can list.
    if max(numbers, default=0) >= n_shards:
        raise ValueError(f"an array in file {max(numbers)} of {n_shards}")
    paths = {i: prefix.with_name(f"{prefix.name}.data-{i:05d}-of-{n_shards:05d}") for i in numbers}
    shards = {shard: _bytes(path) for shard, path in paths.items()}
    arrays = {}
    for name, entry in places.items():
        if entry.dtype in _TYPES:
            values = memoryview(shards[entry.shard])[entry.offset : entry.offset + entry.size]
            if len(values) != entry.size or checksums.crc32c(values) != checksums.unmasked(entry.crc32c):
                raise errors.Invalid(f"{paths[entry.shard]} is damaged: {name} is not what was written; copy it again.")
            arrays[name] = np.frombuffer(values, _TYPES[entry.dtype]).reshape(entry.shape)
    return arrays


def _table(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Yields the entries of a table in the order of their keys."""
    footer = data[-_FOOTER_BYTES:]
    if len(footer) < _FOOTER_BYTES or int.from_bytes(footer[-8:], "little") != _MAGIC:
        raise ValueError("it does not end like one")
    _, at = _handle(footer, 0)  # Of the meta index, which is empty.
    (start, size), _ = _handle(footer, at)
    for _, handle in _block(data, start, size):
        (start, size), _ = _handle(handle, 0)
        yield from _block(data, start, size)


def _block(data: bytes, start: int, size: int) -> Iterator[tuple[bytes, bytes]]:
    """Yields the entries of a block. A key is stored without what it has in common with the key before."""
    block, trailer = data[start : start + size], data[start + size : start + size + _TRAILER_BYTES]
    if len(trailer) < _TRAILER_BYTES or size < 4:
        raise ValueError("cut short")
    if trailer[0]:
        raise ValueError("a compressed block")
    if checksums.crc32c(block + trailer[:1]) != checksums.unmasked(int.from_bytes(trailer[1:], "little")):
        raise ValueError("a block is not what was written")
    end = size - 4 - 4 * int.from_bytes(block[-4:], "little")  # Places to begin reading at follow the entries.
    at, key = 0, b""
    while at < end:
        n_shared, at = _varint(block, at)
        n_own, at = _varint(block, at)
        n_value, at = _varint(block, at)
        key = key[:n_shared] + block[at : at + n_own]
        at += n_own + n_value
        yield key, block[at - n_value : at]


def _handle(data: bytes, at: int) -> tuple[tuple[int, int], int]:
    """Reads where a block lies: ((start, size), where the handle ends)."""
    start, at = _varint(data, at)
    size, at = _varint(data, at)
    return (start, size), at


def _entry(value: bytes) -> _Entry:
    fields = _fields(value)
    if 7 in fields:
        raise ValueError("an array cut into slices, as several machines write it")
    dimensions = [_fields(dimension) for dimension in _fields(fields.get(2, [b""])[0]).get(2, [])]
    numbers = [fields.get(number, [0])[0] for number in (1, 3, 4, 5, 6)]
    dtype, shard, offset, size, crc32c = numbers
    return _Entry(dtype, tuple(d.get(1, [0])[0] for d in dimensions), shard, offset, size, crc32c)


def _fields(message: bytes) -> dict[int, list[Any]]:
    """Reads a protocol buffer: field number -> its values, whole numbers or bytes."""
    fields: dict[int, list[Any]] = {}
    at = 0
    while at < len(message):
        tag, at = _varint(message, at)
        kind = tag & 7
        value: int | bytes
        if kind == 0:
            value, at = _varint(message, at)
        elif kind == 2:
            size, at = _varint(message, at)
            value, at = message[at : at + size], at + size
        elif kind in (1, 5):
            size = 8 if kind == 1 else 4
            value, at = int.from_bytes(message[at : at + size], "little"), at + size
        else:
            raise ValueError(f"a field of kind {kind}")
        fields.setdefault(tag >> 3, []).append(value)
    return fields


def _varint(data: bytes, at: int) -> tuple[int, int]:
    """Reads a number of seven bits a byte, the lowest first: (number, where it ends)."""
    number = shift = 0
    while True:
        byte = data[at]
        number |= (byte & 0x7F) << shift
        shift, at = shift + 7, at + 1
        if byte < 0x80:
            return number, at
        if shift > 63:
            raise ValueError("a number of more than 64 bits")


def _bytes(path: pathlib.Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise errors.NotFound(f"{path}: {error.strerror}. A checkpoint of TensorFlow is .index and .data-...") from None


def _text(path: pathlib.Path) -> str:
    try:
        return path.read_text(errors="replace")
    except OSError:
        return ""
