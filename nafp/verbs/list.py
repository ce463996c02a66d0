"""What a database says of itself and its tracks: for people, and line by line for programs."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TextIO

from nafp.database import catalogue, database
from nafp.jobs import progress

FORMATS = ("text", "json", "csv", "tsv", "names")
_FIELDS = ("id", "name", "seconds", "fingerprints", "added", "damage", "digest")


def write(opened: database.Database, patterns: Sequence[str], out: TextIO, *, format: str = "text") -> int:
    """Writes one line for each track that a pattern means, all without patterns; returns how many.

    json: one object a line, csv and tsv: a table with a column for each key of the metadata. Raises KeyError for a
    pattern that means no track.
    """
    tracks = _chosen(opened, patterns)
    if format in ("csv", "tsv"):
        return _table(list(tracks), out, delimiter="," if format == "csv" else "\t")
    n_tracks = 0
    for n_tracks, track in enumerate(tracks, 1):  # noqa: B007 - counted for afterwards
        print(_line(track, format), file=out)
    return n_tracks


def record(track: catalogue.Track) -> dict[str, Any]:
    """Gives what is known of a track, its metadata in one level with the rest."""
    found = track._asdict() | {"fingerprints": track.n_rows, "seconds": round(track.seconds, 3)}
    own = {key: found[key] for key in _FIELDS}
    return own | {key: value for key, value in track.metadata.items() if key not in own}


def told(info: Mapping[str, Any], folder: str) -> str:
    """Writes what `Database.info` gives for people."""
    hop_s, rows = info["hop_s"], info["fingerprints"]
    per_second = info["bytes"] / info["seconds"] if info["seconds"] else 0.0
    later = f", later as {info['wanted']}" if info.get("wanted") else ""
    lines = [
        f"{folder}: {info['tracks']} tracks, {progress.duration(info['seconds'])} of audio",
        f"{rows} fingerprints of {info['dim']} numbers, one every {hop_s:g} s, kept as {info['storage']}{later}",
        f"{info['bytes'] / 1e6:.1f} MB, {per_second:.0f} bytes a second; {info['index_files']} index files",
        f"network {info['network']['source']} (step {info['network']['step']}, {info['network']['sha256'][:12]})",
        f"made {info['created']}",
    ]
    if gone := info["removed_fingerprints"]:
        lines.append(f"{gone} fingerprints of removed tracks: nafp compact {folder} gives their space back")
    return "\n".join(lines)


def _chosen(opened: database.Database, patterns: Sequence[str]) -> Iterator[catalogue.Track]:
    if not patterns:
        yield from opened.tracks()
        return
    names = [name for pattern in patterns for name in opened.matching(pattern)]
    for name in dict.fromkeys(names):
        yield opened.track(name)


def _line(track: catalogue.Track, format: str) -> str:
    if format == "json":
        return json.dumps(record(track))
    if format == "names":
        return _printable(track.name)
    known = track.metadata
    title = " — ".join(known[key] for key in ("artist", "title") if known.get(key))
    minutes, seconds = divmod(round(track.seconds), 60)
    called = f"{title}  ({Path(track.name).name})" if title else track.name
    return _printable(f"{track.id:6}  {minutes:3}:{seconds:02}  {called}")


def _table(tracks: list[catalogue.Track], out: TextIO, *, delimiter: str) -> int:
    records = [record(track) for track in tracks]
    columns = list(dict.fromkeys([*_FIELDS, *(key for each in records for key in each)]))
    rows = csv.DictWriter(out, columns, restval="", delimiter=delimiter, lineterminator="\n")
    rows.writeheader()
    rows.writerows({key: _printable(str(value)) for key, value in each.items()} for each in records)
    return len(records)


def _printable(text: str) -> str:
    """File names are bytes, not text: what is none is shown with question marks."""
    return text.encode(errors="replace").decode()
