"""The Free Music Archive dataset (github.com/mdeff/fma): fma_small, medium, large and full.

    fma_metadata/tracks.csv    two header rows (album, artist, set, track; id, title, ...), a third
                               that says track_id, then one row a track
    fma_small/000/000002.mp3   the track's number with six digits, in a folder of its first three
    fma_small/checksums        SHA-1 and name of each file

The dataset's own split puts no artist into two of training, validation and test. Groups are artists. The lengths in the
table are those of whole tracks, and not all are right, so lengths are read from the files.
"""

import csv
import hashlib
import os
from collections.abc import Iterator
from typing import NamedTuple

from nafp import errors
from nafp.corpora import kinds, list_text, manifest

# The subsets are nested, and fma_full has the tracks of fma_large, not cut to 30 s.
SUBSETS = {
    "fma_small": ("small",),
    "fma_medium": ("small", "medium"),
    "fma_large": ("small", "medium", "large"),
    "fma_full": ("small", "medium", "large"),
}
_EXTRA = {
    "title": ("track", "title"),
    "artist": ("artist", "name"),
    "album": ("album", "title"),
    "genre": ("track", "genre_top"),
    "license": ("track", "license"),
}
_FIELD_CHARACTERS = 10_000_000  # The table has long biographies. csv's own limit is 131,072.


class Listed(NamedTuple):
    """A row of tracks.csv."""

    number: int
    split: str
    artist: str
    extra: tuple[tuple[str, str], ...]

    @property
    def file(self) -> str:
        """The path of the file within the dataset's folder."""
        return f"{self.number:06d}"[:3] + f"/{self.number:06d}.mp3"


def find_table(folder: str, metadata: str = "") -> str:
    """Returns the path of tracks.csv: in `metadata` if given, else in or beside the folder. Raises errors.Invalid."""
    above = os.path.dirname(os.path.abspath(folder))
    places = [metadata] if metadata else [folder, above]
    looked = []
    for place in places:
        for name in (place, f"{place}/tracks.csv", f"{place}/fma_metadata/tracks.csv"):
            if name.endswith(".csv") and os.path.isfile(name):
                return name
            looked += [name] if name.endswith(".csv") else []
    raise errors.Invalid(
        f"no tracks.csv of fma_metadata.zip at {', '.join(looked)}; unpack it there, or say --metadata=FOLDER"
    )


def read_table(path: str, subset: str) -> list[Listed]:
    """Reads the tracks of a subset from tracks.csv, in the order of the table."""
    if subset not in SUBSETS:
        raise errors.Invalid(f"{subset!r}: FMA has {', '.join(SUBSETS)}")
    limit = csv.field_size_limit(_FIELD_CHARACTERS)
    try:
        return list(_rows(path, SUBSETS[subset]))
    finally:
        csv.field_size_limit(limit)


def scan(
    folder: str, *, subset: str, metadata: str = "", jobs: int = 0, show: bool = False
) -> tuple[list[manifest.Track], list[manifest.Failure]]:
    """Lists the tracks of a subset that are below a folder, with the splits of the dataset.

    A file of the table that is missing, or holds no audio (fma_small has three: 99134, 108925, 133297), is a failure.
    jobs, show: as for `manifest.fill`.
    """
    table = find_table(folder, metadata)
    home = _home(folder, subset)
    tracks, missing = [], []
    for listed in read_table(table, subset):
        path = os.path.join(home, listed.file)
        artist = f"artist {listed.artist}" if listed.artist else ""
        if os.path.isfile(path):
            split = kinds.known_split(listed.split)
            about = listed.extra
            tracks.append(manifest.Track(path, 0.0, 0, 0, "music", split, artist, about))
        else:
            missing.append(manifest.Failure(path, "in tracks.csv, but not there"))
    if not tracks:
        raise errors.Invalid(f"{home}: none of the {len(missing)} files of {subset} is there")
    good, bad = manifest.fill(tracks, jobs=jobs, show=show)
    return good, [*bad, *missing]


def verify(folder: str, *, subset: str) -> list[manifest.Failure]:
    """Compares the files with the dataset's own `checksums`, and returns those that differ."""
    home = _home(folder, subset)
    table = os.path.join(home, "checksums")
    if not os.path.isfile(table):
        raise errors.Invalid(f"{table}: missing; it is in {subset}.zip")
    failures = []
    for line in list_text.read(table).split("\n"):
        expected, _, name = line.strip().partition("  ")
        path = os.path.join(home, name)
        if name and not os.path.isfile(path):
            failures.append(manifest.Failure(path, "missing"))
        elif name and _sha1(path) != expected:
            failures.append(manifest.Failure(path, "is not what the dataset has (SHA-1)"))
    return failures


def _home(folder: str, subset: str) -> str:
    inside = os.path.join(os.path.abspath(folder), subset)
    return inside if os.path.isdir(inside) else os.path.abspath(folder)


def _rows(path: str, subsets: tuple[str, ...]) -> Iterator[Listed]:
    with open(path, newline="", encoding="utf-8", errors="surrogateescape") as file:
        rows = csv.reader(file)
        try:
            place = {pair: i for i, pair in enumerate(zip(next(rows, []), next(rows, [])))}
            split, subset = place["set", "split"], place["set", "subset"]
            artist = place["artist", "id"]
            for row in rows:
                if row and row[0].isdecimal() and row[subset] in subsets:
                    extra = tuple((name, row[place[pair]]) for name, pair in _EXTRA.items() if pair in place)
                    yield Listed(int(row[0]), row[split], row[artist], extra)
        except KeyError as error:
            raise errors.Invalid(f"{path}: not FMA's tracks.csv; it has no column {error}") from None
        except (csv.Error, IndexError) as error:
            where = f"{path}, line {rows.line_num}"
            raise errors.Invalid(f"{where}: is damaged ({error}); unpack fma_metadata.zip again") from None


def _sha1(path: str) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha1").hexdigest()
