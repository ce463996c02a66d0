"""The table of a corpus: which samples of it are which track (tracks.csv)."""

import csv
import os
from collections.abc import Iterable
from typing import NamedTuple

from nafp.audio import loudness, segments

NAME = "tracks.csv"
_TEXT = {"encoding": "utf-8", "errors": "surrogateescape"}  # File names are bytes, not text.


class CorpusTrack(NamedTuple):
    path: str
    kind: str
    split: str
    group: str
    first_sample: int
    n_samples: int


def cell_of(sample_rate_hz: int) -> int:
    """Gives the samples of one cell of the loudness table; a track starts on a multiple of it."""
    return segments.to_samples(loudness.CELL_S, sample_rate_hz)


def read(folder: str) -> list[CorpusTrack]:
    with open(os.path.join(folder, NAME), newline="", **_TEXT) as file:
        rows = csv.reader(file)
        next(rows)
        return [CorpusTrack(*row[:4], int(row[4]), int(row[5])) for row in rows]


def write(folder: str, tracks: Iterable[CorpusTrack]) -> None:
    """Writes the table; it is replaced as a whole."""
    path = os.path.join(folder, NAME)
    with open(path + ".part", "w", newline="", **_TEXT) as file:
        rows = csv.writer(file)
        rows.writerow(CorpusTrack._fields)
        rows.writerows(tracks)
        file.flush()
        os.fsync(file.fileno())
    os.replace(path + ".part", path)
