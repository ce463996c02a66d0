"""Tracks of other databases -> tracks of this one, without their audio."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from nafp import errors
from nafp.database import catalogue, database
from nafp.database import writer as writing
from nafp.jobs import progress

_TOGETHER_ROWS = 16_384  # Made safe in one go.


class Report(NamedTuple):
    """What merging did. added: names; known: (name there, track with the same audio); renamed: (name there, here)."""

    added: list[str]
    known: list[tuple[str, str]]
    renamed: list[tuple[str, str]]


def merge(into: database.Database, others: Sequence[str | os.PathLike], *, show: bool = False) -> Report:
    """Adds the tracks of other databases; stopped at any time, the same call goes on.

    Tracks whose audio is there are left out; one whose name is there with other audio gets a new name, "NAME (2)".
    Raises ValueError, before anything is added, for a database of another network or hop.
    """
    opened = [database.Database.open(other) for other in others]
    for other in opened:
        _require_alike(into, other)
    report = Report([], [], [])
    with (
        into.writer() as writer,
        progress.Progress(sum(len(other) for other in opened), "tracks", label="merge", show=show) as shown,
    ):
        for other in opened:
            for group in _groups(other):
                _add(writer, other, group, report)
                shown.add(len(group))
    into.refresh()
    return report


def describe(report: Report, folder: str | os.PathLike, *, n_tracks: int) -> str:
    """Closing lines: how much was added, what was there, what was renamed."""
    lines = [f"{folder}: {len(report.added)} tracks added; {n_tracks} tracks"]
    if report.known:
        lines.append(f"{len(report.known)} have the same audio as one that is there:")
        lines += [f"  {name}: {track}" for name, track in report.known[:20] if name != track]
    if report.renamed:
        lines.append(f"{len(report.renamed)} renamed, because another track is called so:")
        lines += [f"  {name}: {new}" for name, new in report.renamed[:20]]
    return "\n".join(lines)


def _groups(other: database.Database) -> Iterator[list[catalogue.Track]]:
    group, n_rows = [], 0
    for track in other.tracks():
        group.append(track)
        n_rows += track.n_rows
        if n_rows >= _TOGETHER_ROWS:
            yield group
            group, n_rows = [], 0
    if group:
        yield group


def _add(writer: writing.Writer, other: database.Database, group: list[catalogue.Track], report: Report) -> None:
    book, rows = writer.catalogue, other.rows
    with writer.together():
        for track in group:
            there = book.by_digest(track.digest) if track.digest else None
            if there is None and not track.digest and book.has_name(track.name):
                there = track.name  # Fingerprints without audio are known by name alone.
            if there is not None:
                report.known.append((track.name, there))
                continue
            name = _free(book, track.name)
            if name != track.name:
                report.renamed.append((track.name, name))
            vectors = rows.codec.decode(rows.codes(track.first_row, track.first_row + track.n_rows))
            known = dict(digest=track.digest, metadata=track.metadata, damage=track.damage)
            writer.append(name, track.seconds, vectors, **known)
            report.added.append(name)


def _free(book: catalogue.Catalogue, name: str) -> str:
    number, free = 1, name
    while book.has_name(free):
        number += 1
        free = f"{name} ({number})"
    return free


def _require_alike(into: database.Database, other: database.Database) -> None:
    for what in ("dim", "hop_s", "segment_s", "sample_rate_hz"):
        if into.about[what] != other.about[what]:
            raise errors.Invalid(
                f"{other.folder}: its {what} is {other.about[what]}, that of {into.folder} {into.about[what]}; "
                "only databases of one kind can be merged"
            )
    ours, theirs = into.about["network"], other.about["network"]
    if ours["sha256"] != theirs["sha256"]:
        raise errors.Invalid(
            f"{other.folder}: was made with the network {theirs['source']}, {into.folder} with {ours['source']}: "
            "fingerprints of two networks cannot be compared; add the audio files instead: nafp add"
        )
