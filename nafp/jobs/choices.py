"""Checks a word that a person chose from a list. The error for a wrong word suggests the closest right one."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

from nafp import errors


def closest(word: object, words: Iterable[object]) -> str:
    """Returns " Did you mean 'x'?" for the entry of `words` most like `word`, or "" if none is similar."""
    matches = difflib.get_close_matches(str(word), [str(choice) for choice in words], n=1)
    return f" Did you mean {matches[0]!r}?" if matches else ""


def require(name: str, value: object, allowed: Iterable[object]) -> None:
    """Raises errors.Invalid, which lists the choices, unless `value` is one of `allowed`.

    name: the setting, as the message calls it.
    """
    choices = list(allowed)
    if value not in choices:
        listing = ", ".join(str(choice) for choice in choices)
        raise errors.Invalid(f"{name}={value!r}: allowed are {listing}.{closest(value, choices)}")
