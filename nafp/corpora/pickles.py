"""Pickled lists of other systems, read as data: nothing in the file can run.

A pickle is a small program, and Python's own reader calls whatever it names. This one knows the
instructions that build lists, tuples, dicts, sets, text, numbers, paths and numeric arrays, and
nothing else: it never imports or calls what a file asks for, it refuses the file and says what that
was. Written are plain lists, which any reader takes.
"""

import io
import os
import pickle
import pickletools
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from nafp import errors
from nafp.jobs import whole_files

LARGEST_BYTES = 256 << 20  # A list of a million paths takes a third of it.
_MODULES = ("numpy", "numpy.core.multiarray", "numpy._core.multiarray", "numpy._core.numeric")
_PATHS = ("PosixPath", "WindowsPath", "PurePosixPath", "PureWindowsPath", "Path", "PurePath")
_DICTS = ("collections.OrderedDict", "builtins.dict", "__builtin__.dict")
_SETS = ("builtins.set", "__builtin__.set", "builtins.frozenset", "__builtin__.frozenset")
_LISTS = ("builtins.list", "__builtin__.list")
_NUMERIC = "biufUS"  # Kinds of dtype that hold no objects.
# fmt: off
_VALUES = frozenset((
    "INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1", "LONG4", "FLOAT", "BINFLOAT",
    "STRING", "BINSTRING", "SHORT_BINSTRING",
    "UNICODE", "BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8",
    "BINBYTES", "SHORT_BINBYTES", "BINBYTES8", "BYTEARRAY8",
))
# fmt: on
_CONSTANTS = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False}
_EMPTY: dict[str, Callable[[], Any]] = {
    "EMPTY_LIST": list,
    "EMPTY_TUPLE": tuple,
    "EMPTY_DICT": dict,
    "EMPTY_SET": set,
}
_SKIPPED = frozenset(("PROTO", "FRAME"))


class _Name(NamedTuple):
    """What a file asks to import; it never is."""

    module: str
    name: str

    def __str__(self) -> str:
        return f"{self.module}.{self.name}"


class _Dtype:
    """A dtype under construction."""

    def __init__(self, code: Any):
        if not isinstance(code, str):
            raise errors.Invalid("a numpy type without a name")
        self.code, self.order = code, "="

    def finished(self) -> np.dtype:
        if self.code[:1] not in _NUMERIC or not self.code[1:].isdigit():
            raise errors.Invalid(f"an array of {self.code!r}, which is not numbers or text")
        order = self.order if self.order in ("<", ">") else "="
        return np.dtype(order + self.code)


class _Array:
    """An array under construction, and afterwards the array."""

    def __init__(self) -> None:
        self.values: np.ndarray | None = None


_MARK = object()


def read(path: str | os.PathLike) -> Any:
    """Reads a pickle of plain data; arrays come as numpy arrays, paths as text, sets as lists.

    Raises ValueError for anything else, with what the file asked for, and for a damaged file.
    """
    path = os.fspath(path)
    try:
        n_bytes = os.path.getsize(path)
        if n_bytes > LARGEST_BYTES:
            raise errors.Invalid(f"{n_bytes} bytes, more than a list has ({LARGEST_BYTES})")
        with open(path, "rb") as file:
            data = io.BytesIO(file.read())  # Which takes lengths that lie for what is there.
        return _plain(_Builder().run(data), {})
    except OSError as error:
        raise errors.Invalid(f"{path}: {error.strerror}") from None
    except (ValueError, IndexError, KeyError, TypeError, RecursionError) as error:
        reason = str(error) or type(error).__name__
        raise errors.Invalid(f"{path}: not a pickle of plain data: {reason}") from None


def write(path: str | os.PathLike, values: list) -> None:
    """Writes a pickle that any Python from 3.4 on reads; it appears whole or not at all."""
    with whole_files.opened(path, "wb") as file:
        pickle.dump(values, file, protocol=4)


