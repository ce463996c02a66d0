"""What a person types to name tracks of a database: a name, a file name, a path or a pattern."""

from __future__ import annotations

import difflib
import fnmatch
import glob
import os
from collections.abc import Sequence
from pathlib import Path

from nafp import errors


def matching(which: str, names: Sequence[str], *, folder: str | os.PathLike) -> list[str]:
    """Returns the names that `which` means: a file name with or without suffix, a path, or a pattern.

    names: those of all tracks. folder: the database, for messages. Raises errors.UnknownTrack if there is none, or if
    several tracks have that file name.
    """
    same_file_name = [name for name in names if which in (Path(name).name, Path(name).stem)]
    if len(same_file_name) > 1:
        raise errors.UnknownTrack(
            f"{which}: {len(same_file_name)} tracks of {folder} are called so: {', '.join(same_file_name[:3])}; "
            "give a path"
        )
    if same_file_name:
        return same_file_name
    if os.path.abspath(which) in names:
        return [os.path.abspath(which)]
    if glob.has_magic(which):
        matches = [name for name in names if _fits(name, which)]
        if matches:
            return matches
    close = difflib.get_close_matches(which, [*names, *(Path(name).name for name in names)], n=1)
    raise errors.UnknownTrack(f"{which}: no such track in {folder}" + (f"; did you mean {close[0]}?" if close else ""))


def named(which: str, names: Sequence[str], by_number: str | None, *, folder: str | os.PathLike) -> list[str]:
    """Returns the one name that a string means: a file name with or without suffix, a path, or "#17" for a number.

    names: those of all tracks. by_number: the name of the track of that number, if the string is one. Raises
    errors.UnknownTrack if there is none, or if it could mean several; the message lists them.
    """
    meant = [name for name in names if which in (Path(name).name, Path(name).stem, name)]
    if os.path.abspath(which) in names:
        meant.append(os.path.abspath(which))
    if which.startswith("#") and by_number:
        meant.append(by_number)
    meant = list(dict.fromkeys(meant))
    if len(meant) > 1:
        raise errors.UnknownTrack(
            f"{which}: could mean {len(meant)} tracks of {folder}: {', '.join(meant[:3])}; give a whole path, or a "
            "number of nafp list as --id"
        )
    if meant:
        return meant
    hint = ""
    if by_number:
        hint = f"; number {int(which)} is {by_number}: --id={int(which)}"
    elif glob.has_magic(which):
        hint = f"; for a pattern give --glob={which}"
    elif close := difflib.get_close_matches(which, [*names, *(Path(name).name for name in names)], n=1):
        hint = f"; did you mean {close[0]}?"
    raise errors.UnknownTrack(f"{which}: no such track in {folder}{hint}")


def fitting(pattern: str, names: Sequence[str], *, folder: str | os.PathLike) -> list[str]:
    """Returns the names, whole or without folders, that fit a pattern. Raises errors.UnknownTrack if none does."""
    matches = [name for name in names if _fits(name, pattern)]
    if not matches:
        raise errors.UnknownTrack(f"{pattern}: no track of {folder} fits this pattern")
    return matches


def _fits(name: str, pattern: str) -> bool:
    return fnmatch.fnmatchcase(name, pattern) or fnmatch.fnmatchcase(Path(name).name, pattern)
