"""Tracks of other databases become tracks of this one, without their audio."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence

import numpy as np

from nafp import errors
from nafp.database import catalogue, fingerprint_log, snapshot, writer
from nafp.jobs import progress
from nafp.models import identities
from nafp.search import collection

_TOGETHER_ROWS = 16_384  # Rows that become safe in one go.


@dataclasses.dataclass
class MergeReport:
    """What a merge did.

    added: names of tracks. known: (name in the other database, track with the same audio). renamed: (name in the other
    database, name here). damaged: (other database, track) of tracks that were left out because their fingerprints are
    not those written.
    """

    added: list[str] = dataclasses.field(default_factory=list)
    known: list[tuple[str, str]] = dataclasses.field(default_factory=list)
    renamed: list[tuple[str, str]] = dataclasses.field(default_factory=list)
    damaged: list[tuple[str, str]] = dataclasses.field(default_factory=list)


def merge(into: writer.DatabaseWriter, others: Sequence[snapshot.Snapshot], *, show: bool = False) -> MergeReport:
    """Adds the tracks of other databases. Stopped at any time, the same call goes on.

    Leaves out tracks whose audio the database holds, and tracks whose fingerprints are damaged. A track whose name it
    holds with other audio gets a new name, "NAME (2)". show: whether to show progress. Raises errors.Invalid, before
    anything is added, for a database of
    another network or hop.
    """
    for other in others:
        _require_alike(into, other)
    report = MergeReport()
    n_tracks = sum(other.n_tracks for other in others)
    with progress.Progress(n_tracks, "tracks", label="merge", show=show) as shown:
        for other in others:
            for group in _groups(other):
                with into.together():
                    for track in group:
                        _add(into, other, track, report)
                shown.add(len(group))
    return report


def _groups(other: snapshot.Snapshot) -> Iterator[list[catalogue.DatabaseTrack]]:
    """Yields the tracks of a database in groups of about _TOGETHER_ROWS rows."""
    group: list[catalogue.DatabaseTrack] = []
    n_rows = 0
    for track in other.tracks():
        group.append(track)
        n_rows += track.n_rows
        if n_rows >= _TOGETHER_ROWS:
            yield group
            group, n_rows = [], 0
    if group:
        yield group


def _add(
    into: writer.DatabaseWriter, other: snapshot.Snapshot, track: catalogue.DatabaseTrack, report: MergeReport
) -> None:
    book = into.catalogue
    same = book.by_digest(track.digest) if track.digest else None
    if not track.digest and book.has_name(track.name):
        same = track.name  # Fingerprints without audio are known by name alone.
    if same is not None:
        report.known.append((track.name, same))
        return
    whole = _whole_rows(other, track)
    if whole is None:
        report.damaged.append((str(other.folder), track.name))
        return
    vectors, peaks = whole
    name = _free(book, track.name)
    into.append(
        name,
        track.seconds,
        vectors,
        peaks=peaks,
        digest=track.digest,
        metadata=track.metadata,
        damage=track.damage,
    )
    report.added.append(name)
    if name != track.name:
        report.renamed.append((track.name, name))


def _whole_rows(
    other: snapshot.Snapshot, track: catalogue.DatabaseTrack
) -> tuple[np.ndarray, np.ndarray | None] | None:
    """Reads the fingerprints of a track, float32 [n, D], and their peaks, None where there are none.

    Returns None if the rows are not those written, or no fingerprints.
    """
    end = track.first_row + track.n_rows
    if end > len(other.rows):
        return None
    codes = other.rows.codes(track.first_row, end)
    if fingerprint_log.checksum(codes) != track.crc:
        return None
    vector_codes, peaks = np.split(codes, [other.rows.codec.row_bytes], axis=1)
    vectors = other.rows.codec.decode(vector_codes)
    try:
        collection.check_rows(vectors)
    except errors.Invalid:  # They were written so.
        return None
    return vectors, peaks if other.rows.peak_bytes else None


def _free(book: catalogue.Catalogue, name: str) -> str:
    """Returns the first of NAME, "NAME (2)", "NAME (3)", ... that no track has."""
    number, free = 1, name
    while book.has_name(free):
        number += 1
        free = f"{name} ({number})"
    return free


def _require_alike(into: writer.DatabaseWriter, other: snapshot.Snapshot) -> None:
    ours, theirs = into.catalogue.about(), other.about
    for fact in ("dim", "hop_s", "segment_s", "sample_rate_hz"):
        if ours[fact] != theirs[fact]:
            raise errors.Invalid(
                f"{other.folder}: its {fact} is {theirs[fact]}, that of {into.folder} {ours[fact]}; "
                "only databases of one kind can be merged"
            )
    if not identities.same_network(ours["network"], theirs["network"]):
        raise errors.Invalid(
            f"{other.folder}: was made with the network {theirs['network']['source']}, {into.folder} with "
            f"{ours['network']['source']}: fingerprints of two networks cannot be compared; add the audio files "
            "instead: nafp add"
        )
