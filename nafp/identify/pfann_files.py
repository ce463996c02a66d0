"""Answers in the files of pfann's matcher, so that what reads those can read ours.

RESULT.tsv          query, tab, answer; "error" for a clip that could not be read
RESULT_detail.csv   query, answer, score, time in seconds, and the score of every part of the clip
RESULT.tsv.bin      float32 [queries, songs, 2]: score and time of every song, 0 where nothing speaks for it
RESULT_songs.txt    the songs, in the order of the .bin (pfann's is the songList.txt of its database)

pfann knows no "not in the collection": its answer is always the best candidate.
"""

from __future__ import annotations

import contextlib
import csv
import os
import pathlib
from typing import IO, Any

import numpy as np

from nafp.search import collection, match, speeds

DETAIL = ("query", "answer", "score", "time", "part_scores")


class Files:
    """The files of one run, written line by line, and in their place when closed."""

    def __init__(self, path: str | os.PathLike, rows: collection.Collection):
        self._rows = rows
        path = pathlib.Path(path)
        stem = path.with_suffix("")
        self._paths = [
            path,
            stem.with_name(f"{stem.name}_detail.csv"),
            path.with_name(f"{path.name}.bin"),
        ]
        path.parent.mkdir(parents=True, exist_ok=True)
        songs = stem.with_name(f"{stem.name}_songs.txt")
        songs.write_text("".join(f"{track}\n" for track in rows.tracks), **_AS_NAMED)
        self._open = contextlib.ExitStack()
        self._answers, detail = (self._writable(each, "w", newline="", **_AS_NAMED) for each in self._paths[:2])
        self._scores = self._writable(self._paths[2], "wb")
        self._detail = csv.writer(detail)
        self._detail.writerow(DETAIL)

    def _writable(self, path: pathlib.Path, mode: str, **settings: Any) -> IO:
        return self._open.enter_context(open(_partial(path), mode, **settings))

    def add(self, query: str, found: Any | None) -> None:
        """Writes what was found for a clip, an `identifier.Found` of all places; None for a clip that was not read."""
        board = np.zeros((len(self._rows.tracks), 2), np.float32)
        if found is None or not len(found.ranking.tracks):
            self._answers.write(f"{query}\terror\n")
            self._detail.writerow([query, "error", 0, 0])
        else:
            self._write(query, found, board)
        self._scores.write(board.tobytes())

    def _write(self, query: str, found: Any, board: np.ndarray) -> None:
        ranking, heard = found.ranking, found.heard[found.ranking.heard]
        first = match.best_of_each_track(ranking.tracks)
        tracks = ranking.tracks[first]
        begins, _ = self._rows.borders(tracks)
        times = (ranking.starts[first] - begins) * self._rows.hop_s
        positive = ranking.scores[first] > 0
        board[tracks[positive]] = np.stack([ranking.scores[first], times], axis=1)[positive]
        best = int(ranking.tracks[0])
        name, time_s = self._rows.tracks[best], float(times[tracks == best][0])
        parts = speeds.part_scores(heard, ranking, 0, self._rows, shifts=found.shifts)
        self._answers.write(f"{query}\t{name}\n")
        self._detail.writerow([query, name, f"{ranking.scores[0]:.6f}", f"{time_s:g}", *(f"{p:.6f}" for p in parts)])

    def close(self) -> None:
        """Puts the files in their place."""
        self._open.close()
        for path in self._paths:
            os.replace(_partial(path), path)

    def __enter__(self) -> Files:
        return self

    def __exit__(self, failure: type | None, *_: object) -> None:
        if failure is None:
            self.close()
        else:
            self._open.close()


# File names are bytes that need not be text.
_AS_NAMED = {"encoding": "utf-8", "errors": "surrogateescape"}


def _partial(path: pathlib.Path) -> pathlib.Path:
    return path.with_name(path.name + ".part")
