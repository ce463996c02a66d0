"""Files that a command writes: none replaces an input, or anything but a former output of the same command."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterable

from nafp import errors

_HEAD_BYTES = 2**16


def require(
    path: str | os.PathLike, *, verb: str, is_former: Callable[[bytes], bool], inputs: Iterable[str] = ()
) -> None:
    """Raises errors.Invalid if writing `path` would lose something.

    verb: the command, for the message. is_former: whether the first bytes of a file are those of an output of this
    command, which may be replaced. inputs: names that the command reads; those that are no files are ignored. An empty
    file, a device and a pipe may be written.
    """
    name = os.fspath(path)
    for given in inputs:
        if os.path.exists(name) and os.path.exists(given) and os.path.samefile(name, given):
            raise errors.Invalid(f"--out={name}: is an input of this command, {given}; name another file")
    try:
        status = os.stat(name)
    except OSError:  # It is not there, or will be refused when it is opened.
        return
    if stat.S_ISDIR(status.st_mode):
        raise errors.Invalid(f"--out={name}: is a folder: name the file to write in it")
    if not stat.S_ISREG(status.st_mode) or not status.st_size:
        return
    with open(name, "rb") as file:
        head = file.read(_HEAD_BYTES)
    if not is_former(head):
        raise errors.Invalid(f"--out={name}: is there, and was not written by {verb}; name another file, or remove it")
