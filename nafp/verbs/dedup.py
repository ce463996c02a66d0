"""Duplicate recordings of a store, or of audio that is fingerprinted first, as a table for people.

A row is a pair: `path` sounds like `duplicate_of`, the longer of the two (or the one that comes
first), which is the one to keep. See `nafp.search.duplicates` for what counts.
"""

from __future__ import annotations

import csv
import os
import pathlib
from collections.abc import Sequence
from typing import NamedTuple

from nafp import errors
from nafp.corpora import build, corpus, lists
from nafp.jobs import progress, whole_files
from nafp.search import collection, duplicates, index
from nafp.search import store as stores


class Row(NamedTuple):
    """One pair, the columns of the table. how: whole (one recording) or part."""

    path: str
    duplicate_of: str
    how: str
    score: float
    share: float
    matched_s: float
    offset_s: float
    split: str
    split_of: str

    @property
    def leaks(self) -> bool:
        """Tells whether one recording is in two splits."""
        return self.how == "whole" and bool(self.split) and self.split != self.split_of


class Found(NamedTuple):
    """All pairs, best first, and how many tracks were compared."""

    rows: list[Row]
    n_tracks: int
    n_groups: int


def find(
    sources: Sequence[str],
    *,
    store: str,
    name: str = "db",
    checkpoint: str = "small",
    manifest: str = "",
    show: bool = True,
    **how: float,
) -> Found:
    """Finds duplicates in STORE/name; audio sources are put there first, resumably.

    sources: a corpus, manifest, list or folder; [] where the store is there. manifest: where splits
    are told, when the source does not. how: settings of `duplicates.find`.
    """
    if len(sources) > 1:
        raise errors.Invalid("corpus dedup compares within one source; list several in one manifest")
    if sources and not _is_finished(store, name):
        _extract(sources[0], store, name, checkpoint)
    elif sources:
        _compare(sources[0], stores.Store.open(store, name))
    rows = collection.Collection.of([stores.Store.open(store, name)])
    known = _splits(manifest or (sources[0] if sources else ""))
    built = index.build(rows, index.plan("auto", n_rows=len(rows), dim=rows.dim))
    asking = duplicates.asking(rows)
    with progress.Progress(len(asking), "fingerprints", label="dedup", show=show) as bar:
        pairs = duplicates.find(rows, built, done=bar.add, **how)
    whole = duplicates.groups([pair for pair in pairs if pair.is_whole], len(rows.tracks))
    sizes = [whole.count(number) for number in set(whole)]
    table = [_row(pair, rows, known) for pair in pairs]
    return Found(table, len(rows.tracks), sum(size > 1 for size in sizes))


def write(path: str, found: Found) -> None:
    """Writes the table as CSV; it appears whole or not at all."""
    with whole_files.opened(path, newline="", encoding="utf-8", errors="surrogateescape") as file:
        writer = csv.writer(file)
        writer.writerow(Row._fields)
        writer.writerows(found.rows)


def describe(found: Found, *, most: int = 20) -> str:
    """Says in a few lines what was found, leaks first."""
    whole = [row for row in found.rows if row.how == "whole"]
    leaking = [row for row in whole if row.leaks]
    lines = [
        f"{found.n_tracks:,} tracks; pairs of one recording: {len(whole):,} (groups: "
        f"{found.n_groups:,}); pairs that share a part: {len(found.rows) - len(whole):,}"
    ]
    if leaking:
        lines.append(f"{len(leaking):,} of these recordings are in two splits:")
    elif any(row.split for row in whole):
        lines.append("none of them is in two splits")
    shown = [*leaking, *(row for row in found.rows if not row.leaks)]
    lines += [_line(row) for row in shown[:most]]
    if len(shown) > most:
        lines.append(f"  and {len(shown) - most:,} more")
    return "\n".join(lines)


def _line(row: Row) -> str:
    names = [
        pathlib.Path(path).name + (f" ({split})" if split else "")
        for path, split in ((row.path, row.split), (row.duplicate_of, row.split_of))
    ]
    return f"  {row.how:5}  {row.score:.2f}  {row.matched_s:6.1f} s  {names[0]}  =  {names[1]}"


def _is_finished(folder: str, name: str) -> bool:
    return os.path.isdir(folder) and name in stores.names(folder)


def _compare(source: str, there: stores.Store) -> None:
    """Raises ValueError when a store from earlier is of something else; says what it lacks."""
    rate = int(there.meta.get("sample_rate_hz", 8000))
    wanted = {track.name for track in corpus.sources(source, sample_rate_hz=rate)}
    strangers = {track.track for track in there.tracks} - wanted
    if strangers:
        raise errors.Invalid(
            f"{there.folder}/{there.name}: {len(strangers)} of its tracks are not in {source}, such "
            f"as {min(strangers)}; remove it, or give another --store"
        )
    lacking = len(wanted) - len(there.tracks)
    if lacking:
        print(f"{there.folder}/{there.name}: without {lacking} of the {len(wanted)} tracks there are")


def _extract(source: str, folder: str, name: str, checkpoint: str) -> None:
    from nafp.audio import decode
    from nafp.fingerprints import extract
    from nafp.weights import sources as trained

    network = trained.open_extractor(checkpoint)
    with decode.hushed():
        report = extract.extract(network, source, folder, name=name)
    for path, reason in report.failures:
        print(f"skipped {path}: {reason}")


def _splits(source: str) -> dict[str, str]:
    """Gives the splits of the tracks of a manifest, a list or a corpus."""
    if not source:
        return {}
    if os.path.isdir(source):
        if not build.is_corpus(source):
            return {}
        return {track.path: track.split for track in corpus.Corpus.open(source).tracks}
    listed = lists.read(source) if lists.is_list(source) else []
    return {track.path: track.split for track in listed}


def _row(pair: duplicates.Pair, rows: collection.Collection, known: dict[str, str]) -> Row:
    n_rows = rows.end_rows - rows.first_rows
    drop, keep, offset_s = pair.track, pair.other, pair.offset_s
    by_length = (-int(n_rows[drop]), rows.tracks[drop]) < (-int(n_rows[keep]), rows.tracks[keep])
    if by_length:
        drop, keep, offset_s = keep, drop, 0.0 - offset_s
    names = rows.tracks[drop], rows.tracks[keep]
    numbers = round(pair.score, 4), round(pair.share, 3), round(pair.matched_s, 2)
    how = "whole" if pair.is_whole else "part"
    return Row(*names, how, *numbers, offset_s, *(known.get(path, "") for path in names))
