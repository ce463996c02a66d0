"""Whether a collection of Milvus is the one that a catalogue means, and holds what it should."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from nafp import errors
from nafp.database import catalogue, engine_facts, engine_trust
from nafp.database.engine_facts import Engine
from nafp.models import identities

if TYPE_CHECKING:  # It brings pymilvus, which only a database with this engine needs.
    from nafp.database import milvus

_COMPARED_ROWS = 16  # Of each block that `complaint` looks at: their vectors, too.
_OFF = 1e-3  # By which a number of a vector may differ from that in the log.


def connected(engine: Engine) -> milvus.Milvus:
    """Returns the connection to an engine.

    Raises errors.EngineFailed if it cannot be reached, and as `require_usable`.
    """
    require_usable(engine)
    from nafp.database import milvus

    return milvus.opened(engine)


def require_usable(engine: Engine) -> None:
    """Raises errors.EngineFailed if nobody agreed to an engine, or pymilvus is not installed. Does not connect."""
    engine_trust.require(engine)
    try:
        from nafp.database import milvus  # noqa: F401
    except ModuleNotFoundError as error:
        if error.name != "pymilvus":
            raise
        raise errors.EngineFailed(f"{engine.uri}: pymilvus is not installed: pip install 'nafp[milvus]'") from None


def now(book: catalogue.Catalogue) -> tuple[Engine | None, dict[str, Any]]:
    """Reads the engine and the other facts of a catalogue as they are now."""
    about = book.about()
    return engine_facts.of(about), about


def properties(engine: Engine, about: Mapping[str, Any]) -> dict[str, Any]:
    """Returns what a new collection says of itself. about: what the catalogue says."""
    return {
        "database": engine.database,
        "network": identities.digest(about.get("network") or {}),
        "dim": about["dim"],
        "generation": engine.generation,
        "stamp": engine.stamp,
    }


def require_ours(client: milvus.Milvus, engine: Engine, about: Mapping[str, Any]) -> str:
    """Raises errors.EngineFailed unless the collection belongs to this database. Returns its stamp."""
    found = client.described(engine.collection)
    if found is None:
        raise _failed(engine, "is not there any more")
    own, wanted = found.properties, properties(engine, about)
    if "database" not in own:
        raise _failed(engine, "was not made by nafp")
    if own.get("network") != str(wanted["network"]):
        raise _failed(engine, f"holds fingerprints of another network, {own.get('network', '')[:12]}")
    if found.dim != wanted["dim"]:
        raise _failed(engine, f"holds vectors of {found.dim} numbers; those of the database have {wanted['dim']}")
    if own["database"] != engine.database or own.get("generation") != str(engine.generation):
        raise _failed(engine, "belongs to another database")
    return own.get("stamp", "")


def require(client: milvus.Milvus, reread: Callable[[], tuple[Engine | None, Mapping[str, Any]]]) -> Engine:
    """Raises errors.EngineFailed unless the collection holds what the catalogue says. Returns what that is.

    reread: reads the engine and the other facts as they are now. A writer may change both while this looks at them.
    """
    engine, about = reread()
    for is_last in (False, True):
        if engine is None or not engine.collection:
            raise errors.EngineFailed("the database has another engine now; open it again")
        try:
            stamp = require_ours(client, engine, about)
            _require_stamp(engine, stamp)
            client.load(engine.collection)
            _require_rows(client, engine)
            return engine
        except errors.EngineFailed:
            before, (engine, about) = engine, reread()
            if is_last or engine == before:
                raise
    raise AssertionError("unreachable")


def _require_stamp(engine: Engine, stamp: str) -> None:
    if stamp not in engine.stamps:
        raise _failed(
            engine, "was changed by a copy of this database or an older state of it, or its server has lost changes"
        )


def _require_rows(client: milvus.Milvus, engine: Engine) -> None:
    """Raises errors.EngineFailed unless the rows are there. More may be, of a writer that was killed."""
    if client.count(engine.collection) == engine.held == engine.least:
        return
    n_rows = client.count(engine.collection, 0, engine.rows)
    if not engine.least <= n_rows <= engine.held:
        raise _failed(engine, f"holds {n_rows} of the {engine.held} rows that were sent")


def complaint(
    client: milvus.Milvus,
    engine: Engine,
    live: Sequence[tuple[int, int]],
    read: Callable[[int, int], np.ndarray],
) -> str:
    """Compares a collection row by row with the log. Returns what differs, "" if nothing does.

    live: (first row, number of rows) of each track, ascending. read: reads vectors of the log, first .. end.
    """
    n_missing = n_wrong = n_live = 0
    for first, end, wanted in _blocks(live, engine.rows, client.most_hits):
        present = client.rows(engine.collection, first, end)
        n_live += len(wanted)
        n_missing += len(np.setdiff1d(wanted, present, assume_unique=True))
        n_wrong += _count_wrong(client, engine.collection, np.intersect1d(wanted, present), read)
    found = []
    if n_missing:
        found.append(f"{n_missing} of {n_live} rows are missing")
    if n_wrong:
        found.append(f"{n_wrong} of the rows that were looked at are not those written")
    return f"{engine.collection} of {engine.uri}: {' and '.join(found)}; {_remedy()}" if found else ""


def _count_wrong(client: milvus.Milvus, name: str, rows: np.ndarray, read: Callable[[int, int], np.ndarray]) -> int:
    """Counts the vectors that differ from those of the log, among a few of these rows."""
    if not len(rows):
        return 0
    chosen = rows[:: max(1, len(rows) // _COMPARED_ROWS)]
    vectors = client.vectors(name, chosen)
    return sum(not np.allclose(vectors[row], read(row, row + 1)[0], atol=_OFF) for row in vectors)


def _blocks(live: Sequence[tuple[int, int]], n_rows: int, at_once: int) -> Iterator[tuple[int, int, np.ndarray]]:
    """Yields (first, end, live rows between them) for the first n_rows of a log."""
    places = np.array(live, np.int64).reshape(-1, 2)
    starts, ends = places[:, 0], np.minimum(places.sum(axis=1), n_rows)
    for first in range(0, n_rows, at_once):
        end = min(n_rows, first + at_once)
        own = np.flatnonzero((starts < end) & (ends > first))
        pieces = [np.arange(max(first, starts[n]), min(end, ends[n])) for n in own]
        yield first, end, np.concatenate([np.empty(0, np.int64), *pieces])


def _failed(engine: Engine, reason: str) -> errors.EngineFailed:
    return errors.EngineFailed(f"Milvus at {engine.uri}: the collection {engine.collection} {reason}; {_remedy()}")


def _remedy() -> str:
    return "nafp engine DB rebuild makes it anew from the fingerprints of the database"
