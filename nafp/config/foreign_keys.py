"""How a key of another system's configuration file is read: as settings of ours, ignored, or refused."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

from nafp.jobs import choices

Tree = Mapping[str, Any]


class Key(NamedTuple):
    """A key of another system.

    settings: takes the key's value and the whole file, and returns settings of ours by their full names. It raises
    ValueError, with a reason, for a value that nafp has nothing for. None ignores the key. why: why the key is ignored,
    or what to know about the settings.
    """

    settings: Callable[[Any, Tree], Mapping[str, Any]] | None
    why: str = ""


class Read(NamedTuple):
    """What a file says: settings by full name, a line for each key, and a line for each that is refused."""

    settings: dict[str, Any]
    notes: list[str]
    refused: list[str]


def to(name: str, convert: Callable[[Any], Any] = lambda value: value, *, why: str = "") -> Key:
    """Describes a key whose value, converted, is one setting."""
    return Key(lambda value, _: {name: convert(value)}, why)


def into(settings: Callable[[Any, Tree], Mapping[str, Any]], *, why: str = "") -> Key:
    """Describes a key that decides several settings."""
    return Key(settings, why)


def ignored(why: str) -> Key:
    """Describes a key that nafp has no use for."""
    return Key(None, why)


def only(allowed: tuple[Any, ...], reason: str) -> Key:
    """Describes a key that has to have a value nafp works with, and decides nothing."""

    def settings(value: Any, _: Tree) -> Mapping[str, Any]:
        if value not in allowed:
            raise ValueError(reason)
        return {}

    return Key(settings, "as nafp does it")


def one_of(**meanings: Any) -> Callable[[Any], Any]:
    """Returns a conversion of words, whatever their case. It raises ValueError with the words that there are."""

    def convert(value: Any) -> Any:
        word = str(value).lower().replace("-", "_")
        if word not in meanings:
            raise ValueError(f"allowed are {', '.join(meanings)}")
        return meanings[word]

    return convert


def read(tree: Tree, keys: Mapping[str, Key], *, system: str) -> Read:
    """Reads every key of a file. keys: by full name, such as "model.d". A section's name is for all in it."""
    result = Read({}, [], [])
    for name, value in _flat(tree, keys):
        shown = f"{name}={value!r}" if not isinstance(value, Mapping) else name
        key = keys.get(name)
        if key is None:
            result.refused.append(f"{shown}: {system} has no such key.{choices.closest(name, keys)}")
        elif key.settings is None:
            result.notes.append(f"{shown}: ignored. {key.why}")
        else:
            _read_one(result, key, shown, value, tree)
    return result


def _read_one(result: Read, key: Key, shown: str, value: Any, tree: Tree) -> None:
    try:
        settings = dict(key.settings(value, tree)) if key.settings else {}
    except ValueError as error:
        result.refused.append(f"{shown}: {error}")
        return
    except (ArithmeticError, AttributeError, LookupError, TypeError) as error:  # A value of another kind than expected.
        result.refused.append(f"{shown}: is not a value that this key can have ({type(error).__name__}: {error})")
        return
    result.settings.update(settings)
    became = ", ".join(f"config.{name}={value!r}" for name, value in settings.items())
    result.notes.append(f"{shown}: {became}{'. ' if became and key.why else ''}{key.why}")


def _flat(tree: Tree, keys: Mapping[str, Key], above: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in tree.items():
        name = f"{above}{key}"
        if isinstance(value, Mapping) and name not in keys:
            yield from _flat(value, keys, f"{name}.")
        else:
            yield name, value
