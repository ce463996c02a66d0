"""What the catalogue says of a search engine outside the database: where it is, and how much of the log it holds.

The fact `engine` is missing where the database is searched by its own index files. No token is in it: the fact names a
file, or a variable of the environment, that holds one.

Rows 0 .. `rows` of the log, as far as they belonged to tracks when they were sent, are in the collection of the engine.
All others are searched here. The rows in the collection are those of one generation of the log. `held` counts them, and
`least` is smaller while some are being deleted. The collection carries a stamp, drawn anew whenever it changes. If it
is neither `stamp` nor `next_stamp`, something else has changed the collection, such as a copy of this database.
"""

from __future__ import annotations

import math
import os
import re
import secrets
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from nafp import errors
from nafp.jobs import choices
from nafp.search import plans

FACT, LEFTOVERS = "engine", "engine_leftovers"  # Their names in the catalogue.
KIND = "milvus"
# How a collection is searched. HNSW is not among them: neighbouring fingerprints are nearly alike, and at its usual
# settings such a graph misses more of them than lists do.
INDEXES = ("auto", "FLAT", "IVF_FLAT", "IVF_SQ8")
LISTS = 1024  # Of each segment of a collection, which holds two million rows at most by the settings of the server.
TIMEOUT_S = 30.0  # For one answer.
_SCHEMES = ("http://", "https://", "tcp://", "unix:")
_SUFFIX = ".db"  # How pymilvus knows that an address is a folder of milvus-lite.
_MOST = 2**53
_WORD = re.compile(r"[A-Za-z0-9_]{1,200}", re.ASCII)


class Engine(NamedTuple):
    """An engine and its collection.

    asked: one of INDEXES. index_type: what was chosen for `auto`. database: tells the database from others. collection:
    its name, "" where there is none yet, and rows are 0.
    """

    uri: str
    token_file: str | None = None
    token_env: str | None = None
    asked: str = "auto"
    index_type: str = "FLAT"
    lists: int = LISTS
    timeout_s: float = TIMEOUT_S
    database: str = ""
    collection: str = ""
    generation: int = 0
    rows: int = 0
    held: int = 0
    least: int = 0
    stamp: str = ""
    next_stamp: str = ""

    @property
    def is_embedded(self) -> bool:
        """Whether the engine is milvus-lite in this process, and not a server."""
        return self.uri.endswith(_SUFFIX) and not self.uri.startswith(_SCHEMES)

    @property
    def stamps(self) -> set[str]:
        """The stamps that the collection may carry."""
        return {self.stamp, self.next_stamp} - {""}

    @property
    def n_probe(self) -> int:
        """Lists to search for each query row, 0 where all rows are compared."""
        return 0 if self.index_type == "FLAT" else plans.probed(self.lists)

    def fact(self) -> dict[str, Any]:
        """Returns what the catalogue stores."""
        return {"kind": KIND} | self._asdict()

    def emptied(self, generation: int) -> Engine:
        """Returns the same engine without a collection."""
        return self._replace(collection="", generation=generation, rows=0, held=0, least=0, stamp="", next_stamp="")

    def renewed(self, generation: int, *, n_rows: int) -> Engine:
        """Returns the same engine with the name of a new collection, for n_rows rows."""
        index_type = self.asked
        if index_type == "auto":
            index_type = "FLAT" if n_rows < plans.FLAT_BELOW else "IVF_SQ8"
        name = f"nafp_{self.database}_{generation}_{secrets.token_hex(4)}"
        return self.emptied(generation)._replace(index_type=index_type, collection=name, stamp=secrets.token_hex(8))

    def token(self) -> str:
        """Reads the token, "" if there is none. Raises errors.EngineFailed if it cannot be read."""
        if self.token_env:
            if self.token_env not in os.environ:
                raise errors.EngineFailed(f"the token for {self.uri}: the variable {self.token_env} is not set")
            return os.environ[self.token_env].strip()
        if not self.token_file:
            return ""
        try:
            return Path(self.token_file).read_text("utf-8").strip()
        except (OSError, ValueError) as error:
            reason = error.strerror if isinstance(error, OSError) else "it is not text in UTF-8"
            raise errors.EngineFailed(f"the token for {self.uri}: {self.token_file} cannot be read: {reason}") from None


