"""A database as it was at one moment: its live rows, and how to search them.

A snapshot keeps its files open: what a writer adds, removes or compacts meanwhile does not change it.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from nafp.database import catalogue, codes, fingerprint_log, index_segments
from nafp.search import index, store


class Part(NamedTuple):
    """An index over rows first .. first + len(index); n_dead of them belong to no track any more."""

    first: int
    index: index.Index
    n_dead: int


class Searched:
    """All indexes of a snapshot as one, with `search` as `nafp.search.index.Index` has it; only live rows are found."""

    def __init__(self, rows: fingerprint_log.LogRows, parts: list[Part]):
        self._rows, self._parts = rows, parts
        self._n_live = int((rows.end_rows - rows.first_rows).sum())

    def __len__(self) -> int:
        return self._n_live

    def search(self, queries: np.ndarray, k: int = 0) -> tuple[np.ndarray, np.ndarray]:
        """Finds the k nearest live rows (default 100) of queries [n, D].

        Returns cosines float32 [n, k], best first, as near as the codes of an index file give them, and rows int64
        [n, k]; -inf and -1 where there are fewer.
        """
        k = min(k or index_segments.K, max(1, self._n_live))
        found = [self._live(part, queries, k) for part in self._parts if len(part.index) > part.n_dead]
        if not found:
            return np.full((len(queries), k), -np.inf, np.float32), np.full((len(queries), k), -1)
        # Codes make a cosine c look like c + e (1/2 - c), e the mean squared error of a code: at the cosines of noisy
        # queries, around 1/2, files and tail compare as they are.
        scores, near = (np.concatenate(each, axis=1) for each in zip(*found))
        best = np.argsort(-scores, axis=1, kind="stable")[:, :k]
        return np.take_along_axis(scores, best, axis=1), np.take_along_axis(near, best, axis=1)

    def _live(self, part: Part, queries: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
        """Searches one part, for more the more of what it finds is dead."""
        wanted = min(k, len(part.index) - part.n_dead)
        asked = wanted
        while True:
            scores, near = part.index.search(queries, asked)
            rows = np.where(near < 0, -1, near + part.first)
            if part.n_dead:
                rows[~self._is_live(rows)] = -1
                scores = np.where(rows < 0, -np.inf, scores)
            short = (rows >= 0).sum(axis=1) < wanted
            more = short & (near >= 0).all(axis=1)  # Too few, and the index has more to give.
            if not part.n_dead or not more.any():
                return scores.astype(np.float32), rows
            asked = min(2 * asked, len(part.index))

    def _is_live(self, rows: np.ndarray) -> np.ndarray:
        track = np.maximum(self._rows.track_of(rows), 0)
        return (rows >= self._rows.first_rows[track]) & (rows < self._rows.end_rows[track])


class Snapshot:
    """What was committed at one moment: `rows`, and `index` over them.

    before: an earlier snapshot, whose open index files are used again. troubles: damaged or missing files, in words;
    what is whole answers.
    """

    def __init__(self, folder: Path, book: catalogue.Catalogue, before: Snapshot | None = None):
        self.folder = folder
        self._opened: dict[str, index.Index] = dict(before._opened) if before else {}
        seen = None
        while not self._open(book):
            now = self.about, self._segments
            if seen == now:
                break  # Not taken away by a compaction meanwhile: missing.
            seen = now
        for name in set(self._opened) - self._named:
            del self._opened[name]

    def _open(self, book: catalogue.Catalogue) -> bool:
        """Opens what the catalogue names now; returns whether all of it was there."""
        with book.moment():
            self.about, self._places, self._segments = book.about(), book.places(), book.segments()
        self.troubles: list[str] = [book.trouble] if book.trouble else []
        self._named: set[str] = set()
        try:
            self.rows = self._open_rows()
        except FileNotFoundError:  # A moment ago it was there.
            return self._open(book)
        self.index = Searched(self.rows, self._parts())
        return not self.troubles

    def _open_rows(self) -> fingerprint_log.LogRows:
        about = self.about
        codec = codes.of(about)
        path = self.folder / fingerprint_log.file_name(about["generation"])
        n_rows, there = about["n_rows"], 0
        if path.exists():
            there = path.stat().st_size // codec.row_bytes
        if there < n_rows or not path.exists():
            self.troubles.append(f"{path}: holds {there} of {n_rows} rows; the rest is lost")
            n_rows = there
        tracks = [
            store.TrackRows(name, first, n, seconds)
            for _, name, seconds, first, n in self._places
            if first + n <= n_rows
        ]
        return fingerprint_log.LogRows(path, codec, n_rows=n_rows, tracks=tracks, hop_s=about["hop_s"])

    def _parts(self) -> list[Part]:
        if self.about["storage"] in codes.LEARNED:
            return self._packed()
        parts, end = [], 0
        for segment in self._segments:
            parts += self._tail(end, segment.first_row)
            end = segment.first_row + segment.n_rows
            try:
                if segment.file not in self._opened:
                    self._opened[segment.file] = index_segments.opened(self.folder, segment, dim=self.rows.dim)
                self._named.add(segment.file)
                parts.append(self._part(segment.first_row, self._opened[segment.file]))
            except ValueError as error:
                self.troubles.append(f"{error}; its rows are searched without it")
                parts += self._tail(segment.first_row, end)
        return parts + self._tail(end, len(self.rows))

    def _packed(self) -> list[Part]:
        parts = []
        for first in range(0, len(self.rows), index_segments.PACK_ROWS):
            end = min(len(self.rows), first + index_segments.PACK_ROWS)
            name = f"{self.rows.path.name} {first} {end}"
            if name not in self._opened:
                self._opened[name] = index_segments.packed(self.rows, first=first, end=end)
            self._named.add(name)
            parts.append(self._part(first, self._opened[name]))
        return parts

    def _tail(self, first: int, end: int) -> list[Part]:
        """Indexes rows that no file covers, those of no track left out at both ends."""
        end = min(end, len(self.rows))
        return [self._part(first, index_segments.tail(self.rows.read(first, end)))] if first < end else []

    def _part(self, first: int, built: Any) -> Part:
        end = first + len(built)
        overlap = np.minimum(self.rows.end_rows, end) - np.maximum(self.rows.first_rows, first)
        return Part(first, built, len(built) - int(np.maximum(overlap, 0).sum()))
