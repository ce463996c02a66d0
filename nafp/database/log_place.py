"""Where the log of a database lies: in its folder, or on another disk behind a link.

A database may come from a stranger, and writing through his link would change a file of ours. So a place says itself
whose it is: its file database.txt names the folder of the one database that writes there.
"""

from __future__ import annotations

import os
import re
from pathlib import Path

from nafp import errors
from nafp.jobs import plain_files, whole_files

OWNER = "database.txt"
FILE_NAMES = r"fingerprints-\d{4,}\.log"  # Of logs, as a regular expression.


def to_write(path: Path) -> Path:
    """Returns the file behind a log: itself, or what it links to in a place that is this database's.

    Raises errors.Invalid for a link to anywhere else.
    """
    if not path.is_symlink():
        return path
    target = Path(os.path.realpath(path))
    if not _is_own(path, target):
        raise errors.Invalid(
            f"{path}: is a symbolic link into {target.parent}, whose {OWNER} does not name this database, so "
            "nothing is written there. If no other database writes there: "
            f"echo '{_folder(path)}' > '{target.parent / OWNER}'"
        )
    return target


def begin(path: Path, present: Path, folder: str | os.PathLike | None) -> None:
    """Makes room for a new log: removes what is left under its name, and links it to an empty file elsewhere.

    present: the log so far. folder: where the new one is to lie, None for where the present one does. Raises
    errors.Invalid for a place that is another database's.
    """
    remove(path)
    if path.is_symlink():  # To a place that is not this database's.
        path.unlink()
    place = Path(os.path.realpath(folder if folder is not None else to_write(present).parent))
    if place == _folder(path):
        return
    _claim(place, _folder(path))
    target = place / path.name
    target.unlink(missing_ok=True)
    os.close(plain_files.to_change(target))
    whole_files.sync_folder(place)
    path.symlink_to(target)


def remove(path: Path) -> None:
    """Removes a log, and the file behind it. A link to a place that is not this database's stays."""
    if path.is_symlink():
        target = Path(os.path.realpath(path))
        if not _is_own(path, target):
            return
        target.unlink(missing_ok=True)
    path.unlink(missing_ok=True)


def missing(path: Path) -> errors.Invalid:
    """Returns the error that says that a log is not there, nor on the disk where it should lie."""
    if path.is_symlink():
        return errors.Invalid(f"{path}: lies at {path.readlink()}, which is missing; is that disk mounted?")
    return errors.Invalid(f"{path}: is missing; restore it from a copy")


def _folder(path: Path) -> Path:
    return Path(os.path.realpath(path.parent))


def _is_own(path: Path, target: Path) -> bool:
    return target.name == path.name and _owner(target.parent) == str(_folder(path))


def _owner(place: Path) -> str:
    try:
        return plain_files.contents(place / OWNER).decode().strip()
    except (OSError, ValueError, errors.Invalid):
        return ""


def _claim(place: Path, database: Path) -> None:
    """Notes that a place is this database's. Raises errors.Invalid if it may be another one's."""
    place.mkdir(parents=True, exist_ok=True)
    owner = _owner(place)
    if owner == str(database):
        return
    if owner or any(re.fullmatch(FILE_NAMES, name) for name in os.listdir(place)):
        raise errors.Invalid(
            f"{place}: is the place of {owner or 'another database'}; each log needs a folder of its own"
        )
    with whole_files.opened(place / OWNER, encoding="utf-8") as out:
        out.write(f"{database}\n")
