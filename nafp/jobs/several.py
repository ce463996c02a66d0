"""Arguments that are a list: one name alone is a list of one, and never a list of its letters."""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import TypeVar

T = TypeVar("T")


def names(given: str | os.PathLike | Iterable[str | os.PathLike]) -> list[str]:
    """Returns names as a list of strings. A string is one name, and a path one path."""
    several = [given] if isinstance(given, (str, os.PathLike)) else given
    return [os.fspath(name) for name in several]


def values(given: str | int | T | Iterable[str | int | T]) -> list[str | int | T]:
    """Returns names and numbers as a list. A string is one name, and a number one number."""
    return [given] if isinstance(given, (str, int)) or not isinstance(given, Iterable) else list(given)
