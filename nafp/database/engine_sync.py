"""Keeps the collection of an engine in step with the log, in an order that survives a kill at any moment.

Rows reach the log and the catalogue first, so that nothing depends on the engine for being safe. What the engine does
not hold is searched by this package itself. Rows are sent in batches, made durable, and only then counted in the
catalogue. A killed writer therefore leaves rows that nobody counts; the next one deletes them before it sends more. A
new collection takes the place of an old one in one transaction. The old one is dropped when the next writer uses the
engine, because readers may still be in it.
"""

from __future__ import annotations

import contextlib
import logging
import secrets
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np

from nafp import errors
from nafp.database import catalogue, engine_check, engine_facts, fingerprint_log
from nafp.database.engine_facts import Engine
from nafp.jobs import progress

if TYPE_CHECKING:  # It brings pymilvus, which only a database with this engine needs.
    from nafp.database import milvus

_BLOCK_ROWS = 16_384  # Read from the log at once.
PURGE_ROWS = 8192  # Of removed tracks. With fewer, one answer of a server holds enough others.


class EngineSync:
    """The engine of one writer. trouble: why it was given up for the rest of the writer's life, "" while it works."""

    def __init__(self, book: catalogue.Catalogue):
        self._book, self.trouble = book, ""
        self._leftovers = engine_facts.leftovers(book.about())

    @property
    def engine(self) -> Engine | None:
        """The engine as the catalogue has it now, None for index files of our own."""
        return engine_facts.of(self._book.about())

    def take(self, rows: fingerprint_log.LogRows) -> list[str] | None:
        """Sends the rows that the engine lacks. They count as sent on return.

        Returns the names of index files over them, which are of no use now, or None if the engine could not take them.
        Then they stay where they are, and are searched without it.
        """
        engine = self.engine
        if engine is None or self.trouble or len(rows) < self._book.about()["n_rows"]:
            return None
        try:
            client = engine_check.connected(engine)
            if not engine.collection:
                engine = self.filled(engine, rows, self._places(), show=False)
            else:
                engine = self._more(client, self._stamped(client, engine), rows)
        except errors.EngineFailed as error:
            self._give_up(error, len(rows) - engine.rows)
            return None
        return self.go_over(engine)

    def purge(self, *, least: int = PURGE_ROWS) -> None:
        """Deletes the rows of removed tracks from the engine, if there are as many."""
        engine = self.engine
        if engine is None or self.trouble or not engine.collection:
            return
        removed = [(first, n_rows) for first, n_rows in self._book.removed() if first < engine.rows]
        if sum(n_rows for _, n_rows in removed) < least:
            return
        try:
            client = engine_check.connected(engine)
            engine = self._stamped(client, engine)
            n_rows = sum(min(first + n, engine.rows) - first for first, n in removed)
            self._tell(engine._replace(least=engine.held - n_rows))
            client.delete(engine.collection, np.concatenate([np.arange(first, first + n) for first, n in removed]))
            client.flush(engine.collection)
        except errors.EngineFailed as error:
            self._give_up(error, 0)
            return
        with self._book.change():
            self._book.forget_removed([first for first, _ in removed])
            self._put(engine._replace(held=engine.held - n_rows, least=engine.held - n_rows))

    def filled(
        self,
        engine: Engine,
        rows: fingerprint_log.LogRows,
        places: Sequence[tuple[int, int]],
        *,
        generation: int | None = None,
        show: bool,
    ) -> Engine:
        """Makes a new collection of all live rows, ready to be searched. `go_over` puts it in place.

        places: (first row, number of rows) of each track. Raises errors.EngineFailed, and leaves the one that there was
        as it is.
        """
        about = self._book.about()
        generation = about["generation"] if generation is None else generation
        n_rows = sum(n for _, n in places)
        new = engine.renewed(generation, n_rows=n_rows)
        client = engine_check.connected(new)
        with self._book.change():
            self._leave(new, *engine_facts.leftovers(about))
        try:
            properties = engine_check.properties(new, about)
            client.create(
                new.collection, dim=about["dim"], index_type=new.index_type, lists=new.lists, properties=properties
            )
            with progress.Progress(n_rows, "fingerprints", label="engine", show=show) as shown:
                for numbers, vectors in _blocks(rows, places, 0):
                    client.insert(new.collection, numbers, vectors)
                    shown.add(len(numbers))
                client.flush(new.collection)
                client.wait_indexed(new.collection, show=lambda line: shown.add(0, status=line))
            client.reload(new.collection)
        except errors.EngineFailed:
            with contextlib.suppress(errors.EngineFailed):  # The next writer tries again.
                self._drop(client, new)
            raise
        return new._replace(rows=len(rows), held=n_rows, least=n_rows)

    def go_over(self, engine: Engine | None) -> list[str]:
        """Puts an engine in the place of that which there is. None: index files of our own.

        Returns the names of index files over rows that the engine holds. The caller removes them.
        """
        with self._book.change():
            return self.put_in_place(engine)

    def put_in_place(self, engine: Engine | None) -> list[str]:
        """Does what `go_over` says, within a change of the catalogue that the caller has begun."""
        about = self._book.about()
        before = engine_facts.stored(about)
        left = [old for old in engine_facts.leftovers(about) if engine is None or old.collection != engine.collection]
        if before and before.collection and (engine is None or before.collection != engine.collection):
            left.append(before)
        self._leave(*left)
        self._put(engine)
        is_same = engine is not None and before is not None and before.collection == engine.collection
        if not is_same:
            self._book.note_removals(engine is not None)
        if engine is None:
            return []
        if is_same and before is not None:  # Tracks that were removed before they were sent.
            self._book.forget_removed([first for first, _ in self._book.removed() if first >= before.rows])
        covered = [segment for segment in self._book.segments() if segment.first_row < engine.rows]
        self._book.replace_segments([segment.id for segment in covered], [])
        return [segment.file for segment in covered]

    def compacted(self, rows: fingerprint_log.LogRows, *, generation: int) -> Engine | None:
        """Returns the engine for a log that was written anew without gaps: one that holds it, or an empty one.

        None: index files of our own.
        """
        engine = self.engine
        if engine is None or self.trouble:
            return engine and engine.emptied(generation)
        try:
            return self.filled(engine, rows, [(0, len(rows))], generation=generation, show=False)
        except errors.EngineFailed as error:
            self._give_up(error, len(rows))
            return engine.emptied(generation)

    def leave_elsewhere(self, engine: Engine | None) -> None:
        """Drops at once what is left on servers that the database has no more to do with."""
        for old in engine_facts.leftovers(self._book.about()):
            if engine is None or old.uri != engine.uri:
                try:
                    self._drop(engine_check.connected(old), old)
                except errors.EngineFailed as error:
                    logging.getLogger(__name__).warning("%s: the collection %s is still there", error, old.collection)

    def tidy(self) -> None:
        """Drops the collections that were of no use when this writer began, and deletes what was removed since."""
        while self._leftovers:
            old = self._leftovers.pop()
            with contextlib.suppress(errors.EngineFailed):
                self._drop(engine_check.connected(old), old)
        self.purge()

    def _drop(self, client: milvus.Milvus, engine: Engine) -> None:
        """Drops a collection of this database, and forgets it. One that a copy of the database has changed stays."""
        found = client.described(engine.collection)
        own = found.properties if found else {}
        if own.get("database") == engine.database and own.get("stamp") in engine.stamps:
            client.drop(engine.collection)
        with self._book.change():
            left = engine_facts.leftovers(self._book.about())
            self._leave(*(old for old in left if old.collection != engine.collection))

    def _stamped(self, client: milvus.Milvus, engine: Engine) -> Engine:
        """Checks the collection, and marks it as one that only this database changes from now on.

        A copy of the database that looks at it later finds another stamp than its own.
        """
        engine_check.require(client, lambda: engine_check.now(self._book))
        stamp = engine_check.require_ours(client, engine, self._book.about())
        engine = engine._replace(stamp=stamp, next_stamp=secrets.token_hex(8))
        self._tell(engine)
        client.stamp(engine.collection, engine.next_stamp)
        engine = engine._replace(stamp=engine.next_stamp)
        self._tell(engine)
        return engine

    def _more(self, client: milvus.Milvus, engine: Engine, rows: fingerprint_log.LogRows) -> Engine:
        """Sends rows `engine.rows` .. len(rows), and returns the engine that holds them."""
        while len(strangers := client.rows(engine.collection, engine.rows, None)):  # Of a writer that was killed.
            client.delete(engine.collection, strangers)
        n_sent = 0
        for numbers, vectors in _blocks(rows, self._places(), engine.rows):
            client.insert(engine.collection, numbers, vectors)
            n_sent += len(numbers)
        client.flush(engine.collection)
        client.wait_indexed(engine.collection)
        return engine._replace(rows=len(rows), held=engine.held + n_sent, least=engine.least + n_sent)

    def _places(self) -> list[tuple[int, int]]:
        """Returns first row and number of rows of each track, ascending."""
        return [(first, n_rows) for _, _, _, first, n_rows, _ in self._book.places()]

    def _give_up(self, error: errors.EngineFailed, n_rows: int) -> None:
        self.trouble = str(error)
        waiting = f"; {n_rows} fingerprints are searched without it until a later change sends them" if n_rows else ""
        logging.getLogger(__name__).warning("%s%s. What was added is safe", error, waiting)

    def _tell(self, engine: Engine) -> None:
        with self._book.change():
            self._put(engine)

    def _put(self, engine: Engine | None) -> None:
        self._book.tell({engine_facts.FACT: engine.fact() if engine else None})

    def _leave(self, *engines: Engine) -> None:
        """Notes collections that are to be dropped."""
        self._book.tell({engine_facts.LEFTOVERS: [engine.fact() for engine in engines]})


def _blocks(
    rows: fingerprint_log.LogRows, places: Iterable[tuple[int, int]], first: int
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yields the live rows from `first` on in blocks: their numbers, int64 [n], ascending, and vectors [n, D]."""
    waiting: list[tuple[np.ndarray, np.ndarray]] = []
    n_waiting = 0
    for start, n_rows in places:
        start, end = max(first, start), min(len(rows), start + n_rows)
        if start >= end:
            continue
        waiting.append((np.arange(start, end), rows.read(start, end)))
        n_waiting += end - start
        if n_waiting >= _BLOCK_ROWS:
            yield _joined(waiting)
            waiting, n_waiting = [], 0
    if n_waiting:
        yield _joined(waiting)


def _joined(parts: list[tuple[np.ndarray, np.ndarray]]) -> tuple[np.ndarray, np.ndarray]:
    numbers, vectors = zip(*parts)
    return np.concatenate(numbers), np.concatenate(vectors)
