"""Questions and their right answers, from row-aligned stores or from a truth file.

Row-aligned, as in the original: row i of the query store is a degraded row i of the database. A question is a test id,
the first row of a run. Truth file, as pfann's expected.csv: each query track was cut from `answer` at `time` seconds. A
question of length L is its first L rows.
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

    names: a name for each question. first: int64 [Q], the first row in the query collection. n_rows: int64 [Q], number
    of rows from there on. tracks: int64 [Q, A], acceptable tracks of the database, padded with -1; all are -1 if the
    recording is not in it. starts: float64 [Q, A], the right start as a row of the database, nan if unknown. groups:
    column -> value for each question. songs: [Q], the song that a question was cut from.
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
        """Whether the recording of each question is in the database, bool [Q]."""
        return np.any(self.tracks >= 0, axis=1)

    def some(self, keep: np.ndarray) -> "Questions":
        """Returns the questions at these places, in their order. keep: int [N], or bool [Q]."""
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
    """Returns the questions of test ids. The right start of id i is row n_dummy + i of the database.

    shifts: query rows for each row of the database, within each track. as_original: whether a query runs on over the
    borders of tracks, to the last row.
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
    """Returns the first query row of each test id, and the row after the end of its track."""
    n_asked = len(database) - n_dummy
    if shifts == 1 and len(query) != n_asked:
        raise errors.Invalid(
            f"the query store has {len(query)} rows and the database {n_asked}: row i of one is not "
            "row i of the other; name the right answers in a file (--truth=expected.csv)"
        )
    if shifts == 1 and not query.tracks:
        # The rows are the same, so the borders of the database's tracks serve.
        _, ends = database.borders(database.track_of(ids + n_dummy))
        return ids, ends - n_dummy
    if not query.tracks or not database.tracks:
        raise errors.Invalid("--shifts needs stores that know their tracks; these are bare")
    skipped = int(database.track_of(np.array(n_dummy)))
    own = np.arange(skipped, len(database.tracks))
    rows = (database.end_rows - database.first_rows)[own]
    query_rows = query.end_rows - query.first_rows
    expected = np.maximum(0, (rows - 1) * shifts + 1)
    if len(query_rows) != len(own) or (np.abs(query_rows - expected) >= shifts).any():
        raise errors.Invalid(
            "the tracks of the query store are not those of the database, row for row; "
            "name the right answers in a file (--truth=expected.csv)"
        )
    track = database.track_of(ids + n_dummy)
    into = (ids + n_dummy - database.first_rows[track]) * shifts
    return query.first_rows[track - skipped] + into, query.end_rows[track - skipped]


