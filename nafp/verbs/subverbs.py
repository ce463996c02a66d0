"""The verbs within a verb, such as `nafp corpus scan`: which there are, and which settings each takes.

Each is a function. It takes its sources first, then its settings as keywords with their defaults. A keyword without a
default must be given.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from nafp import errors
from nafp.jobs import choices


def require(above: str, verb: str, verbs: Iterable[str]) -> None:
    """Raises errors.Invalid, which lists the verbs, unless `verb` is one of them. above: the verb they are within."""
    if verb not in verbs:
        given = f"{above}: no {verb!r};" if verb else f"{above}: name a verb;"
        raise errors.Invalid(f"{given} there are {', '.join(verbs)}.{choices.closest(verb, verbs)}")


def check(name: str, function: Callable[..., Any], settings: Mapping[str, Any], *, ours: Iterable[str] = ()) -> None:
    """Raises errors.Invalid for settings that a verb does not take or lacks.

    name: as a person types it. ours: keywords of the function that no person gives.
    """
    parameters = {key: value for key, value in inspect.signature(function).parameters.items() if key not in ours}
    for setting in settings:
        if setting not in parameters:
            taken = ", ".join(f"--{parameter}" for parameter in list(parameters)[1:])
            raise errors.Invalid(f"{name} takes no --{setting}; it takes {taken or 'nothing'}")
    needed = [
        key
        for key, parameter in parameters.items()
        if parameter.kind is parameter.KEYWORD_ONLY and parameter.default is parameter.empty and not settings.get(key)
    ]
    if needed:
        raise errors.Invalid(f"{name} needs --{' and --'.join(needed)}")
