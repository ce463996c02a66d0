"""Reads a command line: the flags that it gives, and the words that belong to no flag."""

from collections.abc import Iterable
from typing import Any

from absl import flags

from . import exits


def given(names: Iterable[str]) -> dict[str, Any]:
    """Returns the values of the flags that the command line gives, by name. names: the flags to look at."""
    return {name: flags.FLAGS[name].value for name in names if flags.FLAGS[name].present}


def only_with(names: Iterable[str], condition: bool, hint: str) -> None:
    """Raises errors.Invalid if a flag is given that has no effect here.

    names: the flags that need the condition. hint: what they belong to.
    """
    if not condition and (idle := list(given(names))):
        raise exits.wrong(f"--{idle[0]} {hint}")


def require_used(names: list[str], *, is_store: bool) -> None:
    """Raises errors.Invalid for flags of `identify` and `monitor` that have no effect on the inputs `names`."""
    only_with(["name"], is_store, "names parts of a --store; a database has none")
    require_names()
    only_with(["raw_hz"], "-" in names, "is the rate of standard input: name - as the input")


def require_names() -> None:
    """Raises errors.Invalid for a --name without a name in it."""
    if not flags.FLAGS["name"].value:
        raise exits.wrong("--name= is empty: it names parts of a store, such as db")


def network(source: str | None) -> str:
    """Returns the network that a command line names, "" for none. Raises nafp.errors.NotFound if it is not there."""
    if not source:
        return ""
    from nafp.weights import sources

    sources.require(source)
    return source


def require_none(argv: list[str], hint: str) -> None:
    """Raises errors.Invalid if a command line has words that belong to no flag. hint: where a setting goes."""
    if len(argv) > 1:
        raise exits.wrong(f"unexpected arguments {argv[1:]}; {hint}")
