"""Checks every file of a database against what was written, and names what is damaged."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from nafp import errors
from nafp.database import (
    catalogue,
    catalogue_files,
    codes,
    engine_check,
    engine_facts,
    fingerprint_log,
    network_file,
)
from nafp.jobs import progress


class VerifyReport(NamedTuple):
    """What a check found.

    n_tracks, n_files, n_bytes: what was read. damages: (file, what is wrong with it). tracks: names of the tracks whose
    fingerprints are damaged.
    """

    n_tracks: int
    n_files: int
    n_bytes: int
    damages: list[tuple[str, str]]
    tracks: list[str]


def verify(book: catalogue.Catalogue, *, show: bool = False) -> VerifyReport:
    """Reads all files of a database. It does not look for the audio files of the tracks, which it does not need.

    show: whether to show progress.
    """
    folder = book.folder
    with book.moment():
        about, tracks, segments = book.about(), list(book.tracks()), book.segments()
        complaint = book.complaint()
    written = {name: tuple(size_and_crc) for name, size_and_crc in about["files"].items()}
    written |= {segment.file: (segment.n_bytes, segment.crc) for segment in segments}
    damages = [(catalogue.FILE, complaint)] if complaint else []
    copy = folder / catalogue.COPY
    if copy.exists() and (complaint := catalogue_files.copy_complaint(copy)):
        damages.append((copy.name, complaint))
    log = fingerprint_log.file_name(about["generation"])
    n_bytes = sum(size for size, _ in written.values())
    with progress.Progress(len(written) + len(tracks), "parts", label="verify", show=show) as shown:
        for name, size_and_crc in written.items():
            if damage := network_file.damage_of(folder / name, size_and_crc):
                damages.append((name, damage))
            shown.add()
        damaged_tracks = _damaged_tracks(folder / log, about, tracks, shown)
    if damaged_tracks:
        damages.append(
            (log, f"the fingerprints of {len(damaged_tracks)} of {len(tracks)} tracks are not those written")
        )
    if complaint := _engine_complaint(book, folder / log):
        damages.append((engine_facts.FACT, complaint))
    if (folder / log).exists():
        n_bytes += (folder / log).stat().st_size
    return VerifyReport(len(tracks), len(written) + 2, n_bytes, damages, damaged_tracks)


def _damaged_tracks(
    path: Path, about: Mapping[str, Any], tracks: list[catalogue.DatabaseTrack], shown: progress.Progress
) -> list[str]:
    """Names the tracks whose rows in the log are not those that were acknowledged."""
    codec, peak_bytes = codes.of(about), about.get("peak_bytes", 0)
    n_rows = path.stat().st_size // (codec.row_bytes + peak_bytes) if path.exists() else 0
    rows = fingerprint_log.LogRows(path, codec, n_rows=n_rows, peak_bytes=peak_bytes)
    damaged = []
    for track in tracks:
        end = track.first_row + track.n_rows
        if end > n_rows or fingerprint_log.checksum(rows.codes(track.first_row, end)) != track.crc:
            damaged.append(track.name)
        shown.add()
    return damaged


def _engine_complaint(book: catalogue.Catalogue, path: Path) -> str:
    """Says how the collection of an engine differs from the log, "" if it does not or there is none."""
    with book.moment():
        about, places = book.about(), book.places()
    engine = engine_facts.stored(about)
    if engine is None:
        return ""
    if engine != engine_facts.of(about) or not engine.collection:
        return f"{engine.uri}: holds nothing of these fingerprints; nafp engine DB rebuild sends them"
    codec, peak_bytes = codes.of(about), about.get("peak_bytes", 0)
    n_present = path.stat().st_size // (codec.row_bytes + peak_bytes) if path.exists() else 0
    rows = fingerprint_log.LogRows(path, codec, n_rows=min(n_present, about["n_rows"]), peak_bytes=peak_bytes)
    live = [(first, n_rows) for _, _, _, first, n_rows, _ in places if first + n_rows <= len(rows)]
    try:
        client = engine_check.connected(engine)
        engine = engine_check.require(client, lambda: engine_check.now(book))
        return engine_check.complaint(client, engine, live, rows.read)
    except errors.EngineFailed as error:
        return str(error)
