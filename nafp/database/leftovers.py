"""The files that a killed process leaves in the folder of a database, recognised by their full names."""

from __future__ import annotations

import re
from collections.abc import Collection
from pathlib import Path

from nafp.database import catalogue, fingerprint_log, index_segments, log_place, network_file, writer_lock

_DATA = "|".join((fingerprint_log.FILE_NAMES, index_segments.FILE_NAMES))
_WHOLE = "|".join(map(re.escape, (network_file.NETWORK, network_file.CONFIDENCE, catalogue.FILE, catalogue.COPY)))
_SIDE = "|".join(catalogue.SIDE_FILES)
# A file has one of these endings until it is whole. Older versions wrote NAME.tmp, NAME.PID.tmp and NAME.new.
_UNFINISHED = re.compile(rf"(?:{_WHOLE}|{_DATA})(?:\.tmp|\.new|\.\d+\.tmp|\.\d+\.part)(?:{_SIDE})?")
_UNNAMED = re.compile(_DATA)
_CREATED = {network_file.NETWORK, network_file.CONFIDENCE, writer_lock.NAME}


def remove(folder: Path, *, named: Collection[str]) -> None:
    """Removes the files that a killed writer or creation left. The caller holds the writer's lock.

    named: the log and index files that the catalogue names, which stay. Files of other names stay, and so do links,
    but for the link to a log that this database wrote elsewhere.
    """
    for path in folder.iterdir():
        is_leftover = _UNFINISHED.fullmatch(path.name) or (_UNNAMED.fullmatch(path.name) and path.name not in named)
        if is_leftover and path.is_symlink():
            log_place.remove(path)
        elif is_leftover and path.is_file():
            path.unlink(missing_ok=True)


def all_of_a_creation(folder: Path) -> bool:
    """Returns whether the folder is empty, or holds nothing but what a killed creation left.

    A creation takes the writer's lock before it writes anything else, so files without a lock are somebody else's.
    """
    names = {path.name for path in folder.iterdir()}
    foreign = {name for name in names - _CREATED if not _UNFINISHED.fullmatch(name)}
    return not names or (writer_lock.NAME in names and not foreign)
