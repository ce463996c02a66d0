"""Checks every file of a database against what was written, and names what is damaged."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from nafp.database import catalogue, codes, fingerprint_log, index_segments
from nafp.jobs import progress


class Finding(NamedTuple):
    """What a check has found. damages: (file, what is wrong); tracks: names of those whose fingerprints are damaged."""

    n_tracks: int
    n_files: int
    n_bytes: int
    damages: list[tuple[str, str]]
    tracks: list[str]


def verify(book: catalogue.Catalogue, *, show: bool = False) -> Finding:
    """Reads all of a database. The files of tracks are not looked at: a database does not need them."""
    folder = book.folder
    with book.moment():
        about, tracks, index_files = book.about(), list(book.tracks()), book.segments()
        complaint = book.complaint()
    whole = {name: tuple(written) for name, written in about["files"].items()}
    whole |= {segment.file: (segment.n_bytes, segment.crc) for segment in index_files}
    damages = [(catalogue.FILE, complaint)] if complaint else []
    log = fingerprint_log.file_name(about["generation"])
    n_bytes = sum(size for size, _ in whole.values())
    with progress.Progress(len(whole) + len(tracks), "parts", label="verify", show=show) as shown:
        for name, written in whole.items():
            damages += [(name, what) for what in [_compared(folder / name, written)] if what]
            shown.add()
        lost = _damaged_tracks(folder / log, about, tracks, shown)
    if lost:
        damages.append((log, f"the fingerprints of {len(lost)} of {len(tracks)} tracks are not those written"))
    if (folder / log).exists():
        n_bytes += (folder / log).stat().st_size
    return Finding(len(tracks), len(whole) + 2, n_bytes, damages, lost)


def describe(found: Finding, folder: Path) -> str:
    """Says what a check has found, in lines."""
    lines = [f"{folder / name}: {what}" for name, what in found.damages]
    lines += [f"damaged track: {name}" for name in found.tracks]
    if lines:
        lines.append(f"{folder}: {len(found.damages)} of {found.n_files} files damaged; the rest is whole, and answers")
    else:
        size = found.n_bytes / 1e6
        lines.append(f"{folder}: whole; {found.n_tracks} tracks, {found.n_files} files, {size:.1f} MB")
    return "\n".join(lines)


def _compared(path: Path, written: tuple[int, int]) -> str:
    try:
        found = index_segments.size_and_checksum(path)
    except OSError as error:
        return f"cannot be read: {error.strerror}"
    if found[0] != written[0]:
        return f"has {found[0]} bytes, {written[0]} were written"
    return "" if found == written else "other bytes than were written: the checksum differs"


def _damaged_tracks(path: Path, about: Mapping, tracks: list[catalogue.Track], shown: progress.Progress) -> list[str]:
    """Names the tracks whose rows in the log are not those that were acknowledged."""
    codec = codes.of(about)
    there = path.stat().st_size // codec.row_bytes if path.exists() else 0
    rows = fingerprint_log.LogRows(path, codec, n_rows=there)
    damaged = []
    for track in tracks:
        end = track.first_row + track.n_rows
        if end > there or fingerprint_log.checksum(rows.codes(track.first_row, end)) != track.crc:
            damaged.append(track.name)
        shown.add()
    return damaged