def unknown(rows: collection.Collection, *, first_row: int, n_rows: int) -> Questions:
    """Returns questions about recordings that are not in the database: every track is cut into runs of n_rows.

    first_row: the place of these rows among all query rows. A track that is shorter than a run is one question.
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
    no_tracks = np.full((len(runs), 1), -1, np.int64)
    return Questions(
        [f"{name}@{start}" for name, start, _ in runs],
        first + first_row,
        np.array([end for _, _, end in runs], np.int64) - first,
        no_tracks,
        np.full(no_tracks.shape, np.nan),
        {},
        [name or str(start // n_rows) for name, start, _ in runs],
    )


def joined(known: Questions, others: Questions) -> Questions:
    """Returns both sets of questions as one. The values to group by are empty for the second."""
    width = max(known.tracks.shape[1], others.tracks.shape[1])

    def padded(columns: np.ndarray, fill: float) -> np.ndarray:
        return np.pad(columns, ((0, 0), (0, width - columns.shape[1])), constant_values=fill)

    return Questions(
        known.names + others.names,
        np.concatenate([known.first, others.first]),
        np.concatenate([known.n_rows, others.n_rows]),
        np.concatenate([padded(known.tracks, -1), padded(others.tracks, -1)]),
        np.concatenate([padded(known.starts, np.nan), padded(others.starts, np.nan)]),
        {name: column + [""] * len(others) for name, column in known.groups.items()},
        known.songs + others.songs,
    )


def truth_file(
    path: str | os.PathLike, query: collection.Collection, database: collection.Collection
) -> tuple[Questions, list[str]]:
    """Reads pfann's expected.csv: query,answer[,time] and any columns to group by.

    Several lines of one query are several acceptable answers. If the answer is empty or not in the database, the
    recording is unknown. Returns the questions, and the queries of the file that have no rows in the store.
    """
    lines = read_truth(path)
    _require_tables(query, database)
    query_names, database_names = Names(query.tracks), Names(database.tracks)
    asked: dict[int, list[dict]] = defaultdict(list)
    missing = []
    for line in lines:
        tracks = [t for t in query_names.find(line["query"]) if query.end_rows[t] > query.first_rows[t]]
        if tracks:
            asked[tracks[0]].append(line)
        else:
            missing.append(line["query"])
    if not asked:
        raise errors.Invalid(
            f"{path} names {len(lines)} queries (such as {lines[0]['query']}), and none is in the "
            f"query store (tracks such as {query.tracks[0]})"
        )
    questions = _from_lines(asked, query, database, database_names)
    if not questions.is_known.any():
        raise errors.Invalid(
            f"{path}: none of its answers (such as {lines[0]['answer']}) is in the database "
            f"(tracks such as {database.tracks[0]}); track names are compared without extension"
        )
    return questions, missing


def read_truth(path: str | os.PathLike) -> list[dict]:
    """Reads the lines of a truth file. Raises errors.Invalid if it has no queries or lacks a column."""
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
    for side, name in ((query, "query store"), (database, "database")):
        if not side.tracks:
            raise errors.Invalid(f"--truth names tracks, and the {name} has no table of tracks (bare)")


def _from_lines(
    asked: dict[int, list[dict]],
    query: collection.Collection,
    database: collection.Collection,
    names: "Names",
) -> Questions:
    """Returns the questions of the lines of a truth file. asked: query track -> its lines. names: of the database."""
    answers = [_answers(lines, database, names) for lines in asked.values()]
    width = max(1, *(len(acceptable) for acceptable in answers))
    tracks = np.full((len(asked), width), -1, np.int64)
    starts = np.full((len(asked), width), np.nan)
    for row, acceptable in enumerate(answers):
        for column, (track, start) in enumerate(acceptable):
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
        _songs(list(asked.values()), [bool(acceptable) for acceptable in answers]),
    )


def before(query: collection.Collection) -> int:
    """Returns the rows before each query in a store of slowed-down queries (see `nafp.fingerprints.extract`)."""
    return max((source.meta.get("brief_rows", 0) for source in query.sources), default=0)


def _songs(asked: list[list[dict]], is_known: list[bool]) -> list[str]:
    """Returns the song that each query was cut from.

    If all unknown queries have the same answer, such as "none", each is a song of its own.
    """
    unknown = {lines[0]["answer"] for lines, known in zip(asked, is_known) if not known}
    placeholder = unknown.pop() if len(unknown) == 1 else ""
    return [lines[0]["query"] if lines[0]["answer"] in ("", placeholder) else lines[0]["answer"] for lines in asked]


def _answers(lines: list[dict], database: collection.Collection, names: "Names") -> list[tuple[int, float]]:
    """Returns the acceptable (track, start row) of one query."""
    answers = []
    for line in lines:
        time = (line.get("time") or "").strip()
        try:
            into = float(time) / database.hop_s if time else np.nan
        except ValueError:
            raise errors.Invalid(f"query {line['query']}: time={time!r} is no number of seconds") from None
        for track in names.find(line["answer"] or ""):
            answers.append((track, database.first_rows[track] + into))
    return answers


class Names:
    """Finds tracks by name: by the full path, or else by the file name with or without extension."""

    def __init__(self, tracks: Sequence[str]):
        self._paths = [_path(track) for track in tracks]
        self._full: dict[str, list[int]] = defaultdict(list)
        self._base: dict[str, list[int]] = defaultdict(list)
        for number, (track, path) in enumerate(zip(tracks, self._paths)):
            self._full[track].append(number)
            for name in {path.name, path.stem}:
                self._base[name].append(number)

    def find(self, name: str) -> list[int]:
        """Returns the tracks of this name. Of several, it returns those that share the most folders with it."""
        if not name:
            return []
        path = _path(name)
        tracks = self._full.get(name) or self._base.get(path.name) or self._base.get(path.stem, [])
        if len(tracks) < 2:
            return tracks
        shared = [_shared_folders(path, self._paths[track]) for track in tracks]
        return [track for track, n in zip(tracks, shared) if n == max(shared)]


def _path(name: str) -> PurePosixPath:
    return PurePosixPath(name.replace("\\", "/"))


def _shared_folders(a: PurePosixPath, b: PurePosixPath) -> int:
    """Returns how many folders two paths have in common, from the file upwards."""
    n = 0
    for folder, other in zip(reversed(a.parts[:-1]), reversed(b.parts[:-1])):
        if folder != other:
            break
        n += 1
    return n