class _Builder:
    """The stack and the memo of a pickle, for the instructions that build data."""

    def __init__(self) -> None:
        self.stack: list[Any] = []
        self.memo: dict[int, Any] = {}

    def run(self, file: Any) -> Any:
        for opcode, argument, _ in pickletools.genops(file):
            if opcode.name == "STOP":
                return self.stack.pop()
            self._step(opcode.name, argument)
        raise errors.Invalid("it ends in the middle")

    def _step(self, name: str, argument: Any) -> None:
        if name in _VALUES:
            self.stack.append(argument)
        elif name in _CONSTANTS:
            self.stack.append(_CONSTANTS[name])
        elif name in _EMPTY:
            self.stack.append(_EMPTY[name]())
        elif name not in _SKIPPED:
            step = getattr(self, f"_{name.lower()}", None)
            if step is None:
                raise errors.Invalid(f"it uses {name}, which no list needs")
            step(argument)

    def _since_mark(self) -> list[Any]:
        for at in range(len(self.stack) - 1, -1, -1):
            if self.stack[at] is _MARK:
                items = self.stack[at + 1 :]
                del self.stack[at:]
                return items
        raise errors.Invalid("a mark is missing")

    def _mark(self, _: Any) -> None:
        self.stack.append(_MARK)

    def _pop(self, _: Any) -> None:
        self.stack.pop()

    def _pop_mark(self, _: Any) -> None:
        self._since_mark()

    def _dup(self, _: Any) -> None:
        self.stack.append(self.stack[-1])

    def _list(self, _: Any) -> None:
        self.stack.append(self._since_mark())

    def _tuple(self, _: Any) -> None:
        self.stack.append(tuple(self._since_mark()))

    def _tuple1(self, _: Any) -> None:
        self._last(1)

    def _tuple2(self, _: Any) -> None:
        self._last(2)

    def _tuple3(self, _: Any) -> None:
        self._last(3)

    def _last(self, n: int) -> None:
        if len(self.stack) < n:
            raise errors.Invalid("the stack is too short")
        self.stack[-n:] = [tuple(self.stack[-n:])]

    def _dict(self, _: Any) -> None:
        items = self._since_mark()
        self.stack.append(_pairs(items))

    def _append(self, _: Any) -> None:
        item = self.stack.pop()
        self._top(list).append(item)

    def _appends(self, _: Any) -> None:
        items = self._since_mark()
        self._top(list).extend(items)

    def _setitem(self, _: Any) -> None:
        value, key = self.stack.pop(), self.stack.pop()
        self._top(dict).update(_pairs([key, value]))

    def _setitems(self, _: Any) -> None:
        items = self._since_mark()
        self._top(dict).update(_pairs(items))

    def _additems(self, _: Any) -> None:
        items = self._since_mark()
        self._top(set).update(map(_key, items))

    def _frozenset(self, _: Any) -> None:
        self.stack.append(frozenset(map(_key, self._since_mark())))

    def _top(self, kind: type) -> Any:
        if type(self.stack[-1]) is not kind:
            raise errors.Invalid(f"it adds to what is no {kind.__name__}")
        return self.stack[-1]

    def _memoize(self, _: Any) -> None:
        self.memo[len(self.memo)] = self.stack[-1]

    def _put(self, number: int) -> None:
        self.memo[number] = self.stack[-1]

    def _get(self, number: int) -> None:
        self.stack.append(self.memo[number])

    _binput = _long_binput = _put
    _binget = _long_binget = _get

    def _global(self, words: str) -> None:
        self.stack.append(_allowed(*words.split(" ", 1)))

    def _stack_global(self, _: Any) -> None:
        name, module = self.stack.pop(), self.stack.pop()
        self.stack.append(_allowed(module, name))

    def _reduce(self, _: Any) -> None:
        arguments, name = self.stack.pop(), self.stack.pop()
        if not isinstance(name, _Name) or not isinstance(arguments, tuple):
            raise errors.Invalid("it calls what has no name")
        self.stack.append(_made(name, arguments))

    def _build(self, _: Any) -> None:
        state = self.stack.pop()
        target = self.stack[-1]
        if isinstance(target, _Dtype) and isinstance(state, tuple):
            target.order = state[1]
        elif isinstance(target, _Array) and isinstance(state, tuple) and len(state) == 5:
            _, shape, dtype, is_fortran, data = state
            target.values = _filled(data, dtype, shape, "F" if is_fortran else "C")
        else:
            raise errors.Invalid("it changes what is no array")


