"""`nafp remove`: removes tracks from a database."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from nafp import errors
from nafp.database import database
from nafp.jobs import shown

FOUND, NOTHING = 0, 1  # Exit codes.


def run(folder: str, tracks: Sequence[str] = (), *, ids: Sequence[int] = (), glob: Sequence[str] = ()) -> int:
    """Removes the tracks that these names, numbers and patterns name, and returns the exit code.

    If one of them names no track, nothing is removed.
    """
    with database.Database.open(folder) as opened:
        try:
            names = opened.remove([*tracks, *ids], glob=glob)
        except errors.UnknownTrack as error:
            print(shown.plain(f"nafp remove: {error}; nothing was removed"), file=sys.stderr)
            return NOTHING
        print(shown.lines([*(f"removed {name}" for name in names), f"{folder}: {len(opened)} tracks"]))
    return FOUND
