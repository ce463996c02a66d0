"""Test ids of the original: numbers of the rows of a store at which queries start.

The original keeps them as an int64 .npy (eval/test_ids_icassp2021.npy: 2,000 of 29,500 rows, 500 clips of 59).
AMG-Embedding keeps them as a pickle, {longest query: {query length: [ids]}}. An id means nothing without the list of
files over which rows are counted. This file converts ids to file, row and second, and back. Files are in the order of
their paths, as both systems sort them.
"""

import csv
import os
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np

from nafp import errors
from nafp.audio import segments
from nafp.corpora import list_text, manifest, pickles
from nafp.jobs import plain_files, whole_files

SEGMENT_S, HOP_S = 1.0, 0.5
COLUMNS = ("id", "path", "row", "start_s")
_RATE_HZ = 8000  # The rate of the original, in whose samples rows are counted.


class QueryStart(NamedTuple):
    """Where a query starts. id: its row among all files. row: its row in this file, from 0. start_s: its second."""

    id: int
    path: str
    row: int
    start_s: float


def read(path: str | os.PathLike) -> np.ndarray:
    """Reads test ids from .npy or .pkl: int64 [n]. "ids.pkl#10.19" means the list at [10][19].

    Raises errors.Invalid for a file of anything else.
    """
    folder, name = os.path.split(os.fspath(path))  # A folder may have a "#" in its name.
    name, _, key = name.partition("#")
    path = os.path.join(folder, name)
    values: object
    if path.endswith(".npy"):
        try:
            values = plain_files.array(path)
        except (OSError, errors.Invalid) as error:
            raise errors.Invalid(f"{path}: not an array of row numbers ({error})") from None
    else:
        list_text.require_file(path)
        values = _inside(pickles.read(path), key, path)
    try:
        ids = np.asarray(values)
    except ValueError:
        raise errors.Invalid(f"{path}: holds lists of different lengths; one list of row numbers is needed") from None
    if ids.ndim != 1 or ids.dtype.kind not in "iu" or not len(ids) or ids.min() < 0:
        raise errors.Invalid(f"{path}: holds {ids.dtype} {list(ids.shape)}; row numbers [n] are needed")
    return ids.astype(np.int64)


def is_former(head: bytes) -> bool:
    """Returns whether the first bytes of a file are those of test ids, or of a table of places, written here."""
    is_ids = head.startswith(b"\x93NUMPY") and b"'<i8'" in head[:128] and b",)" in head[:128]
    return is_ids or head.startswith(",".join(COLUMNS).encode())


def write(path: str | os.PathLike, ids: Sequence[int] | np.ndarray) -> None:
    """Writes test ids as int64 .npy, which the original and `nafp evaluate --ids` read."""
    with whole_files.opened(path, "wb") as file:
        np.save(file, np.asarray(ids, np.int64))


def places(ids: Iterable[int], tracks: Sequence[manifest.Track]) -> list[QueryStart]:
    """Returns the file and second of each id. tracks: the files over which rows are counted.

    Raises errors.Invalid for an id beyond the last row, and for tracks of unknown length.
    """
    ordered, ends = _counted(tracks)
    starts = []
    for number in map(int, ids):
        at = int(np.searchsorted(ends, number, side="right"))
        if at == len(ordered):
            total = int(ends[-1]) if len(ends) else 0
            raise errors.Invalid(f"id {number}: {len(ordered)} files have rows 0 .. {total - 1}; wrong list?")
        row = number - (int(ends[at - 1]) if at else 0)
        starts.append(QueryStart(number, ordered[at].path, row, segments.start_s(row, hop_s=HOP_S)))
    return starts


def ids_of(starts: Iterable[tuple[str, float]], tracks: Sequence[manifest.Track]) -> np.ndarray:
    """Returns the ids of these (path, second): for each the row of that file nearest to the second, int64 [n]."""
    ordered, ends = _counted(tracks)
    first = dict(zip((t.path for t in ordered), (int(end) for end in np.concatenate([[0], ends]))))
    last = dict(zip((track.path for track in ordered), ends))
    ids = []
    for path, start_s in starts:
        if path not in first:
            raise errors.Invalid(f"{path}: not in the list of tracks that rows are counted over")
        number = first[path] + round(segments.row_of(start_s, hop_s=HOP_S))
        if not first[path] <= number < last[path]:
            raise errors.Invalid(f"{path}: {start_s} s is beyond its last row")
        ids.append(number)
    return np.array(ids, np.int64)


def read_places(path: str | os.PathLike) -> list[tuple[str, float]]:
    """Reads (path, start_s) from a table of `write_places`, or from any table with these columns."""
    folder = os.path.dirname(os.path.abspath(path))
    rows = list_text.table(path, {"path", "start_s"}, missing="; nafp corpus convert writes such a table")
    return [(os.path.normpath(os.path.join(folder, row["path"])), _seconds(row["start_s"], path)) for row in rows]


def _seconds(text: str, path: str | os.PathLike) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = -1.0
    if not 0 <= seconds < float("inf"):
        raise errors.Invalid(f"{os.fspath(path)}: start_s {text!r} is not a number of seconds of at least 0")
    return seconds


def write_places(path: str | os.PathLike, starts: Iterable[QueryStart]) -> None:
    """Writes a table with the columns COLUMNS."""
    with whole_files.opened(path, newline="", encoding="utf-8", errors="surrogateescape") as file:
        rows = csv.writer(file)
        rows.writerow(COLUMNS)
        rows.writerows(starts)


def _counted(tracks: Sequence[manifest.Track]) -> tuple[list[manifest.Track], np.ndarray]:
    """Returns the tracks in the order of their paths, and the number of rows up to the end of each, int64 [N].

    A track shorter than a segment is one row: the original fills it up with silence.
    """
    ordered = sorted(tracks, key=lambda track: track.path)
    unknown = [track.path for track in ordered if not track.seconds]
    if unknown:
        raise errors.Invalid(f"{unknown[0]}: its length is not known; nafp corpus scan reads lengths")
    segment, hop = (segments.to_samples(s, _RATE_HZ) for s in (SEGMENT_S, HOP_S))
    n_samples = [max(segment, segments.to_samples(track.seconds, _RATE_HZ)) for track in ordered]
    rows = [segments.count(n, segment=segment, hop=hop) for n in n_samples]
    return ordered, np.cumsum(rows, dtype=np.int64)


def _inside(values: object, key: str, path: str) -> object:
    """Returns the list at a key such as "10.19" of nested dicts."""
    for part in filter(None, key.split(".")):
        if not isinstance(values, dict):
            raise errors.Invalid(f"{path}: #{key}: nothing is inside of {part!r}")
        by_name = {str(name): value for name, value in values.items()}
        if part not in by_name:
            raise errors.Invalid(f"{path}: #{key}: no {part!r}; there are {', '.join(by_name)}")
        values = by_name[part]
    if isinstance(values, dict) and not values:
        raise errors.Invalid(f"{path}: holds no list of row numbers")
    if isinstance(values, dict):
        names = ", ".join(map(str, values))
        raise errors.Invalid(
            f"{path}: holds several lists; choose one, as in {path}#{next(iter(values))}; there are {names}"
        )
    return values
