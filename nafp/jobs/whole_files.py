"""Files that appear whole or not at all: written under another name, synced, then renamed."""

import contextlib
import os
from collections.abc import Iterator
from typing import IO, Any


@contextlib.contextmanager
def opened(path: str | os.PathLike, mode: str = "w", **settings: Any) -> Iterator[IO]:
    """Opens a file for writing that takes the place of `path` when the block ends well.

    settings: as of `open`. An error within leaves what was there before, and nothing beside it; each process writes
    under a name of its own, so that two do not mix.
    """
    part = f"{os.fspath(path)}.{os.getpid()}.part"
    try:
        with open(part, mode, **settings) as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(part, path)
    except BaseException:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(part)
        raise