def asked(
    uri: str,
    *,
    token_file: str | None = None,
    token_env: str | None = None,
    index: str = "auto",
    lists: int = LISTS,
    timeout_s: float = TIMEOUT_S,
) -> Engine:
    """Returns an engine that a person asks for. Raises errors.Invalid for what cannot be right, and as `token` does.

    uri: http://HOST:PORT of a server or a cluster, or a path that ends in .db for milvus-lite. index: one of INDEXES.
    lists: of each segment. timeout_s: for one answer.
    """
    choices.require("index", index, INDEXES)
    if not uri:
        raise errors.Invalid("--uri is needed: http://HOST:19530 of a Milvus server, or FOLDER.db for milvus-lite")
    if "@" in uri.partition("://")[2].partition("/")[0]:
        raise errors.Invalid("--uri: an address holds no token; put it into a file, and name that with --token_file")
    if not f"{uri}{token_file or ''}".isprintable():
        raise errors.Invalid("--uri and --token_file: printable text is needed")
    if not uri.startswith(_SCHEMES):
        if "://" in uri or not uri.endswith(_SUFFIX):
            raise errors.Invalid(
                f"--uri={uri}: neither http://HOST:PORT or https://HOST:PORT, nor a path that ends in {_SUFFIX}"
            )
        uri = os.path.abspath(uri)
    if token_file and token_env:
        raise errors.Invalid("--token_file and --token_env: one of them holds the token")
    if not 1 <= lists <= 65_536:
        raise errors.Invalid(f"--lists={lists}: 1 to 65536 are allowed")
    if not 0 < timeout_s <= 3600:
        raise errors.Invalid(f"--timeout_s={timeout_s:g}: above 0 and up to 3600 seconds are allowed")
    file = os.path.abspath(token_file) if token_file else None
    engine = Engine(uri, file, token_env or None, index, lists=lists, timeout_s=timeout_s)
    engine.token()
    return engine._replace(database=secrets.token_hex(6))


def of(about: Mapping[str, Any]) -> Engine | None:
    """Returns the engine of a database, None for its own index files. about: what its catalogue says.

    An older version may have compacted the log, which moves rows. Then the collection is of no use any more, and counts
    as empty. Raises ValueError for a fact that cannot be true.
    """
    engine = stored(about)
    if engine is None:
        return None
    if engine.generation != about["generation"] or engine.rows > about["n_rows"]:
        return engine.emptied(about["generation"])
    return engine


def stored(about: Mapping[str, Any]) -> Engine | None:
    """Returns the engine as the catalogue has it, of whatever generation of the log. Raises ValueError as `of`."""
    fact = about.get(FACT)
    return None if fact is None else _parsed(fact)


def shown(about: Mapping[str, Any]) -> dict[str, Any]:
    """Returns what a person may want to know of the engine: kind, and for Milvus the address, collection and rows."""
    engine = of(about)
    if engine is None:
        return {"kind": "local"}
    told = {name: getattr(engine, name) for name in ("uri", "collection", "index_type", "rows", "held")}
    return {"kind": KIND} | told | {"waiting": about["n_rows"] - engine.rows}


def leftovers(about: Mapping[str, Any]) -> list[Engine]:
    """Lists the collections that are of no use any more, and have yet to be dropped. Raises ValueError as `of`."""
    return [_parsed(fact) for fact in about.get(LEFTOVERS) or []]


def _parsed(fact: Any) -> Engine:
    """Returns the engine that a fact is of. Raises ValueError, which names what is wrong."""
    if not isinstance(fact, Mapping) or fact.get("kind") != KIND:
        raise ValueError("its kind")
    known = {name: fact[name] for name in Engine._fields if name in fact}
    if not isinstance(known.get("uri"), str) or not known["uri"].isprintable() or not known["uri"]:
        raise ValueError("its address")
    engine = Engine(**known)
    for name in ("token_file", "token_env"):
        value = getattr(engine, name)
        if value is not None and not (isinstance(value, str) and value.isprintable()):
            raise ValueError(name)
    for name in ("database", "collection", "stamp", "next_stamp"):
        value = getattr(engine, name)
        if not isinstance(value, str) or (value and not _WORD.fullmatch(value)):
            raise ValueError(name)
    counts = [getattr(engine, name) for name in ("lists", "generation", "rows", "held", "least")]
    if not all(type(count) is int and 0 <= count <= _MOST for count in counts) or not engine.lists:
        raise ValueError("a count")
    if engine.asked not in INDEXES or engine.index_type not in INDEXES[1:]:
        raise ValueError("its index")
    if not isinstance(engine.timeout_s, (int, float)) or not 0 < engine.timeout_s < math.inf:
        raise ValueError("its timeout")
    return engine
