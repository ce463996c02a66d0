"""Checks the shapes that signatures state, such as `mel: Float[Array, "B F T"]`, whenever a test calls the function.

A signature takes its words from jaxtyping, imported under TYPE_CHECKING alone: the package itself never loads it. Here
the words are looked up, and beartype compares them with each call. One letter is one number within one call.

    log_mel = shapes.checked(spectrogram.log_mel)         # One function.
    with shapes.held(spectrogram, convolution): ...       # All public functions and methods of modules.
"""

from __future__ import annotations

import contextlib
import functools
import inspect
import re
import types
from collections.abc import Callable, Iterator
from typing import Any

import beartype.door
import jax
import jaxtyping
import numpy as np

from nafp import errors

# Words of jaxtyping that signatures use. An array may come from JAX or from numpy.
_WORDS = {name: getattr(jaxtyping, name) for name in ("Bool", "Complex", "Float", "Float32", "Int", "Num", "Shaped")}
_ARRAYS = {"Array": jax.Array | np.ndarray}
_STATES_A_SHAPE = re.compile(rf"\b({'|'.join(_WORDS)})\[")


def hints(function: Callable) -> dict[str, Any]:
    """Returns what a signature says of arrays: parameter, or "return", to type. Empty where it states no shape."""
    texts = {name: text for name, text in function.__annotations__.items() if _STATES_A_SHAPE.search(str(text))}
    known = {**vars(inspect.getmodule(function)), **_WORDS, **_ARRAYS}
    return {name: eval(text, known) for name, text in texts.items()}


def checked(function: Callable) -> Callable:
    """Returns the function with its shapes checked: a call raises TypeError where an array is not as stated.

    A shape that the function itself refuses with an nafp.Error is left to it.
    """
    stated, signature = hints(function), inspect.signature(function)

    @functools.wraps(function)
    def call(*args: Any, **settings: Any) -> Any:
        given = signature.bind(*args, **settings).arguments
        try:
            value = function(*args, **settings)
        except errors.Error:
            raise  # The function itself refuses a shape, and says why.
        except Exception:
            _require_all(function, given, stated)
            raise
        _require_all(function, {**given, "return": value}, stated)
        return value

    return call


def _require_all(function: Callable, values: dict[str, Any], stated: dict[str, Any]) -> None:
    with jaxtyping.jaxtyped("context"):  # Within it a letter keeps its number.
        for name in [name for name in values if name in stated]:
            _require(function, name, values[name], stated[name])


def _require(function: Callable, name: str, value: Any, hint: Any) -> None:
    if not beartype.door.is_bearable(value, hint):
        what = f"{value.dtype}{list(value.shape)}" if hasattr(value, "shape") else type(value).__name__
        raise TypeError(f"{function.__qualname__}: {name} is {what}, not {function.__annotations__[name]}")


@contextlib.contextmanager
def held(*modules: types.ModuleType) -> Iterator[None]:
    """Checks every public function and method of the modules while it is entered."""
    with contextlib.ExitStack() as undone:
        for module in modules:
            for owner, name, function in _public(module):
                undone.callback(setattr, owner, name, function)
                setattr(owner, name, checked(function))
        yield


def _public(module: types.ModuleType) -> list[tuple[Any, str, Callable]]:
    own = [value for value in vars(module).values() if getattr(value, "__module__", "") == module.__name__]
    owners = [module, *(value for value in own if inspect.isclass(value))]
    return [
        (owner, name, value)
        for owner in owners
        for name, value in vars(owner).items()
        if inspect.isfunction(value) and value.__module__ == module.__name__ and hints(value)
        if name == "__call__" or not name.startswith("_")
    ]
