"""Which engine searches a database: chosen, changed, and asked how much it holds."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

from nafp.database import catalogue, engine_check, engine_facts, engine_trust, writer
from nafp.database.engine_facts import Engine


def of(folder: str | os.PathLike) -> Engine | None:
    """Returns the engine of a database, None for index files of its own."""
    with catalogue.Catalogue(folder) as book:
        return engine_facts.of(book.about())


def choose(folder: str | os.PathLike, engine: Engine | None, *, show: bool = False) -> None:
    """Indexes a database in an engine that the user asks for, and so agrees to, or in index files of its own (None).

    show: whether to show progress. Raises errors.EngineFailed, and leaves the database as it is, if the engine cannot
    take the fingerprints. The next writer drops what the former engine holds, because readers may be in it.
    """
    if engine is not None:
        engine_trust.agree(engine)
    with writer.DatabaseWriter(folder) as changes:
        changes.reindex(engine, show=show)


def rebuild(folder: str | os.PathLike, *, show: bool = False) -> None:
    """Indexes a database anew, in the engine that it has. See `choose`."""
    with writer.DatabaseWriter(folder) as changes:
        changes.reindex(engine_facts.of(changes.catalogue.about()), show=show)


def trust(folder: str | os.PathLike) -> None:
    """Agrees to the engine that a database has."""
    engine = of(folder)
    if engine is not None:
        engine_trust.agree(engine)


def n_held(folder: str | os.PathLike) -> int:
    """Asks the engine of a database how many of its fingerprints it holds.

    Raises errors.EngineFailed if it is out of reach, or its collection is not what the catalogue says.
    """
    with contextlib.closing(catalogue.Catalogue(Path(folder))) as book:
        engine = engine_facts.of(book.about())
        if engine is None or not engine.collection:
            return 0
        client = engine_check.connected(engine)
        engine = engine_check.require(client, lambda: engine_check.now(book))
        return client.count(engine.collection, 0, engine.rows)
