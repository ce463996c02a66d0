"""The songs of the lists that were added to a database, in their order: also those that gave no track.

The file is `songs.txt` in the folder of the database, one path a line. pfann's database has such a list, too, and the
columns of its score files follow it.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from nafp.jobs import whole_files

FILE = "songs.txt"


def note(folder: str | os.PathLike, songs: Sequence[str]) -> None:
    """Adds songs to the list of a database, each once.

    Of two processes that do so at the same moment, one may lose its songs. Adding the list again brings them back.
    """
    before = read(folder)
    after = list(dict.fromkeys([*before, *songs]))
    if after != before:
        with whole_files.opened(Path(folder) / FILE, encoding="utf-8", errors="surrogateescape", newline="\n") as file:
            file.writelines(f"{song}\n" for song in after)


def read(folder: str | os.PathLike) -> list[str]:
    """Returns the songs of all lists, [] for a database that was made without one."""
    path = Path(folder) / FILE
    if not path.exists():
        return []
    with open(path, encoding="utf-8", errors="surrogateescape", newline="\n") as file:
        return [line.removesuffix("\n") for line in file]
