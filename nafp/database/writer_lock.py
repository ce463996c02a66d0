"""One writer at a time: the lock of a database, which names its holder and ends with the holder's process."""

from __future__ import annotations

from pathlib import Path
from typing import IO

from nafp import errors
from nafp.database import refusals
from nafp.jobs import locks

NAME = "writer.lock"


def take(folder: Path) -> IO[str]:
    """Locks a database until the returned file is closed or the process ends, however it ends.

    Raises errors.Locked, which names the holder, and errors.Unwritable for a folder that cannot be written.
    """
    try:
        return locks.take(folder / NAME)
    except BlockingIOError:
        raise errors.Locked(
            f"{folder}: is being written by {locks.holder(folder / NAME)}; only one process at a time may write. "
            "Wait for it, or stop it. Reading is possible meanwhile."
        ) from None
    except OSError as error:
        raise refusals.unwritable(folder, error) from error
