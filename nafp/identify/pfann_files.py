"""Writes answers in the files of pfann's matcher, so that programs that read those can read ours.

RESULT.tsv          query, tab, answer; "error" for a clip that could not be read
RESULT_detail.csv   query, answer, score, time in seconds, and the scores of its fingerprints, with spaces between
RESULT.tsv.bin      float32 [queries, songs, 2]: score and time of each song, 0 for a song that was not a candidate
RESULT_songs.txt    the songs, in the order of the .bin (pfann's is the songList.txt of its database)

pfann never says "not in the collection": its answer is always the best candidate.
"""

from __future__ import annotations

import contextlib
import csv
import os
import pathlib
from collections import Counter
from collections.abc import Sequence
from typing import IO

import numpy as np

from nafp.identify import identifier
from nafp.jobs import outputs
from nafp.search import collection, match, speeds

DETAIL = ("query", "answer", "score", "time", "part_scores")


def is_former(head: bytes) -> bool:
    """Returns whether the first bytes of a file are those of a RESULT.tsv: query, tab, answer."""
    first, end, _ = head.partition(b"\n")
    return bool(end) and first.count(b"\t") == 1 and b"\0" not in head


def require_out(path: str | os.PathLike, inputs: Sequence[str]) -> None:
    """Raises errors.Invalid if writing the files of RESULT.tsv would lose something. inputs: the clips."""
    outputs.require(path, verb="nafp identify", is_former=is_former, inputs=inputs)
    formers = (is_former, outputs.begins_with(",".join(DETAIL).encode()), outputs.never, outputs.never)
    outputs.require_set(dict(zip(map(str, _paths(pathlib.Path(path))), formers)), verb="nafp identify", inputs=inputs)


def _paths(path: pathlib.Path) -> list[pathlib.Path]:
    """Returns the files of RESULT.tsv: itself, the details, the scores and the list of songs."""
    stem = path.with_suffix("")
    names = (f"{stem.name}_detail.csv", f"{path.name}.bin", f"{stem.name}_songs.txt")
    return [path, *(path.with_name(name) for name in names)]


class Files:
    """The files of one run. They are written line by line, and get their names when they are closed.

    path: RESULT.tsv. rows: the collection that is searched. songs: the columns of the .bin, whether or not they are in
    the collection; its tracks that are none of them follow. [] for the tracks alone.
    """

    def __init__(self, path: str | os.PathLike, rows: collection.Collection, songs: Sequence[str] = ()):
        self._rows = rows
        columns, self._column_of = _columns(rows.tracks, songs)
        path = pathlib.Path(path)
        self._paths = _paths(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        self._n_columns = len(columns)
        self._open = contextlib.ExitStack()
        answers, detail, scores, listing = self._paths
        self._answers, detail_file = self._text(answers), self._text(detail)
        self._text(listing).writelines(f"{song}\n" for song in columns)
        self._scores = self._open.enter_context(_partial(scores).open("wb"))
        self._detail = csv.writer(detail_file)
        self._detail.writerow(DETAIL)

    def _text(self, path: pathlib.Path) -> IO[str]:
        return self._open.enter_context(_partial(path).open("w", newline="", encoding=_ENCODING, errors=_ERRORS))

    def add(self, query: str, found: identifier.RankedClip | None) -> None:
        """Writes the ranking of one clip, or an error line if it is None because the clip could not be read."""
        board = np.zeros((self._n_columns, 2), np.float32)
        if found is None or not len(found.ranking.tracks):
            self._answers.write(f"{query}\terror\n")
            self._detail.writerow([query, "error", "-inf", 0, ""])
        else:
            self._write(query, found, board)
        self._scores.write(board.tobytes())

    def _write(self, query: str, found: identifier.RankedClip, board: np.ndarray) -> None:
        """Writes the line of a clip with candidates, and fills in its scores and times, float32 [songs, 2]."""
        ranking, heard = found.ranking, found.heard[found.ranking.heard]
        first = match.best_of_each_track(ranking.tracks)
        tracks = ranking.tracks[first]
        begins, _ = self._rows.borders(tracks)
        times = (ranking.starts[first] - begins) * self._rows.hop_s
        positive = ranking.counted[first] > 0
        board[self._column_of[tracks[positive]]] = np.stack([ranking.counted[first], times], axis=1)[positive]
        best = int(ranking.tracks[0])
        name, time_s = self._rows.tracks[best], float(times[tracks == best][0])
        parts = speeds.part_scores(heard, ranking, 0, self._rows, shifts=found.shifts)
        self._answers.write(f"{query}\t{name}\n")
        joined = " ".join(f"{part:.6f}" for part in parts)
        self._detail.writerow([query, name, f"{ranking.counted[0]:.6f}", f"{time_s:g}", joined])

    def close(self) -> None:
        """Renames the files to their final names, RESULT.tsv last: where it is, the others are."""
        self._open.close()
        for path in (*self._paths[1:], self._paths[0]):
            os.replace(_partial(path), path)

    def __enter__(self) -> Files:
        return self

    def __exit__(self, failure: type | None, *_: object) -> None:
        if failure is None:
            self.close()
        else:
            self._open.close()


# File names are bytes that need not be text.
_ENCODING, _ERRORS = "utf-8", "surrogateescape"


def _columns(tracks: Sequence[str], songs: Sequence[str]) -> tuple[list[str], np.ndarray]:
    """Returns the names of the columns, and the column of each track, int64 [T].

    A track is the song of the same path, else the only song of the same file name.
    """
    columns = list(dict.fromkeys(songs))
    by_path = {song: number for number, song in enumerate(columns)}
    names = Counter(pathlib.PurePath(song).name for song in columns)
    by_name = {pathlib.PurePath(song).name: number for number, song in enumerate(columns)}
    column_of = []
    for track in tracks:
        name = pathlib.PurePath(track).name
        column = by_path.get(track, by_name[name] if names[name] == 1 else len(columns))
        if column == len(columns):
            columns.append(track)
        column_of.append(column)
    return columns, np.array(column_of, np.int64)


def _partial(path: pathlib.Path) -> pathlib.Path:
    return path.with_name(path.name + ".part")
