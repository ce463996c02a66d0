"""Reads the pickled lists of other systems as data: nothing in the file can run.

A pickle is a small program, and Python's reader calls whatever the program names. Two things make it safe here. The
reader's `find_class` knows only the names that data needs (paths, dicts, sets, lists, numeric arrays) and returns
stand-ins for them, which build plain values. Before that, `check` goes through the instructions without running them
and refuses those that data does not need, and what an allow-list alone does not stop:

    a key made of tuples        its hash overflows the C stack when nested, or takes for ever when shared
    a large number of a memo    the C reader allocates a table up to it: nine bytes ask for 64 GiB
    a length that lies          the C reader allocates a bytearray of that length before reading it
    millions of empty sets      each byte of the file becomes 216 bytes of memory
    an integer of megabytes     as a key it is hashed anew each time

`write` writes plain lists, which any reader takes.
"""

import array
import io
import os
import pickle
import pickletools
import struct
import types
from collections.abc import Mapping
from typing import Any

import numpy as np

from nafp import errors
from nafp.jobs import whole_files

LARGEST_BYTES = 256 << 20  # Of a file, and of the values that it makes. A list of a million paths takes a third of it.
# What the reader raises for a file that is not a pickle of plain data.
_BROKEN: tuple[type[Exception], ...] = (
    ValueError,
    LookupError,
    TypeError,
    AttributeError,
    OverflowError,
    RecursionError,
    MemoryError,
    EOFError,
    pickle.UnpicklingError,
    struct.error,
)
_DEEPEST = 400  # Tuples within tuples, and open marks. `_plain` reaches Python's recursion limit at this depth.
_MEMO_GAP = 1 << 16  # A writer numbers what it remembers from 0 or 1 on, without gaps.
_NUMPY = ("numpy", "numpy.core.multiarray", "numpy._core.multiarray", "numpy._core.numeric")
_NUMPY_NAMES = ("_reconstruct", "ndarray", "dtype", "scalar", "_frombuffer")
_PATHS = ("PosixPath", "WindowsPath", "PurePosixPath", "PureWindowsPath", "Path", "PurePath")
_BUILTINS = ("dict", "set", "frozenset", "list")
_ALLOWED = (
    {(module, name) for module in _NUMPY for name in _NUMPY_NAMES}
    | {(module, name) for module in ("pathlib", "pathlib._local") for name in _PATHS}
    | {(module, name) for module in ("builtins", "__builtin__") for name in _BUILTINS}
    | {("collections", "OrderedDict"), ("_codecs", "encode")}
)
_NUMERIC = "biufUS"  # Kinds of dtype that hold no objects.

# The instructions that data needs. Each of _VALUES puts one value on the stack, which is no tuple. Each of _OTHERS
# takes a number of values from the stack (_SINCE_MARK: all of them since the last mark), and may put one there. An
# instruction that changes a value in place leaves that value on the stack.
_SINCE_MARK = -1
# fmt: off
_VALUES = frozenset((
    "NONE", "NEWTRUE", "NEWFALSE", "INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1", "FLOAT", "BINFLOAT",
    "STRING", "BINSTRING", "SHORT_BINSTRING", "UNICODE", "BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8", "BINBYTES",
    "SHORT_BINBYTES", "BINBYTES8", "BYTEARRAY8", "EMPTY_LIST", "EMPTY_DICT", "EMPTY_SET", "GLOBAL",
))
_STORES = frozenset(("PUT", "BINPUT", "LONG_BINPUT", "MEMOIZE"))
_OTHERS = {
    "PROTO": (0, False), "FRAME": (0, False), "STOP": (0, False), "MARK": (0, False),
    "GET": (0, True), "BINGET": (0, True), "LONG_BINGET": (0, True), "DUP": (0, True), "EMPTY_TUPLE": (0, True),
    "LIST": (_SINCE_MARK, True), "DICT": (_SINCE_MARK, True), "TUPLE": (_SINCE_MARK, True),
    "FROZENSET": (_SINCE_MARK, True), "APPENDS": (_SINCE_MARK, False), "SETITEMS": (_SINCE_MARK, False),
    "ADDITEMS": (_SINCE_MARK, False), "POP_MARK": (_SINCE_MARK, False),
    "TUPLE1": (1, True), "TUPLE2": (2, True), "TUPLE3": (3, True), "STACK_GLOBAL": (2, True), "REDUCE": (2, True),
    "APPEND": (1, False), "BUILD": (1, False), "POP": (1, False), "SETITEM": (2, False),
}
_NESTING = frozenset(("TUPLE", "TUPLE1", "TUPLE2", "TUPLE3", "EMPTY_TUPLE", "FROZENSET"))
_BYTES = {  # Of the container that an instruction of one byte makes.
    "EMPTY_LIST": 56, "LIST": 56, "EMPTY_DICT": 64, "DICT": 64, "EMPTY_SET": 216, "FROZENSET": 216,
    "TUPLE": 40, "TUPLE1": 48, "TUPLE2": 56, "TUPLE3": 64,
}
# fmt: on


