"""The query clips at one speed: which rows a look at a clip takes, and their neighbours in the database."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from nafp import errors
from nafp.search import collection, index, speeds, store

from . import questions, stores
from .answers import rows_needed


class QueryVersion:
    """The clips of all questions at one speed. Rows are searched when they are first asked for.

    speed: the change of speed that was undone. rows: their fingerprints. dense: rows for each row of the database.
    first, n_rows: int64 [Q], the rows of each clip; n_rows is 0 where this speed lacks the clip. brief: int64 [Q], the
    row that a clip of one segment gives (see `nafp.fingerprints.extract`), -1 for none.
    """

    def __init__(self, folders: Sequence[str], name: str, clips: Sequence[str], database: collection.Collection):
        opened = [store.Store.open(folder, name) for folder in folders if stores.has(folder, name)]
        self.rows = collection.Collection.of(opened or [store.Store.open(folders[0], name)])
        self.name, self.speed = name, float(self.rows.sources[0].meta.get("speed", 1.0))
        self.dense = round(database.hop_s / self.rows.hop_s)
        if abs(self.dense * self.rows.hop_s - database.hop_s) > 1e-6:
            raise errors.Invalid(
                f"{name}: query rows are {self.rows.hop_s:g} s apart and database rows {database.hop_s:g} s, which is "
                "no multiple of it"
            )
        place = {track: number for number, track in enumerate(self.rows.tracks)}
        own = np.array([place.get(clip, -1) for clip in clips])
        first, end = self.rows.borders(np.maximum(own, 0))
        skipped = questions.before(self.rows)
        self.first, self.n_rows = first + skipped, np.where(own < 0, 0, np.maximum(end - first - skipped, 0))
        self.brief = np.where((own < 0) | (skipped == 0), -1, first)
        self._neighbours = np.empty((len(self.rows), 0), np.int64)
        self._is_searched = np.zeros(len(self.rows), bool)

    def taken(
        self, clip: int, lengths: Sequence[int], *, shifts: int, segment_rows: float
    ) -> list[tuple[np.ndarray, list[int]]]:
        """Lists the rows that a look at a clip takes: (numbers int64 [n], how many of them count at each length).

        Most clips have one entry. The one row of a clip of one segment that is shorter than that once its speed is
        undone has an entry of its own. lengths: in segments. shifts: rows for each row of the database. segment_rows:
        rows of the database in a segment.
        """
        step = self.dense // shifts
        n_heard = [speeds.rows_heard(length, self.speed, segment_rows=segment_rows) for length in lengths]
        n_brief = [int(length == 1 and not n) for length, n in zip(lengths, n_heard)]
        n = min(-(-int(self.n_rows[clip]) // step), rows_needed(max(*n_heard, 1), shifts))
        found = [(self.first[clip] + step * np.arange(n), n_heard)] if n and any(n_heard) else []
        if self.brief[clip] >= 0 and any(n_brief):
            found.append((self.brief[clip : clip + 1], n_brief))
        return found

    def search(self, numbers: Sequence[np.ndarray], searched: index.Index) -> int:
        """Searches for the neighbours of rows, by number, that were not searched before. Returns how many."""
        missing = np.unique(np.concatenate([np.zeros(0, np.int64), *numbers]))
        missing = missing[~self._is_searched[missing]]
        if not self._neighbours.shape[1]:
            self._neighbours = np.full((len(self.rows), searched.plan.k), -1, np.int64)
        for start in range(0, len(missing), searched.batch_rows):
            block = missing[start : start + searched.batch_rows]
            self._neighbours[block] = searched.search(self.rows.take(block))[1]
        self._is_searched[missing] = True
        return len(missing)

    def neighbours(self, numbers: np.ndarray) -> np.ndarray:
        """Returns the neighbours of rows that were searched, int64 [n, K]."""
        return self._neighbours[numbers]

    def heard(
        self,
        clip: int,
        lengths: Sequence[int],
        *,
        shifts: int,
        segment_rows: float,
        database: collection.Collection,
        without: np.ndarray | None,
    ) -> list[speeds.ClipAtSpeed]:
        """Returns what `nafp.search.speeds.rank` takes of a clip at these lengths, in segments.

        without: int64 [A], tracks that are treated as not in the database; None for none.
        """
        found = []
        for numbers, n_rows in self.taken(clip, lengths, shifts=shifts, segment_rows=segment_rows):
            near = self._neighbours[numbers]
            if without is not None:
                near = np.where(np.isin(database.track_of(near), without), -1, near)
            found.append(speeds.ClipAtSpeed(self.speed, self.rows.take(numbers), near, n_rows))
        return found
