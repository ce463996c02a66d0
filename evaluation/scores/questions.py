"""What is asked, and what would be right: the row-aligned protocol and the truth file.

Row-aligned (the original): row i of the query store is a degraded row i of the database; a
question is a test id, the start of a run of rows. Truth file (pfann's expected.csv): each query
track was cut from `answer` at `time` seconds; the question of length L is its first L rows.
"""

import csv
import os
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from typing import NamedTuple

import numpy as np

from nafp import errors
from nafp.search import collection

REQUIRED = ("query", "answer")


class Questions(NamedTuple):
    """Q runs of query rows and their right answers.

    names: one per question; first: int64 [Q], first row in the query collection; n_rows: int64
    [Q], rows there are from it on; tracks: int64 [Q, A], acceptable tracks of the database padded
    with -1 (all -1: the recording is not in it); starts: float64 [Q, A], the right start as a row
    of the database, nan when unknown; groups: column -> value per question; songs: [Q], questions
    of one song belong together.
    """

    names: list[str]
    first: np.ndarray
    n_rows: np.ndarray
    tracks: np.ndarray
    starts: np.ndarray
    groups: dict[str, list[str]]
    songs: list[str]

    def __len__(self) -> int:
        return len(self.names)

    @property
    def is_known(self) -> np.ndarray:
        """Whether the right recording is in the database, bool [Q]."""
        return (self.tracks >= 0).any(axis=1)

    def some(self, keep: np.ndarray) -> "Questions":
        """Gives the questions at these places, in their order."""
        keep = np.flatnonzero(keep) if keep.dtype == bool else keep
        return Questions(
            [self.names[i] for i in keep],
            self.first[keep],
            self.n_rows[keep],
            self.tracks[keep],
            self.starts[keep],
            {name: [column[i] for i in keep] for name, column in self.groups.items()},
            [self.songs[i] for i in keep],
        )


def row_aligned(
    query: collection.Collection,
    database: collection.Collection,
    *,
    n_dummy: int,
    ids: np.ndarray,
    shifts: int = 1,
    as_original: bool = False,
) -> Questions:
    """Asks for test ids; the right start of id i is row n_dummy + i of the database.

    With shifts > 1 the query rows are that much denser than the database's, track by track.
    as_original: a query runs on over the borders of tracks, to the last row.
    """
    starts = n_dummy + ids
    tracks = database.track_of(starts)
    first, end = _query_runs(query, database, ids, n_dummy=n_dummy, shifts=shifts)
    if as_original:
        end = np.full_like(ids, len(query))
    songs = [database.tracks[t] for t in tracks] if database.tracks else [str(i) for i in ids]
    return Questions(
        [str(i) for i in ids],
        first,
        end - first,
        tracks[:, None],
        starts[:, None].astype(np.float64),
        {},
        songs,
    )


def _query_runs(
    query: collection.Collection,
    database: collection.Collection,
    ids: np.ndarray,
    *,
    n_dummy: int,
    shifts: int,
) -> tuple[np.ndarray, np.ndarray]:
    """Gives the first query row of each test id and the end of its track."""
    n_asked = len(database) - n_dummy
    if shifts == 1 and len(query) != n_asked:
        raise errors.Invalid(
            f"the query store has {len(query)} rows and the database {n_asked}: row i of one is not "
            "row i of the other; name the right answers in a file (--truth=expected.csv)"
        )
    if shifts == 1 and not query.tracks:
        # The database's borders serve: the rows are the same.
        _, ends = database.borders(database.track_of(ids + n_dummy))
        return ids, ends - n_dummy
    if not query.tracks or not database.tracks:
        raise errors.Invalid("--shifts needs stores that know their tracks; these are bare")
    skipped = int(database.track_of(np.array(n_dummy)))
    own = np.arange(skipped, len(database.tracks))
    rows = (database.end_rows - database.first_rows)[own]
    have = query.end_rows - query.first_rows
    expected = np.maximum(0, (rows - 1) * shifts + 1)
    if len(have) != len(own) or (np.abs(have - expected) >= shifts).any():
        raise errors.Invalid(
            "the tracks of the query store are not those of the database, row for row; "
            "name the right answers in a file (--truth=expected.csv)"
        )
    track = database.track_of(ids + n_dummy)
    into = (ids + n_dummy - database.first_rows[track]) * shifts
    return query.first_rows[track - skipped] + into, query.end_rows[track - skipped]


