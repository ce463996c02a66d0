"""Arguments that are a list or a single value. A single name counts as a list of one name, not of its letters."""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import TypeVar

T = TypeVar("T")


def names(given: str | os.PathLike | Iterable[str | os.PathLike]) -> list[str]:
    """Returns names and paths as a list of strings. A single string or path is a list of one."""
    several = [given] if isinstance(given, (str, os.PathLike)) else given
    return [os.fspath(name) for name in several]


def values(given: str | int | T | Iterable[str | int | T]) -> list[str | int | T]:
    """Returns names and numbers as a list. A single string or number is a list of one."""
    return [given] if isinstance(given, (str, int)) or not isinstance(given, Iterable) else list(given)
