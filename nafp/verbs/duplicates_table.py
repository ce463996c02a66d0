"""The table of `nafp corpus dedup`: recordings that are twice in a store, or in audio that is fingerprinted first.

A row is a pair. `path` sounds like `duplicate_of`, which is the one to keep: the longer of the two, or the first by
name if they are equally long. `nafp.search.duplicates` says what counts as a duplicate.
"""

from __future__ import annotations

import csv
import os
import pathlib
from collections.abc import Sequence
from typing import NamedTuple

from nafp import errors
from nafp.corpora import building, corpus, lists
from nafp.jobs import progress, shown, whole_files
from nafp.search import collection, duplicates, index, store


class Row(NamedTuple):
    """One pair. The fields are the columns of the table. how: whole (one recording) or part (they share a part)."""

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
        """Whether the pair is one recording in two splits."""
        return self.how == "whole" and bool(self.split) and self.split != self.split_of


class Table(NamedTuple):
    """All pairs, best first. n_tracks: how many were compared. n_groups: recordings that are there more than once."""

    rows: list[Row]
    n_tracks: int
    n_groups: int


def find(
    sources: Sequence[str],
    *,
    folder: str,
    name: str = "db",
    checkpoint: str = "",
    manifest: str = "",
    show: bool = True,
    least_score: float = 0.0,
    shortest_s: float = 0.0,
) -> Table:
    """Finds the duplicates in the store `folder`/`name`. Audio sources are fingerprinted into it first, resumably.

    sources: a corpus, a manifest, a list or a folder; [] if the store is finished. manifest: names the splits if the
    source does not. checkpoint: the network, "" for the shipped one. Raises errors.Invalid if another one wrote the
    store. least_score, shortest_s: `score` and `seconds` of `duplicates.find`; 0 for its defaults.
    """
    if len(sources) > 1:
        raise errors.Invalid("corpus dedup compares within one source; list several in one manifest")
    score, seconds = least_score or duplicates.SCORE, shortest_s or duplicates.SECONDS
    duplicates.check(score=score, seconds=seconds)
    if _is_finished(folder, name):
        _compare(sources, store.Store.open(folder, name), checkpoint)
    elif sources:
        _extract(sources[0], folder, name, checkpoint)
    rows = collection.Collection.of([store.Store.open(folder, name)])
    pairs = _pairs(rows, score, seconds, show)
    groups = duplicates.groups([pair for pair in pairs if pair.is_whole], len(rows.tracks))
    sizes = [groups.count(number) for number in set(groups)]
    splits = _splits(manifest or (sources[0] if sources else ""))
    return Table([_row(pair, rows, splits) for pair in pairs], len(rows.tracks), sum(size > 1 for size in sizes))


def _pairs(rows: collection.Collection, score: float, seconds: float, show: bool) -> list[duplicates.Pair]:
    built = index.build(rows, index.plan("auto", n_rows=len(rows), dim=rows.dim))
    n_asking = len(duplicates.asking(rows))
    with progress.Progress(n_asking, "fingerprints", label="dedup", show=show) as bar:
        return duplicates.find(rows, built, score=score, seconds=seconds, done=bar.add)


def write(path: str, table: Table) -> None:
    """Writes the table as CSV, whole or not at all."""
    with whole_files.opened(path, newline="", encoding="utf-8", errors="surrogateescape") as file:
        writer = csv.writer(file)
        writer.writerow(Row._fields)
        writer.writerows(table.rows)


def describe(table: Table, *, most: int) -> str:
    """Sums the table up in a few lines and lists its first `most` pairs, those in two splits first."""
    whole = [row for row in table.rows if row.how == "whole"]
    leaking = [row for row in whole if row.leaks]
    lines = [
        f"{table.n_tracks:,} tracks; pairs of one recording: {len(whole):,} (groups: "
        f"{table.n_groups:,}); pairs that share a part: {len(table.rows) - len(whole):,}"
    ]
    if leaking:
        lines.append(f"{len(leaking):,} of these recordings are in two splits:")
    elif any(row.split for row in whole):
        lines.append("none of them is in two splits")
    pairs = [*leaking, *(row for row in table.rows if not row.leaks)]
    lines += [_line(row) for row in pairs[:most]]
    if len(pairs) > most:
        lines.append(f"  and {len(pairs) - most:,} more")
    return shown.lines(lines)


def _line(row: Row) -> str:
    names = [
        pathlib.Path(path).name + (f" ({split})" if split else "")
        for path, split in ((row.path, row.split), (row.duplicate_of, row.split_of))
    ]
    return f"  {row.how:5}  {row.score:.2f}  {row.matched_s:6.1f} s  {names[0]}  =  {names[1]}"


def _is_finished(folder: str, name: str) -> bool:
    return os.path.isdir(folder) and name in store.names(folder)


def _compare(sources: Sequence[str], finished: store.Store, checkpoint: str) -> None:
    """Raises errors.Invalid for a finished store of another network or other audio, and prints what it lacks."""
    if checkpoint:
        from nafp.identify import identifier
        from nafp.weights import sources as networks

        identifier.require_same(networks.open_extractor(checkpoint).identity, [finished])
    for source in sources:
        _compare_tracks(source, finished)


def _compare_tracks(source: str, finished: store.Store) -> None:
    sample_rate_hz = int(finished.meta.get("sample_rate_hz", 8000))
    wanted = {track.name for track in corpus.sources(source, sample_rate_hz=sample_rate_hz)}
    strangers = {track.track for track in finished.tracks} - wanted
    if strangers:
        raise errors.Invalid(
            f"{finished.folder}/{finished.name}: {len(strangers)} of its tracks are not in {source}, such "
            f"as {min(strangers)}; remove it, or give another --store"
        )
    n_lacking = len(wanted) - len(finished.tracks)
    if n_lacking:
        where = f"{finished.folder}/{finished.name}"
        print(shown.plain(f"{where}: without {n_lacking} of the {len(wanted)} tracks there are"))


def _extract(source: str, folder: str, name: str, checkpoint: str) -> None:
    from nafp.audio import decode
    from nafp.fingerprints import extract
    from nafp.weights import sources

    network = sources.open_extractor(checkpoint or sources.DEFAULT)
    with decode.hushed():
        report = extract.extract(network, source, folder, name=name)
    for path, reason in report.failures:
        print(shown.plain(f"skipped {path}: {reason}"))


def _splits(source: str) -> dict[str, str]:
    """Returns the split of each track of a manifest, a list or a corpus, by path."""
    if not source:
        return {}
    if os.path.isdir(source):
        if not building.is_corpus(source):
            return {}
        return {track.path: track.split for track in corpus.Corpus.open(source).tracks}
    listed = lists.read(source) if lists.is_list(source) else []
    return {track.path: track.split for track in listed}


def _row(pair: duplicates.Pair, rows: collection.Collection, splits: dict[str, str]) -> Row:
    n_rows = rows.end_rows - rows.first_rows
    drop, keep, offset_s = pair.track, pair.other, pair.offset_s
    by_length = (-int(n_rows[drop]), rows.tracks[drop]) < (-int(n_rows[keep]), rows.tracks[keep])
    if by_length:
        drop, keep, offset_s = keep, drop, 0.0 - offset_s
    names = rows.tracks[drop], rows.tracks[keep]
    numbers = round(pair.score, 4), round(pair.share, 3), round(pair.matched_s, 2)
    how = "whole" if pair.is_whole else "part"
    return Row(*names, how, *numbers, offset_s, splits.get(names[0], ""), splits.get(names[1], ""))
