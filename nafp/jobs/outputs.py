"""Files that a command writes: none replaces an input, or anything but a former output of the same command."""

from __future__ import annotations

import os
import pathlib
import stat
from collections.abc import Callable, Iterable, Mapping

from nafp import errors

_HEAD_BYTES = 2**16
IsFormer = Callable[[bytes], bool]


def require(
    path: str | os.PathLike, *, verb: str, is_former: IsFormer, inputs: Iterable[str] = (), flag: str = "--out"
) -> None:
    """Raises errors.Invalid if writing `path` would lose something.

    verb: the command, for the message. is_former: returns whether the first bytes of a file are those of an output of
    this command, which may be replaced. inputs: names that the command reads. Names of other things than files are
    ignored. flag: the flag that named the file, for the message. An empty file, a device and a pipe may be written.
    """
    name = os.fspath(path)
    _require_no_input(name, inputs, flag)
    if os.path.isdir(name):
        raise errors.Invalid(f"{flag}={name}: is a folder: name the file to write in it")
    head = _head(name)
    if head and not is_former(head):
        raise errors.Invalid(f"{flag}={name}: is there, and was not written by {verb}; name another file, or remove it")


def results_file(path: str | os.PathLike) -> pathlib.Path:
    """Returns the results.json of what `nafp evaluate` wrote to `path`, with --store or with --protocol.

    path: the file itself, the folder that holds it, or the folder of a protocol, which has it in its folder `results`.
    Raises errors.NotFound if there is none.
    """
    given = pathlib.Path(path)
    places = [given / "results.json", given / "results" / "results.json"] if given.is_dir() else [given]
    for place in places:
        if place.is_file():
            return place
    deeper = sorted(place.parent.name for place in given.glob("results-*/results.json"))
    folder = given.parent if given.suffix == ".json" else given
    hint = f"give one of its folders {', '.join(deeper)}" if deeper else f"nafp evaluate --out={folder} makes them"
    raise errors.NotFound(f"{places[0]}: no results here; {hint}")


def require_set(files: Mapping[str, IsFormer], *, verb: str, inputs: Iterable[str] = (), flag: str = "--out") -> None:
    """Raises errors.Invalid if writing these files, which belong together, would lose something.

    files: the path of each file -> its `is_former`, as in `require`. They may be replaced if one of them is a former
    output, or if none exists. The other parameters are those of `require`.
    """
    inputs = list(inputs)
    for name in files:
        _require_no_input(name, inputs, flag)
    heads = {name: _head(name) for name in files}
    present = [name for name, head in heads.items() if head]
    if present and not any(files[name](heads[name]) for name in present):
        raise errors.Invalid(
            f"{flag}: {present[0]} is there, and was not written by {verb}; name another {flag}, or remove it"
        )


def json_of(*keys: str) -> IsFormer:
    """Returns an `is_former` for objects in JSON whose beginning has all these keys."""

    def is_former(head: bytes) -> bool:
        return head.lstrip().startswith(b"{") and all(f'"{key}"'.encode() in head for key in keys)

    return is_former


def begins_with(*beginnings: bytes) -> IsFormer:
    """Returns an `is_former` for files that begin with one of these."""
    return lambda head: head.startswith(beginnings)


def never(head: bytes) -> bool:
    """Is the `is_former` of files that do not show who wrote them: none of them is replaced."""
    return False


def _require_no_input(name: str, inputs: Iterable[str], flag: str) -> None:
    for given in inputs:
        if os.path.exists(name) and os.path.exists(given) and os.path.samefile(name, given):
            raise errors.Invalid(f"{flag}={name}: is an input of this command, {given}; name another file")


def _head(name: str) -> bytes:
    """Returns the first bytes of a file. They are b"" for a missing or empty file, a pipe, a device and a folder."""
    try:
        if not stat.S_ISREG(os.stat(name).st_mode):
            return b""
    except OSError:  # It does not exist, or opening it for writing will be refused.
        return b""
    with open(name, "rb") as file:
        return file.read(_HEAD_BYTES)