def read(path: str | os.PathLike) -> Any:
    """Reads a pickle of plain data. Arrays become numpy arrays, paths text, and sets lists.

    Raises errors.Invalid for a damaged file and for a pickle of anything else, and says what the file asked for.
    """
    path = os.fspath(path)
    try:
        n_bytes = os.path.getsize(path)
        if n_bytes > LARGEST_BYTES:
            raise errors.Invalid(f"{n_bytes} bytes, more than a list has ({LARGEST_BYTES})")
        with open(path, "rb") as file:
            data = file.read()
        check(data)
        return _plain(_Reader(data).load(), {})
    except OSError as error:
        raise errors.Invalid(f"{path}: {error.strerror}") from None
    except _BROKEN as error:
        reason = str(error) or type(error).__name__
        raise errors.Invalid(f"{path}: not a pickle of plain data: {reason}") from None


def write(path: str | os.PathLike, values: list) -> None:
    """Writes a pickle that any Python from 3.4 on reads. The file appears whole or not at all."""
    with whole_files.opened(path, "wb") as file:
        pickle.dump(values, file, protocol=4)


class _Budget:
    """The bytes that a file may still make. Each call of 8 bytes could copy the largest value in the file."""

    def __init__(self) -> None:
        self.left = LARGEST_BYTES

    def spend(self, n_bytes: int) -> None:
        self.left -= n_bytes
        if self.left < 0:
            raise errors.Invalid(f"it makes more than {LARGEST_BYTES} bytes out of what it holds")


def check(data: bytes, *, also: Mapping[str, tuple[int, bool]] = types.MappingProxyType({})) -> None:
    """Raises errors.Invalid for instructions that data does not need, and for those that exhaust the reader.

    also: further instructions that are allowed, by the values that each takes from the stack, and whether it puts one
    there. The stack and the memo are followed with the depth of each value: 0 for what can be a key, 1 for a tuple or
    frozenset of such values, and so on.
    """
    others = {**_OTHERS, **also}
    budget = _Budget()
    stack, marks = array.array("H"), array.array("Q")
    memo: dict[int, int] = {}
    for opcode, argument, _ in pickletools.genops(data):
        name = opcode.name
        if name in _BYTES:
            budget.spend(_BYTES[name])
        if name in _VALUES:
            stack.append(0)
        elif name in _STORES:
            number = len(memo) if argument is None else argument
            if number > len(memo) + _MEMO_GAP:
                raise errors.Invalid(f"it remembers only {len(memo)} values and numbers one {number}")
            memo[number] = stack[-1] if stack else 0
        elif name == "MARK":
            marks.append(len(stack))
            if len(marks) > _DEEPEST:
                raise errors.Invalid("it is nested too deeply")
        elif name == "POP" and marks and marks[-1] == len(stack):
            marks.pop()
        elif name in others:
            _follow(name, others[name], argument, stack, marks, memo)
        else:
            raise errors.Invalid(f"it uses {name}, which no list needs")


def _follow(
    name: str, effect: tuple[int, bool], argument: Any, stack: array.array, marks: array.array, memo: dict[int, int]
) -> None:
    """Does to the depths on the stack what an instruction does to the values."""
    n_taken, puts = effect
    if n_taken == _SINCE_MARK:
        first = marks.pop() if marks else -1
    else:
        first = len(stack) - n_taken
    if first < 0:
        raise errors.Invalid(f"{name} finds too little on the stack")
    depth = stack[-1] if name == "DUP" else memo[argument] if name.endswith("GET") else 0
    taken = stack[first:]
    del stack[first:]
    keys = taken[::2] if name in ("SETITEM", "SETITEMS", "DICT") else taken if name in ("ADDITEMS", "FROZENSET") else ()
    if any(keys):
        raise errors.Invalid("a key that is a tuple or a set")
    if name in _NESTING:
        depth = 1 + max(taken, default=0)
        if depth > _DEEPEST:
            raise errors.Invalid("it is nested too deeply")
    if puts:
        stack.append(depth)


class _Reader(pickle.Unpickler):
    """Python's reader, which meets only stand-ins."""

    def __init__(self, data: bytes):
        super().__init__(io.BytesIO(data), encoding="latin1")  # Text of Python 2 may be any bytes.
        self._budget = _Budget()

    def find_class(self, module: str, name: str) -> "_Name":
        """Returns the stand-in for a name that data needs. Raises errors.Invalid for every other name."""
        if (module, name) not in _ALLOWED:
            raise errors.Invalid(f"it asks to run {module}.{name}; it was not run. Do not trust this file")
        return _Name(module, name, self._budget)