def _allowed(module: Any, name: Any) -> _Name:
    """Knows the few names that data needs; raises ValueError for all others."""
    asked = _Name(module, name)
    known = (
        (module in _MODULES and name in ("_reconstruct", "ndarray", "dtype", "scalar"))
        or (module in _MODULES and name == "_frombuffer")
        or (module in ("pathlib", "pathlib._local") and name in _PATHS)
        or str(asked) in (*_DICTS, *_SETS, *_LISTS, "_codecs.encode")
    )
    if not known:
        raise errors.Invalid(f"it asks to run {module}.{name}; it was not run. Do not trust this file")
    return asked


def _made(name: _Name, arguments: tuple) -> Any:
    """Gives what a call of a known name means, without calling it."""
    if name.module.startswith("pathlib"):
        return "/".join(str(part) for part in arguments).replace("//", "/")
    if str(name) in _DICTS:
        return _pairs([value for pair in (arguments[0] if arguments else ()) for value in pair])
    if str(name) in _SETS or str(name) in _LISTS:
        return list(arguments[0]) if arguments else []
    if str(name) == "_codecs.encode":  # Bytes in protocol 2.
        text, encoding = arguments
        if encoding != "latin1" or not isinstance(text, str):
            raise errors.Invalid(f"it encodes as {encoding!r}")
        return text.encode("latin1")
    if name.name == "dtype":
        return _Dtype(arguments[0])
    if name.name == "_reconstruct":
        return _Array()
    if name.name == "scalar":
        dtype, data = arguments
        return _filled(data, dtype, (1,), "C")[0].item()
    if name.name == "_frombuffer":
        array = _Array()
        data, dtype, shape, order = arguments
        array.values = _filled(data, dtype, shape, order)
        return array
    raise errors.Invalid(f"it calls {name}")


def _filled(data: Any, dtype: Any, shape: Any, order: str) -> np.ndarray:
    if not isinstance(dtype, _Dtype) or not isinstance(data, (bytes, bytearray)):
        raise errors.Invalid("an array of objects")
    if not isinstance(shape, tuple) or order not in ("C", "F"):
        raise errors.Invalid("an array without a shape")
    return np.frombuffer(bytes(data), dtype.finished()).reshape(shape, order=order).copy()


def _pairs(items: list[Any]) -> dict[Any, Any]:
    return dict(zip(map(_key, items[::2]), items[1::2], strict=True))


def _key(value: Any) -> Any:
    """Lets single values be keys: hashing tuples within tuples can be made to take for ever."""
    if value is not None and not isinstance(value, (str, bytes, int, float)):
        raise errors.Invalid(f"a key that is a {type(value).__name__}")
    return value


_UNFINISHED = object()


def _plain(value: Any, known: dict[int, Any]) -> Any:
    """Gives arrays for what became one, lists for sets; what is there twice is done once."""
    if isinstance(value, _Array):
        if value.values is None:
            raise errors.Invalid("an array without values")
        return value.values
    if value is _MARK or isinstance(value, (_Name, _Dtype)):
        raise errors.Invalid("it holds names, not data")
    if not isinstance(value, (list, tuple, dict, set, frozenset)):
        return value
    if known.get(id(value)) is _UNFINISHED:
        raise errors.Invalid("it contains itself")
    if id(value) not in known:
        known[id(value)] = _UNFINISHED
        known[id(value)] = _plain_container(value, known)
    return known[id(value)]


def _plain_container(value: Any, known: dict[int, Any]) -> Any:
    if isinstance(value, dict):
        return {key: _plain(item, known) for key, item in value.items()}
    items = [_plain(item, known) for item in value]
    return tuple(items) if isinstance(value, tuple) else items
