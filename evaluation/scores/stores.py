"""Opens the stores of an evaluation, and refuses stores that do not belong together."""

import os
from collections.abc import Sequence
from typing import NamedTuple

from nafp import errors
from nafp.search import collection, store

DUMMY = "dummy_db"  # The store of distractors that is taken by default.


class Inputs(NamedTuple):
    """The stores of an evaluation.

    n_dummy: number of the first rows of the database that are the dummy's. dummy: the dummy alone, on which the
    original trains its index, or None. unknown: queries whose recordings are not in the database, or None.
    """

    query: collection.Collection
    database: collection.Collection
    n_dummy: int
    dummy: collection.Collection | None
    unknown: collection.Collection | None


def read(
    folders: Sequence[str],
    *,
    query: str = "query",
    db: str = "db",
    dummy: str | None = None,
    unknown: str | None = None,
    rows_per_track: int = 0,
    shifts: int = 1,
) -> Inputs:
    """Opens the named stores in every folder that has them, and checks them.

    dummy: None takes `dummy_db` if it exists, and "" takes none. Raises errors.NotFound or errors.Invalid if something
    is missing, empty, broken, or made by another model.
    """
    queries, references = _required(folders, query), _required(folders, db)
    dummies = _opened(folders, DUMMY) if dummy is None else _required(folders, dummy) if dummy else []
    strangers = _required(folders, unknown) if unknown else []
    collection.require_one_model([*references, *dummies, *queries, *strangers], hop=False)
    inputs = Inputs(
        query=collection.Collection.of(queries, rows_per_track=rows_per_track * shifts),
        database=collection.Collection.of([*dummies, *references], rows_per_track=rows_per_track),
        n_dummy=sum(map(len, dummies)),
        dummy=collection.Collection.of(dummies, rows_per_track=rows_per_track) if dummies else None,
        unknown=collection.Collection.of(strangers, rows_per_track=rows_per_track) if strangers else None,
    )
    require_hops(inputs.query, inputs.database, shifts)
    for side in (inputs.query, inputs.database, inputs.unknown):
        if side is not None:
            side.check()
    return inputs


def _opened(folders: Sequence[str], name: str) -> list[store.Store]:
    return [store.Store.open(folder, name) for folder in folders if has(folder, name)]


def has(folder: str, name: str) -> bool:
    """Returns whether a folder has a store of this name."""
    return os.path.exists(os.path.join(folder, f"{name}.mm"))


def _required(folders: Sequence[str], name: str) -> list[store.Store]:
    """Opens the stores of this name in all folders that have one. Raises if none has, or if all are empty."""
    stores = _opened(folders, name) or [store.Store.open(folders[0], name)]
    if not sum(map(len, stores)):
        raise errors.Invalid(f"{stores[0].folder}: the store {name!r} is empty, it has no rows")
    return stores


def require_hops(query: collection.Collection, database: collection.Collection, shifts: int) -> None:
    """Raises errors.Invalid if there are not `shifts` query rows for each row of the database."""
    is_bare = not any(source.meta for source in (*query.sources, *database.sources))
    if not is_bare and abs(query.hop_s * shifts - database.hop_s) > 1e-6:
        needed = database.hop_s / query.hop_s
        raise errors.Invalid(
            f"query rows are {query.hop_s} s apart and database rows {database.hop_s} s, so "
            f"--shifts should be {needed:g}, not {shifts}"
        )
