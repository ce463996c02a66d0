"""A database at one moment: its live rows, and how to search them.

A snapshot keeps its files open, so nothing that a writer adds, removes or compacts meanwhile changes it. What an engine
outside the database holds is searched there, the rest here.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from nafp import errors
from nafp.database import catalogue, codes, engine_check, engine_facts, engine_index, fingerprint_log, index_segments
from nafp.search import collection, index


@dataclasses.dataclass(frozen=True)
class Part:
    """An index over rows first .. first + len(index). n_dead: how many of them belong to no track any more."""

    first: int
    index: index.Index | engine_index.EngineIndex | index_segments.Tail
    n_dead: int


class LiveIndex:
    """All indexes of a snapshot as one. `search` is that of `nafp.search.index.Index`, and finds only live rows."""

    def __init__(self, rows: fingerprint_log.LogRows, parts: list[Part]):
        self._rows, self._parts = rows, parts
        self._n_live = int((rows.end_rows - rows.first_rows).sum())

    def __len__(self) -> int:
        """Counts the live rows."""
        return self._n_live

    def search(self, queries: np.ndarray, k: int = 0) -> tuple[np.ndarray, np.ndarray]:
        """Finds the k nearest live rows (default 100) of queries [n, D].

        Returns cosines float32 [n, k], best first, as exact as the codes of an index file, and rows int64 [n, k]. Where
        there are fewer than k, cosines are -inf and rows -1.
        """
        k = min(k or index_segments.K, max(1, self._n_live))
        answers = [self._search_part(part, queries, k) for part in self._parts if len(part.index) > part.n_dead]
        if not answers:
            return np.full((len(queries), k), -np.inf, np.float32), np.full((len(queries), k), -1)
        # Codes make a cosine c look like c + e (1/2 - c), where e is the mean squared error of a code. At the cosines
        # of noisy queries, around 1/2, those of files and tail can be compared as they are.
        cosines, near = (np.concatenate(column, axis=1) for column in zip(*answers))
        best = np.argsort(-cosines, axis=1, kind="stable")[:, :k]
        return np.take_along_axis(cosines, best, axis=1), np.take_along_axis(near, best, axis=1)

    def _search_part(self, part: Part, queries: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
        """Searches one part, doubling k until enough live rows are found or the index is exhausted."""
        wanted = min(k, len(part.index) - part.n_dead)
        n_asked = wanted
        while True:
            cosines, near = part.index.search(queries, n_asked)
            rows = np.where(near < 0, -1, near + part.first)
            if part.n_dead:
                rows[~self._is_live(rows)] = -1
                cosines = np.where(rows < 0, -np.inf, cosines)
            too_few = (rows >= 0).sum(axis=1) < wanted
            may_find_more = too_few & (near >= 0).all(axis=1)
            if not part.n_dead or not may_find_more.any():
                return cosines.astype(np.float32), rows
            n_asked = min(2 * n_asked, len(part.index))

    def _is_live(self, rows: np.ndarray) -> np.ndarray:
        track = np.maximum(self._rows.track_of(rows), 0)
        return (rows >= self._rows.first_rows[track]) & (rows < self._rows.end_rows[track])


class Snapshot:
    """What was committed at one moment: `about` the database, its `rows`, and an `index` over them.

    before: an earlier snapshot, whose open index files are used again.
    """

    def __init__(self, folder: Path, book: catalogue.Catalogue, before: Snapshot | None = None):
        self.folder, self._catalogue = folder, book
        self._opened: dict[str, index.Index] = dict(before._opened) if before is not None else {}
        self._engine: engine_index.EngineIndex | None = before._engine if before is not None else None
        previous = None
        while not self._open():
            state = self.about, self._segments
            if state == previous:
                break  # No compaction took a file away meanwhile: it is missing.
            previous = state
        for name in set(self._opened) - self._used:
            del self._opened[name]

    def tracks(self) -> Iterator[catalogue.DatabaseTrack]:
        """Yields the tracks of this moment with their metadata and places in `rows`, by first row.

        Leaves out those that were removed since. The rows of a damaged log may end before those of a track.
        """
        places = self._places
        columns = (places.ids, places.first_rows, places.n_rows, places.crcs)
        for number, first_row, n_rows, crc in zip(*(column.tolist() for column in columns)):
            try:
                track = self._catalogue.track(number)
            except errors.UnknownTrack:
                continue
            yield track._replace(first_row=first_row, n_rows=n_rows, crc=crc)

    @property
    def troubles(self) -> list[str]:
        """Damaged or missing files, and tracks found to be damaged, in words. What is whole still answers."""
        damaged = [
            f"{self.rows.path}: the fingerprints of {name} are not those written; it is left out. "
            f"nafp verify {self.folder} names all that is damaged"
            for name in self.rows.damaged
        ]
        return self._troubles + damaged

    @property
    def n_tracks(self) -> int:
        """Counts the tracks of this moment."""
        return len(self._places.names)

    def _open(self) -> bool:
        """Opens what the catalogue names now. Returns whether all of it was there."""
        book = self._catalogue
        with book.moment():
            self.about: dict[str, Any] = book.about()
            self._places, self._segments = book.columns(), book.segments()
        self._troubles: list[str] = [book.trouble] if book.trouble else []
        self._used: set[str] = set()
        try:
            self.rows = self._open_rows()
        except FileNotFoundError:  # A compaction removed the log a moment ago.
            return self._open()
        self.index = LiveIndex(self.rows, self._parts())
        return not self._troubles

    def _open_rows(self) -> fingerprint_log.LogRows:
        about = self.about
        codec = codes.of(about)
        path = self.folder / fingerprint_log.file_name(about["generation"])
        n_rows, n_present, peak_bytes = about["n_rows"], 0, about.get("peak_bytes", 0)
        if path.exists():
            n_present = path.stat().st_size // (codec.row_bytes + peak_bytes)
        if n_present < n_rows or not path.exists():
            self._troubles.append(f"{path}: holds {n_present} of {n_rows} rows; the rest is lost")
            n_rows = n_present
        places = self._places
        there = np.flatnonzero(places.first_rows + places.n_rows <= n_rows)
        names = places.names if len(there) == len(places.names) else [places.names[number] for number in there]
        return fingerprint_log.LogRows(
            path,
            codec,
            n_rows=n_rows,
            peak_bytes=peak_bytes,
            tracks=collection.TrackTable(names, places.first_rows[there], places.n_rows[there]),
            crcs=places.crcs[there],
            hop_s=about["hop_s"],
        )

    def _parts(self) -> list[Part]:
        """Opens indexes that cover all rows: an engine, index files, and tails where there is none, or no whole one."""
        parts, end = self._engine_part()
        if isinstance(self.rows.codec, codes.Learned):
            return parts + self._packed(self.rows.codec, end)
        for segment in [segment for segment in self._segments if segment.first_row >= end]:
            parts += self._tail(end, segment.first_row)
            end = segment.first_row + segment.n_rows
            try:
                if segment.file not in self._opened:
                    self._opened[segment.file] = index_segments.opened(self.folder, segment, dim=self.rows.dim)
                self._used.add(segment.file)
                parts.append(self._part(segment.first_row, self._opened[segment.file]))
            except errors.Invalid as error:
                self._troubles.append(f"{error}; its rows are searched without it")
                parts += self._tail(segment.first_row, end)
        return parts + self._tail(end, len(self.rows))

    def _engine_part(self) -> tuple[list[Part], int]:
        """Returns the part that an engine searches, [] if there is none, and the number of rows that it covers."""
        engine = engine_facts.of(self.about)
        if engine is None or not engine.rows:
            self._engine = None
            return [], 0
        if self._engine is None or self._engine.engine != engine:
            self._engine = engine_index.EngineIndex(engine, functools.partial(engine_check.now, self._catalogue))
        return [self._part(0, self._engine)], engine.rows

    def _packed(self, codec: codes.Learned, begin: int) -> list[Part]:
        """Indexes the rows of a learned storage, from `begin` on, by their codes."""
        parts = []
        for first in range(begin, len(self.rows), index_segments.PACK_ROWS):
            end = min(len(self.rows), first + index_segments.PACK_ROWS)
            name = f"{self.rows.path.name} {first} {end}"
            if name not in self._opened:
                self._opened[name] = index_segments.packed(self.rows, codec, first=first, end=end)
            self._used.add(name)
            parts.append(self._part(first, self._opened[name]))
        return parts

    def _tail(self, first: int, end: int) -> list[Part]:
        """Indexes the rows that no file covers. Returns [] if there are none."""
        end = min(end, len(self.rows))
        return [self._part(first, index_segments.Tail(self.rows, first, end))] if first < end else []

    def _part(self, first: int, built: index.Index | engine_index.EngineIndex | index_segments.Tail) -> Part:
        end = first + len(built)
        overlap = np.minimum(self.rows.end_rows, end) - np.maximum(self.rows.first_rows, first)
        return Part(first, built, len(built) - int(np.maximum(overlap, 0).sum()))
