"""`nafp list`: the tracks of a database, for people and line by line for programs."""

from __future__ import annotations

import csv
import json
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, TextIO

from nafp import errors
from nafp.database import catalogue, database
from nafp.jobs import shown

FOUND, NOTHING = 0, 1  # Exit codes.
_FIELDS = ("id", "name", "seconds", "fingerprints", "added", "damage", "digest")


def run(folder: str, patterns: Sequence[str], *, format: str = "text", out: TextIO | None = None) -> int:
    """Writes one line for each track that a pattern names, or for all without patterns. Returns the exit code.

    format: text, json (one object a line), csv or tsv (a table with a column for each key of the metadata), or names.
    """
    with database.Database.open(folder) as opened:
        try:
            n_tracks = write(opened, patterns, out or sys.stdout, format=format)
        except errors.UnknownTrack as error:
            print(shown.plain(f"nafp list: {error}"), file=sys.stderr)
            return NOTHING
    return FOUND if n_tracks else NOTHING


def write(opened: database.Database, patterns: Sequence[str], out: TextIO, *, format: str = "text") -> int:
    """Writes the tracks that patterns name and returns their number.

    Raises errors.UnknownTrack for a pattern that names no track.
    """
    tracks = _chosen(opened, patterns)
    if format in ("csv", "tsv"):
        return _write_table(list(tracks), out, delimiter="," if format == "csv" else "\t")
    n_tracks = 0
    for track in tracks:
        n_tracks += 1
        print(_line(track, format), file=out)
    return n_tracks


def record(track: catalogue.DatabaseTrack) -> dict[str, Any]:
    """Returns all that is known of a track as one flat record: the fixed fields, then its metadata."""
    values = track._asdict() | {"fingerprints": track.n_rows, "seconds": round(track.seconds, 3)}
    fixed = {key: values[key] for key in _FIELDS}
    return fixed | {key: value for key, value in track.metadata.items() if key not in fixed}


def _chosen(opened: database.Database, patterns: Sequence[str]) -> Iterator[catalogue.DatabaseTrack]:
    if not patterns:
        yield from opened.tracks()
        return
    names = [name for pattern in patterns for name in opened.matching(pattern)]
    for name in dict.fromkeys(names):
        yield opened.track(name)


def _line(track: catalogue.DatabaseTrack, format: str) -> str:
    if format == "json":
        return json.dumps(record(track))
    if format == "names":
        return shown.plain(track.name)
    metadata = track.metadata
    title = " — ".join(metadata[key] for key in ("artist", "title") if metadata.get(key))
    minutes, seconds = divmod(round(track.seconds), 60)
    name = f"{title}  ({Path(track.name).name})" if title else track.name
    return shown.plain(f"{track.id:6}  {minutes:3}:{seconds:02}  {name}")


def _write_table(tracks: list[catalogue.DatabaseTrack], out: TextIO, *, delimiter: str) -> int:
    records = [record(track) for track in tracks]
    columns = list(dict.fromkeys([*_FIELDS, *(key for fields in records for key in fields)]))
    table = csv.DictWriter(out, columns, restval="", delimiter=delimiter, lineterminator="\n")
    table.writeheader()
    table.writerows({key: shown.cell(value) for key, value in fields.items()} for fields in records)
    return len(records)
