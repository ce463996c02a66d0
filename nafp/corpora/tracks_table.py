"""The table of a corpus (tracks.csv): which samples belong to which track."""

import csv
import io
import os
from collections.abc import Iterable
from typing import NamedTuple

from nafp import errors
from nafp.audio import loudness, segments
from nafp.jobs import plain_files, whole_files

NAME = "tracks.csv"
_ON_ERROR = "surrogateescape"  # File names are bytes, not text.


class CorpusTrack(NamedTuple):
    """A track of a corpus: samples [first_sample, first_sample + n_samples) of samples.i16."""

    path: str
    kind: str
    split: str
    group: str
    first_sample: int
    n_samples: int


def cell_of(sample_rate_hz: int) -> int:
    """Returns the number of samples in a cell of the loudness table. Tracks start on multiples of it."""
    return segments.to_samples(loudness.CELL_S, sample_rate_hz)


def read(folder: str) -> list[CorpusTrack]:
    """Reads the table of the corpus in this folder. Raises OSError, and errors.Invalid for a damaged table."""
    name = os.path.join(folder, NAME)
    with plain_files.opened(name) as file:
        rows = csv.reader(io.StringIO(file.read().decode(errors=_ON_ERROR), newline=""))
        try:
            header = next(rows, [])
            tracks = [
                CorpusTrack(path, kind, split, group, int(first), int(n_samples))
                for path, kind, split, group, first, n_samples in rows
            ]
        except (ValueError, csv.Error) as error:
            raise errors.Invalid(f"{name}, line {rows.line_num}: is damaged: {error}") from None
    if tuple(header) != CorpusTrack._fields:
        raise errors.Invalid(f"{name}: is damaged: its columns are {', '.join(CorpusTrack._fields)}, not {header}")
    return tracks


def write(folder: str, tracks: Iterable[CorpusTrack]) -> None:
    """Writes the table, which is replaced as a whole."""
    with whole_files.opened(os.path.join(folder, NAME), newline="", encoding="utf-8", errors=_ON_ERROR) as file:
        rows = csv.writer(file)
        rows.writerow(CorpusTrack._fields)
        rows.writerows(tracks)
