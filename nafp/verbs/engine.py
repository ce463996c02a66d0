"""`nafp engine`: chooses what searches a database, and says what does."""

from __future__ import annotations

from typing import Any

from nafp.database import database, engine_facts, engines
from nafp.jobs import choices, shown

KINDS = ("milvus", "local", "rebuild", "trust")


def run(folder: str, kind: str = "", **settings: Any) -> int:
    """Changes the engine of a database, prints what it is then, and returns the exit code.

    kind: one of KINDS, "" to change nothing. settings: of Milvus, as `nafp.database.engine_facts.asked` takes them.
    Raises errors.EngineFailed if the server is out of reach or the collection is not what it should be.
    """
    if kind:
        choices.require("engine", kind, KINDS)
    with database.Database.open(folder):  # Says what is wrong if there is none, or one of another format.
        pass
    if kind == "milvus":
        engines.choose(folder, engine_facts.asked(**settings), show=True)
    elif kind == "local":
        engines.choose(folder, None, show=True)
    elif kind == "rebuild":
        engines.rebuild(folder, show=True)
    elif kind == "trust":
        engines.trust(folder)
    print(shown.plain(f"{folder}: {described(folder)}"))
    return 0


def described(folder: str) -> str:
    """Says in one line what searches a database, and how many rows it holds. Asks the server."""
    with database.Database.open(folder) as opened:
        info = opened.info()
    engine = info["engine"]
    if engine["kind"] == "local":
        return f"searched by {info['index_files']} index files of its own; {info['fingerprints']} fingerprints"
    n_held = engines.n_held(folder)
    apart = f"; {engine['waiting']} later ones are searched without it" if engine["waiting"] else ""
    where = f"Milvus at {engine['uri']}, collection {engine['collection'] or '(none)'}, index {engine['index_type']}"
    return f"searched by {where}; it holds {n_held} fingerprints{apart}"