class _Name:
    """The stand-in for a name. Calling it builds the plain value that the real class would hold.

    It is an instance, because a pickle could set attributes of a class or function. It never returns a tuple, which
    `check` relies on.
    """

    __slots__ = ("_budget", "_module", "_name")

    def __init__(self, module: str, name: str, budget: _Budget):
        self._module, self._name, self._budget = module, name, budget

    def __setstate__(self, state: object) -> None:
        raise errors.Invalid("it changes what is no array")

    def __call__(self, *arguments: Any) -> Any:
        if self._name in _PATHS:
            self._budget.spend(sum(len(part) * (1 if part.isascii() else 4) for part in arguments))
            return "/".join(arguments).replace("//", "/")
        if self._name in ("OrderedDict", *_BUILTINS):
            return self._container(*arguments)
        if self._name == "encode":  # Bytes in protocol 2.
            text, encoding = arguments
            if encoding != "latin1" or not isinstance(text, str):
                raise errors.Invalid("it encodes something else than bytes")
            self._budget.spend(len(text))
            return text.encode("latin1")
        if self._name == "dtype":
            return _Dtype(arguments[0])
        if self._name == "_reconstruct":
            return _Array(self._budget)
        if self._name == "_frombuffer":
            data, dtype, shape, order = arguments
            return _Array(self._budget).fill(data, dtype, shape, order)
        if self._name == "scalar":
            dtype, data = arguments
            return _Array(self._budget).fill(data, dtype, (1,), "C").finished()[0].item()
        raise errors.Invalid(f"it calls {self._module}.{self._name}")

    def _container(self, values: Any = ()) -> dict | list:
        if not isinstance(values, (list, tuple, dict, set, frozenset)):
            raise errors.Invalid(f"it makes a {self._name} of a {type(values).__name__}")
        if self._name in ("OrderedDict", "dict"):
            self._budget.spend(100 * len(values))
            return {_key(key): value for key, value in values}
        self._budget.spend(8 * len(values))
        return list(values)


class _Dtype:
    """A numpy dtype while it is built. A pickle could break numpy's own with a wrong state."""

    __slots__ = ("_code", "_order")

    def __init__(self, code: Any):
        if not isinstance(code, str) or code[:1] not in _NUMERIC or not code[1:].isdigit():
            raise errors.Invalid(f"an array of {str(code)[:20]!r}, which is not numbers or text")
        self._code, self._order = code, "="

    def __setstate__(self, state: Any) -> None:
        self._order = state[1] if state[1] in ("<", ">") else "="

    def finished(self) -> np.dtype:
        return np.dtype(self._order + self._code)


class _Array:
    """A numpy array while it is built."""

    __slots__ = ("_budget", "_values")

    def __init__(self, budget: _Budget):
        self._values: np.ndarray | None = None
        self._budget = budget

    def __setstate__(self, state: Any) -> None:
        _, shape, dtype, is_fortran, data = state
        self.fill(data, dtype, shape, "F" if is_fortran else "C")

    def fill(self, data: Any, dtype: Any, shape: Any, order: Any) -> "_Array":
        if not isinstance(dtype, _Dtype) or not isinstance(data, (bytes, bytearray)):
            raise errors.Invalid("an array of objects")
        if not isinstance(shape, tuple) or order not in ("C", "F"):
            raise errors.Invalid("an array without a shape")
        self._budget.spend(len(data))
        self._values = np.frombuffer(data, dtype.finished()).reshape(shape, order=order).copy()
        return self

    def finished(self) -> np.ndarray:
        if self._values is None:
            raise errors.Invalid("an array without values")
        return self._values


def _key(value: Any) -> Any:
    if value is not None and not isinstance(value, (str, bytes, int, float)):
        raise errors.Invalid(f"a key that is a {type(value).__name__}")
    return value


_UNFINISHED = object()


def _plain(value: Any, done: dict[int, Any]) -> Any:
    """Replaces stand-ins by their arrays, and sets by lists.

    done: the containers that are replaced already, by id. A container that is stored twice is replaced once.
    """
    if isinstance(value, _Array):
        return value.finished()
    if isinstance(value, (_Name, _Dtype)):
        raise errors.Invalid("it holds names, not data")
    if not isinstance(value, (list, tuple, dict, set, frozenset)):
        return value
    if done.get(id(value)) is _UNFINISHED:
        raise errors.Invalid("it contains itself")
    if id(value) not in done:
        done[id(value)] = _UNFINISHED
        done[id(value)] = _plain_container(value, done)
    return done[id(value)]


def _plain_container(value: Any, done: dict[int, Any]) -> Any:
    if isinstance(value, dict):
        return {_key(key): _plain(item, done) for key, item in value.items()}
    items = [_plain(item, done) for item in value]
    return tuple(items) if isinstance(value, tuple) else items