def unknown(rows: collection.Collection, *, first_row: int, n_rows: int) -> Questions:
    """Asks for recordings that are not in the database: every track cut into runs of n_rows.

    first_row: where these rows begin among all query rows. A track shorter than a run is one.
    """
    tracks = rows.tracks or [""]
    first_rows, end_rows = rows.borders(np.arange(len(tracks)))
    runs = [
        (name, start, end)
        for name, first, end in zip(tracks, first_rows.tolist(), end_rows.tolist())
        for start in range(first, max(first + 1, end - n_rows + 1), n_rows)
        if start < end
    ]
    first = np.array([start for _, start, _ in runs], np.int64)
    nothing = np.full((len(runs), 1), -1, np.int64)
    return Questions(
        [f"{name}@{start}" for name, start, _ in runs],
        first + first_row,
        np.array([end for _, _, end in runs], np.int64) - first,
        nothing,
        np.full(nothing.shape, np.nan),
        {},
        [name or str(start // n_rows) for name, start, _ in runs],
    )


def joined(known: Questions, others: Questions) -> Questions:
    """Puts two sets of questions together; the second has no values to group by."""
    width = max(known.tracks.shape[1], others.tracks.shape[1])

    def padded(of: np.ndarray, fill: float) -> np.ndarray:
        return np.pad(of, ((0, 0), (0, width - of.shape[1])), constant_values=fill)

    return Questions(
        known.names + others.names,
        np.concatenate([known.first, others.first]),
        np.concatenate([known.n_rows, others.n_rows]),
        np.concatenate([padded(known.tracks, -1), padded(others.tracks, -1)]),
        np.concatenate([padded(known.starts, np.nan), padded(others.starts, np.nan)]),
        {name: column + [""] * len(others) for name, column in known.groups.items()},
        known.songs + others.songs,
    )


def read_ids(asked: str, *, n_rows: int, fits: np.ndarray, seed: int = 0) -> np.ndarray:
    """Reads --ids: "all", a number to draw at random, or a .npy file of test ids.

    fits: bool [n_rows], the ids that random ones are drawn among.
    """
    if asked == "all":
        return np.arange(n_rows)
    if asked.isdigit():
        choice = np.flatnonzero(fits)
        if not 0 < int(asked) <= len(choice):
            raise errors.Invalid(f"--ids={asked}: there are {len(choice)} ids to draw from")
        return np.sort(np.random.default_rng(seed).choice(choice, int(asked), replace=False))
    if not asked.endswith(".npy"):
        raise errors.Invalid(f"--ids={asked}: give all, a number, or a .npy file of test ids")
    if not os.path.exists(asked):
        raise errors.NotFound(f"--ids={asked}: no such file")
    ids = np.load(asked, allow_pickle=False).ravel()
    if ids.dtype.kind not in "iu" or not len(ids):
        raise errors.Invalid(f"--ids={asked} holds {ids.dtype} [{len(ids)}]; it should be row numbers")
    wrong = ids[(ids < 0) | (ids >= n_rows)]
    if len(wrong):
        raise errors.Invalid(
            f"--ids={asked}: {len(wrong)} of {len(ids)} ids are outside 0 .. {n_rows - 1}, "
            f"the first is {wrong[0]}; this file belongs to another query store"
        )
    return ids.astype(np.int64)


def truth_file(
    path: str | os.PathLike, query: collection.Collection, database: collection.Collection
) -> tuple[Questions, list[str]]:
    """Reads pfann's expected.csv: query,answer[,time] and any columns to group by.

    Several lines of one query are several acceptable answers. An empty answer, or one that is not
    in the database, is a question about an unknown recording. Returns the questions and the
    queries named in the file that have no rows in the store.
    """
    lines = _read(path)
    _require_tables(query, database)
    ours, theirs = Names(query.tracks), Names(database.tracks)
    asked: dict[int, list[dict]] = defaultdict(list)
    missing = []
    for line in lines:
        found = [t for t in ours.find(line["query"]) if query.end_rows[t] > query.first_rows[t]]
        if found:
            asked[found[0]].append(line)
        else:
            missing.append(line["query"])
    if not asked:
        raise errors.Invalid(
            f"{path} names {len(lines)} queries (such as {lines[0]['query']}) and none is in the "
            f"query store (tracks such as {query.tracks[0]})"
        )
    questions = _from_lines(asked, query, database, theirs)
    if not questions.is_known.any():
        raise errors.Invalid(
            f"{path}: none of its answers (such as {lines[0]['answer']}) is in the database "
            f"(tracks such as {database.tracks[0]}); track names are compared without extension"
        )
    return questions, missing


def _read(path: str | os.PathLike) -> list[dict]:
    if not Path(path).is_file():
        raise errors.NotFound(f"--truth={path}: no such file")
    with open(path, newline="", encoding="utf-8-sig", errors="surrogateescape") as text:
        table = csv.DictReader(text)
        missing = [name for name in REQUIRED if name not in (table.fieldnames or ())]
        if missing:
            raise errors.Invalid(
                f"{path} has no column {' and '.join(missing)}; its columns are "
                f"{', '.join(table.fieldnames or ['none'])}"
            )
        lines = list(table)
    if not lines:
        raise errors.Invalid(f"{path} has a header and no queries")
    return lines


def _require_tables(query: collection.Collection, database: collection.Collection) -> None:
    for rows, what in ((query, "query store"), (database, "database")):
        if not rows.tracks:
            raise errors.Invalid(f"--truth names tracks, and the {what} has no table of tracks (bare)")


def _from_lines(
    asked: dict[int, list[dict]],
    query: collection.Collection,
    database: collection.Collection,
    theirs: "Names",
) -> Questions:
    answers = [_answers(lines, database, theirs) for lines in asked.values()]
    width = max(1, *(len(each) for each in answers))
    tracks = np.full((len(asked), width), -1, np.int64)
    starts = np.full((len(asked), width), np.nan)
    for row, each in enumerate(answers):
        for column, (track, start) in enumerate(each):
            tracks[row, column], starts[row, column] = track, start
    own = np.array(list(asked), np.int64)
    first, end = query.borders(own)
    first = np.minimum(first + before(query), end)
    columns = [name for name in next(iter(asked.values()))[0] if name and name not in REQUIRED]
    return Questions(
        [query.tracks[track] for track in own],
        first,
        end - first,
        tracks,
        starts,
        {c: [lines[0][c] or "" for lines in asked.values()] for c in columns if c != "time"},
        _songs(list(asked.values()), [bool(each) for each in answers]),
    )


def before(query: collection.Collection) -> int:
    """Counts the rows before each query in a store of slowed-down queries; see `nafp.fingerprints.extract`."""
    return max((one.meta.get("brief_rows", 0) for one in query.sources), default=0)


def _songs(asked: list[list[dict]], is_known: list[bool]) -> list[str]:
    """Names what each query was cut from; where all unknown ones say the same ("none"), itself."""
    unknown = {lines[0]["answer"] for lines, known in zip(asked, is_known) if not known}
    placeholder = unknown.pop() if len(unknown) == 1 else ""
    return [lines[0]["query"] if lines[0]["answer"] in ("", placeholder) else lines[0]["answer"] for lines in asked]


def _answers(lines: list[dict], database: collection.Collection, theirs: "Names") -> list[tuple[int, float]]:
    """Gives the acceptable (track, start row) of one query."""
    found = []
    for line in lines:
        time = (line.get("time") or "").strip()
        try:
            into = float(time) / database.hop_s if time else np.nan
        except ValueError:
            raise errors.Invalid(f"query {line['query']}: time={time!r} is no number of seconds") from None
        for track in theirs.find(line["answer"] or ""):
            found.append((track, database.first_rows[track] + into))
    return found


class Names:
    """Finds tracks by name: the full path, else the base name with or without extension."""

    def __init__(self, tracks: Sequence[str]):
        self._paths = [_path(track) for track in tracks]
        self._full, self._base = defaultdict(list), defaultdict(list)
        for number, (track, path) in enumerate(zip(tracks, self._paths)):
            self._full[track].append(number)
            for name in {path.name, path.stem}:
                self._base[name].append(number)

    def find(self, name: str) -> list[int]:
        """Gives the tracks of that name; of several the ones whose folders agree the longest."""
        if not name:
            return []
        path = _path(name)
        found = self._full.get(name) or self._base.get(path.name) or self._base.get(path.stem, [])
        if len(found) < 2:
            return found
        shared = [_shared_folders(path, self._paths[number]) for number in found]
        return [number for number, n in zip(found, shared) if n == max(shared)]


def _path(name: str) -> PurePosixPath:
    return PurePosixPath(name.replace("\\", "/"))


def _shared_folders(a: PurePosixPath, b: PurePosixPath) -> int:
    """Counts the folders two paths have in common, from the file upwards."""
    n = 0
    for one, other in zip(reversed(a.parts[:-1]), reversed(b.parts[:-1])):
        if one != other:
            break
        n += 1
    return n
