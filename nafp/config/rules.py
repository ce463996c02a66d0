"""A setting: its default, and what may stand in its place."""

from __future__ import annotations

import math
import numbers
import sys
from collections.abc import Callable
from typing import Any, NamedTuple

from nafp import errors
from nafp.jobs import choices


class Setting(NamedTuple):
    """A default, and what may stand in its place.

    allowed: the allowed values in words, to follow "must be". accepts: returns whether a value is allowed. choices: the
    words to choose from, if it is a choice.
    """

    default: Any
    allowed: str
    accepts: Callable[[Any], bool]
    choices: tuple[str, ...] = ()

    def check(self, name: str, value: Any) -> None:
        """Raises errors.Invalid with the name, the value and what is allowed, unless the value is."""
        if self.choices:
            choices.require(name, value, self.choices)
        if not self.accepts(value):
            raise errors.Invalid(f"{name}={value!r}: must be {self.allowed}.")


def choice(default: str, among: tuple[str, ...]) -> Setting:
    """Allows one of these words."""
    return Setting(default, f"one of {', '.join(among)}", among.__contains__, among)


def flag(default: bool) -> Setting:
    """Allows True and False."""
    return Setting(default, "True or False", lambda value: isinstance(value, bool))


def text(default: str) -> Setting:
    """Allows one line of text."""
    return Setting(default, "one line of text", lambda value: isinstance(value, str) and value.isprintable())


def real(default: float, **limits: float) -> Setting:
    """Allows finite numbers. limits: least and most are allowed themselves, above and below are not."""
    return Setting(default, f"a number{_range(**limits)}", lambda value: _is_real(value) and _within(value, **limits))


def whole(default: int, **limits: float) -> Setting:
    """Allows whole numbers. limits: as for `real`."""
    return Setting(default, f"a whole number{_range(**limits)}", lambda value: _is_whole(value, **limits))


def wholes(default: tuple[int, ...], *, count: int = 0, **limits: float) -> Setting:
    """Allows a list of whole numbers. count: its length, 0 for any but an empty list. limits: as for `real`."""

    def accepts(value: Any) -> bool:
        if not isinstance(value, (tuple, list)) or len(value) != (count or max(1, len(value))):
            return False
        return all(_is_whole(entry, **limits) for entry in value)

    return Setting(default, f"{count or 'one or more'} whole numbers{_range(**limits)}", accepts)


def share(default: float) -> Setting:
    """Allows numbers from 0 to 1."""
    return real(default, least=0, most=1)


def db(default: float) -> Setting:
    """Allows levels and ratios in dB, within any that a sound can have."""
    return real(default, least=-120, most=120)


def _is_real(value: Any) -> bool:
    is_number = isinstance(value, numbers.Real) and not isinstance(value, bool)
    return is_number and bool(abs(value) <= sys.float_info.max)  # False for NaN, and for an integer beyond all floats.


def _is_whole(value: Any, **limits: float) -> bool:
    return isinstance(value, numbers.Integral) and not isinstance(value, bool) and _within(value, **limits)


def _within(
    value: Any, *, least: float = -math.inf, most: float = math.inf, above: float = -math.inf, below: float = math.inf
) -> bool:
    return bool(least <= value <= most and above < value < below)


def _range(**limits: float) -> str:
    """Returns the limits in words, to follow "a number"."""
    if "least" in limits and "most" in limits:
        return f" from {limits['least']:.10g} to {limits['most']:.10g}"
    words = {"least": "of at least", "above": "above", "most": "at most", "below": "below"}
    parts = [f"{word} {limits[name]:.10g}" for name, word in words.items() if name in limits]
    return f" {' and '.join(parts)}" if parts else ""
