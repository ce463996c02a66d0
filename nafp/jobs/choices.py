"""Words that a person chooses among: refused with the closest one that exists."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

from nafp import errors


def closest(word: object, words: Iterable[object]) -> str:
    """Returns " Did you mean 'x'?" for the word most like the one given, "" if none is."""
    matches = difflib.get_close_matches(str(word), [str(choice) for choice in words], n=1)
    return f" Did you mean {matches[0]!r}?" if matches else ""


def require(name: str, value: object, allowed: Iterable[object]) -> None:
    """Raises errors.Invalid, with the list, unless `value` is one of `allowed`. name: what messages call it."""
    choices = list(allowed)
    if value not in choices:
        listing = ", ".join(str(choice) for choice in choices)
        raise errors.Invalid(f"{name}={value!r}: allowed are {listing}.{closest(value, choices)}")
