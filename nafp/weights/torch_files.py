"""Reads the files of torch.save without PyTorch, as data: nothing in the file can run.

A file is a zip: `data.pkl`, a pickle of dicts, lists, numbers and tensors, and the raw values that the tensors are
views of, `data/0` and so on. The pickle goes through `nafp.corpora.pickles.check` first, and the reader knows only the
names that tensors need.
"""

from __future__ import annotations

import io
import os
import pickle
import struct
import zipfile
import zlib
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from nafp import errors
from nafp.corpora import pickles

_TYPES = {
    "FloatStorage": "f4",
    "DoubleStorage": "f8",
    "HalfStorage": "f2",
    "BFloat16Storage": "u2",  # The upper half of a float32.
    "LongStorage": "i8",
    "IntStorage": "i4",
    "ShortStorage": "i2",
    "CharStorage": "i1",
    "ByteStorage": "u1",
    "BoolStorage": "?",
}
_LARGEST_BYTES = 16 << 30  # Of all values together. No network of the field comes near.
# What a damaged pickle makes Python's reader raise, and what a strange zip makes the reader of zips raise.
_DAMAGE = (
    *(ValueError, LookupError, TypeError, AttributeError, ArithmeticError, RecursionError, MemoryError, EOFError),
    *(pickle.UnpicklingError, struct.error, NotImplementedError, RuntimeError, zlib.error),
)
_PERSISTENT = {"BINPERSID": (1, True)}  # Puts a storage in the place of its description.


class _Type(NamedTuple):
    """The stand-in for a class of storages."""

    code: str


class _Dict(dict):
    """The stand-in for an OrderedDict, whose attributes (torch's version numbers of modules) are left out."""

    def __setstate__(self, state: Any) -> None:
        pass


def read(path: str | os.PathLike) -> Any:
    """Reads a file of torch.save: tensors as numpy arrays, bfloat16 as float32, dicts and lists as they are.

    Raises errors.NotFound, and errors.Invalid for a damaged file, one from before torch 1.6, and one that holds more
    than data.
    """
    path = os.fspath(path)
    try:
        with zipfile.ZipFile(path) as archive:
            return _read(archive)
    except OSError as error:
        kind = errors.NotFound if isinstance(error, FileNotFoundError) else errors.Invalid
        raise kind(f"{path}: {error.strerror}.") from None
    except zipfile.BadZipFile:
        raise errors.Invalid(
            f"{path}: not a file of torch.save, or from before torch 1.6. In the second case write it anew where torch "
            "is: torch.save(torch.load(FILE), FILE)."
        ) from None
    except _DAMAGE as error:
        reason = str(error) or type(error).__name__
        raise errors.Invalid(
            f"{path}: not a torch file of tensors: {reason}. A file of a whole model can be written anew, where torch "
            "is, with its parameters alone: torch.save(model.state_dict(), FILE)"
        ) from None


def _read(archive: zipfile.ZipFile) -> Any:
    root = next(name for name in [*archive.namelist(), ""] if name.endswith("/data.pkl") or not name)
    if not root:
        raise errors.Invalid("it holds no data.pkl")
    if sum(entry.file_size for entry in archive.infolist()) > _LARGEST_BYTES:
        raise errors.Invalid(f"it holds more than {_LARGEST_BYTES} bytes")
    if archive.getinfo(root).file_size > pickles.LARGEST_BYTES:
        raise errors.Invalid("its pickle is larger than a network's")
    data = archive.read(root)
    pickles.check(data, also=_PERSISTENT)
    return _Reader(data, archive, root.removesuffix("data.pkl")).load()


class _Reader(pickle.Unpickler):
    def __init__(self, data: bytes, archive: zipfile.ZipFile, folder: str):
        super().__init__(io.BytesIO(data))
        self._archive, self._folder = archive, folder
        self._storages: dict[str, np.ndarray] = {}
        orders = [archive.read(name) for name in archive.namelist() if name == f"{folder}byteorder"]
        self._order = ">" if orders == [b"big"] else "<"

    def find_class(self, module: str, name: str) -> Any:
        """Returns the stand-in for a name that tensors need. Raises errors.Invalid for every other name."""
        if module == "torch" and name in _TYPES:
            return _Type(name)
        if (module, name) in _STAND_INS:
            return _STAND_INS[module, name]
        raise errors.Invalid(f"it asks to run {module}.{name}, which was not run")

    def persistent_load(self, pid: Any) -> np.ndarray:
        """Returns the flat values of a storage, described by ("storage", type, key, place, number of values)."""
        word, kind, key, _, size = pid
        if word != "storage" or not isinstance(kind, _Type) or not isinstance(key, str):
            raise errors.Invalid("it refers to something else than a storage")
        if key not in self._storages:
            values = self._archive.read(f"{self._folder}data/{key}")
            self._storages[key] = np.frombuffer(values, self._order + _TYPES[kind.code], count=size)
        if kind.code == "BFloat16Storage":
            return (self._storages[key].astype(np.uint32) << np.uint32(16)).view(np.float32)
        return self._storages[key]


def _tensor(storage: Any, offset: Any, size: Any, stride: Any, *_: Any) -> np.ndarray:
    """Builds the array of shape `size` that lies at `offset` in a storage, a step of `stride` values on each axis."""
    numbers = [offset, *size, *stride]
    if not isinstance(storage, np.ndarray) or any(type(n) is not int or n < 0 for n in numbers):
        raise errors.Invalid("a tensor of something else than values")
    last = offset + sum((n - 1) * step for n, step in zip(size, stride, strict=True))
    if 0 not in size and last >= len(storage):
        raise errors.Invalid("a tensor that ends beyond its values")
    if 0 in size:
        return np.zeros(size, storage.dtype)
    steps = [step * storage.itemsize for step in stride]
    return np.lib.stride_tricks.as_strided(storage[offset:], size, steps, writeable=False)


def _parameter(data: Any, *_: Any) -> Any:
    return data


def _dict(pairs: Any = ()) -> _Dict:
    return _Dict((key, value) for key, value in pairs)


class _StandIn:
    """What is called in place of a name. A pickle could set attributes of a function, but none of this."""

    __slots__ = ("_build",)

    def __init__(self, build: Callable[..., Any]):
        self._build = build

    def __setstate__(self, state: Any) -> None:
        raise errors.Invalid("it changes what is no dict")

    def __call__(self, *arguments: Any) -> Any:
        return self._build(*arguments)


_STAND_INS = {
    ("torch._utils", "_rebuild_tensor_v2"): _StandIn(_tensor),
    ("torch._utils", "_rebuild_parameter"): _StandIn(_parameter),
    ("collections", "OrderedDict"): _StandIn(_dict),
}
