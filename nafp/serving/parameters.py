"""Numbers in the query of a request, and whether its client is still there."""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable, Coroutine, Mapping, MutableMapping
from typing import Any

from nafp.serving.refusals import Refusal


def count(query: Mapping[str, str], name: str, default: int, *, low: int, high: int) -> int:
    """Returns a whole number of a query. Raises Refusal 400 for anything else."""
    text = query.get(name, str(default))
    if not text.isascii() or not text.isdigit() or len(text) > 19 or not low <= int(text) <= high:
        raise Refusal(400, f"{name}={text[:40]!r}: a whole number from {low} to {high} is needed")
    return int(text)


def number(query: Mapping[str, str], name: str, default: float, *, low: float, high: float) -> float:
    """Returns a number of a query. Raises Refusal 400 for anything else."""
    text = query.get(name, str(default))
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not low <= value <= high:  # False for NaN.
        raise Refusal(400, f"{name}={text[:40]!r}: a number from {low:g} to {high:g} is needed")
    return value


def gone(receive: Callable[[], Awaitable[MutableMapping[str, Any]]]) -> Callable[[], Coroutine[Any, Any, None]]:
    """Returns a function that waits until the client of a request, whose body was read, has left."""

    async def wait() -> None:
        while (await receive())["type"] != "http.disconnect":
            pass

    return wait
