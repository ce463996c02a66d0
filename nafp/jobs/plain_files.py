"""Files of folders that may come from a stranger: read only if they are plain files, and never written through a link.

Reading a pipe or a device may block or never end. Writing through a link would change a file elsewhere.
"""

from __future__ import annotations

import io
import json
import os
import stat
import zlib
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nafp import errors

if TYPE_CHECKING:
    import numpy as np

_READ_BYTES = 2**18
_NO_FOLLOWING = getattr(os, "O_NOFOLLOW", 0)  # Windows has none of these three.
_NO_WAITING = getattr(os, "O_NONBLOCK", 0)
_NO_INHERITING = getattr(os, "O_CLOEXEC", 0)


def opened(path: str | os.PathLike) -> io.BufferedReader:
    """Opens a plain file for reading. Raises OSError, and errors.Invalid for a pipe, a device or a folder."""
    handle = os.open(path, os.O_RDONLY | _NO_WAITING | _NO_INHERITING | getattr(os, "O_BINARY", 0))
    if not stat.S_ISREG(os.fstat(handle).st_mode):
        os.close(handle)
        raise errors.Invalid(f"{os.fspath(path)}: is no plain file")
    return open(handle, "rb")


def contents(path: str | os.PathLike, *, n_bytes: int | None = None) -> bytes:
    """Reads a plain file. n_bytes: its size if that is known. A file of another size is refused unread.

    Raises OSError, and errors.Invalid for a file of another size, a pipe, a device or a folder.
    """
    with opened(path) as file:
        present = os.fstat(file.fileno()).st_size
        if n_bytes is not None and present != n_bytes:
            raise errors.Invalid(f"{os.fspath(path)}: has {present} bytes, {n_bytes} were written")
        return file.read()


def size_and_checksum(path: str | os.PathLike) -> tuple[int, int]:
    """Reads a plain file through and returns its size in bytes and its CRC-32. Raises as `opened` does."""
    n_bytes, crc, block = 0, 0, bytearray(_READ_BYTES)  # One block for all that is read: it stays in the cache.
    with opened(path) as file:
        while n := file.readinto(block):
            n_bytes, crc = n_bytes + n, zlib.crc32(memoryview(block)[:n], crc)
    return n_bytes, crc


def array(path: str | os.PathLike, *, is_mapped: bool = False) -> np.ndarray:
    """Reads an array of a .npy file, or maps it into memory.

    Raises OSError, and errors.Invalid for a damaged file, a pipe, a device or a folder.
    """
    import numpy as np  # Here: a command's help needs no numpy.

    with opened(path) as file:
        try:
            values = np.load(path if is_mapped else file, mmap_mode="r" if is_mapped else None, allow_pickle=False)
        except OSError:
            raise
        except Exception as error:  # numpy parses the head with Python's own parser, and lets out all that it raises.
            raise errors.Invalid(f"{os.fspath(path)}: is not an array: {error}") from None
        if not isinstance(values, np.ndarray):  # numpy takes any ZIP file for an .npz.
            values.close()
            raise errors.Invalid(f"{os.fspath(path)}: is an archive of arrays, not a single array")
        return values


def json_object(path: str | os.PathLike, *needed: str) -> dict[str, Any]:
    """Reads an object of a JSON file. needed: keys that it must have.

    Raises OSError, and errors.Invalid for a damaged file, a pipe, a device or a folder.
    """
    try:
        value = json.loads(contents(path))
    except errors.Error:
        raise
    except (ValueError, RecursionError) as error:
        raise errors.Invalid(f"{os.fspath(path)} is not JSON ({error})") from None
    missing = [key for key in needed if key not in value] if isinstance(value, dict) else ["an object"]
    if missing:
        raise errors.Invalid(f"{os.fspath(path)} is damaged: {', '.join(missing)} is missing")
    return value


def require_files(paths: Iterable[str | os.PathLike]) -> None:
    """Raises errors.Invalid if one of these is a pipe, a device or a folder. A link to a file, or no file, may be."""
    for path in paths:
        if os.path.exists(path) and not os.path.isfile(path):
            raise errors.Invalid(f"{os.fspath(path)}: is no plain file")


def require_plain(path: str | os.PathLike) -> None:
    """Raises errors.Invalid for a link, a pipe, a device or a folder. A file that is missing is no error."""
    try:
        mode = os.lstat(path).st_mode
    except OSError:
        return
    if not stat.S_ISREG(mode):
        kind = "a symbolic link" if stat.S_ISLNK(mode) else "no plain file"
        raise errors.Invalid(f"{os.fspath(path)}: is {kind}; nafp writes plain files only: remove it")


def to_change(path: str | os.PathLike) -> int:
    """Opens a plain file for reading and writing, makes it if it is missing, and returns its handle.

    Raises OSError, and errors.Invalid for a link, a pipe or a device.
    """
    require_plain(path)
    return os.open(Path(path), os.O_RDWR | os.O_CREAT | _NO_FOLLOWING | _NO_INHERITING, 0o644)
