"""Opens the stores an evaluation needs, and refuses those that do not belong together."""

import os
from collections.abc import Sequence
from typing import NamedTuple

from nafp import errors
from nafp.search import collection, store

DUMMY = "dummy_db"


class Inputs(NamedTuple):
    """Both sides of an evaluation.

    query, database: collections; the first n_dummy rows of the database are the dummy's.
    dummy: the dummy alone, on which the original trains its index; None without one. unknown:
    queries whose recordings are not in the database, or None.
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

    dummy=None takes `dummy_db` where it exists; "" takes none. Raises FileNotFoundError or
    ValueError when something is missing, empty, broken, or made by another model.
    """
    queries, answers = _required(folders, query), _required(folders, db)
    fillers = _found(folders, DUMMY) if dummy is None else _required(folders, dummy) if dummy else []
    strangers = _required(folders, unknown) if unknown else []
    database = collection.Collection.of([*fillers, *answers], rows_per_track=rows_per_track)
    asked = collection.Collection.of(queries, rows_per_track=rows_per_track * shifts)
    collection.require_one_model([*answers, *fillers, *queries, *strangers], hop=False)
    require_hops(asked, database, shifts)
    kept = {"rows_per_track": rows_per_track}
    inputs = Inputs(
        asked,
        database,
        sum(len(each) for each in fillers),
        collection.Collection.of(fillers, **kept) if fillers else None,
        collection.Collection.of(strangers, **kept) if strangers else None,
    )
    for side in (inputs.query, inputs.database, inputs.unknown):
        if side is not None:
            side.check()
    return inputs


def _found(folders: Sequence[str], name: str) -> list[store.Store]:
    return [store.Store.open(folder, name) for folder in folders if has(folder, name)]


def has(folder: str, name: str) -> bool:
    return os.path.exists(os.path.join(folder, f"{name}.mm"))


def _required(folders: Sequence[str], name: str) -> list[store.Store]:
    """Opens a name in all folders that have it; raises when none has."""
    found = _found(folders, name) or [store.Store.open(folders[0], name)]
    if not sum(len(each) for each in found):
        raise errors.Invalid(f"{found[0].folder}: the store {name!r} is empty, it has no rows")
    return found


def require_hops(query: collection.Collection, database: collection.Collection, shifts: int) -> None:
    for side, factor in ((query, shifts),):
        bare = not any(each.meta for each in (*side.sources, *database.sources))
        if not bare and abs(side.hop_s * factor - database.hop_s) > 1e-6:
            needed = database.hop_s / side.hop_s
            raise errors.Invalid(
                f"query rows are {side.hop_s} s apart and database rows {database.hop_s} s, so "
                f"--shifts should be {needed:g}, not {factor}"
            )
