"""A Milvus server, or milvus-lite in this process: the only file that imports pymilvus.

A collection has the field `row`, a number of the log, and `v`, its fingerprint. What it belongs to stands in its
properties, and again in its description, for people. Every failure becomes errors.EngineFailed, one line that names the
address and what was being done.
"""

from __future__ import annotations

import contextlib
import functools
import importlib
import logging.config
import os
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple, TypeVar

import numpy as np

from nafp import errors
from nafp.database.engine_facts import Engine


def _imported() -> Any:
    """Imports pymilvus without its settings for logs, which would close the handlers of all loggers of the process."""
    settings, configure = vars(logging.config), logging.config.dictConfig
    settings["dictConfig"] = lambda _: None
    try:
        return importlib.import_module("pymilvus")
    finally:
        settings["dictConfig"] = configure


pymilvus = _imported()
T = TypeVar("T")

MOST_HITS = 16_384  # Neighbours of a row, and rows of an answer, that a server gives at most.
PREFIX = "nafp."  # Of the names of our properties.
STAMP = "stamp"
# Squared distances, as those of the indexes of faiss here. Inner products would order rows differently that are not
# quite of length 1, such as those kept as float16.
_METRIC = "L2"
_INSERT_BYTES = 4 * 2**20  # In one call. A server takes up to 64 MB.
_DELETE_ROWS = 2048  # In one call.
_QUERY_HITS = 65_536  # Neighbours in one answer, all query rows together: 1 MB.
_POLL_S = 0.2
_PATIENCE_S = 60.0  # For rows that a server cannot take at once.
_BACK_OFF_S = (0.2, 0.5, 1.0, 2.0, 4.0, 8.0)  # Between two tries; the last again and again.
_INDEXING_S = 600.0  # Without progress.
_MISSING = 100  # The code of a collection that is not there.
_PERMANENT = (_MISSING, 6, 101, 700, 1100)  # Codes that another try does not change: names, dimensions, parameters.
_REFUSED = (pymilvus.exceptions.ParamError, pymilvus.exceptions.DataNotMatchException)  # Before a call is made.
_NOT_INSTALLED = "milvus-lite is required"

# Loggers of errors that are raised as well. The last is of the server in this process, of milvus-lite, which pymilvus
# asks for what it does not know.
_REPEATING = ("pymilvus", "milvus_lite", "grpc._server")


class Described(NamedTuple):
    """What a server says of a collection. properties: ours, without the prefix. dim: of `v`, 0 if there is none."""

    properties: dict[str, str]
    dim: int


class Milvus:
    """A connection. Every method raises errors.EngineFailed if the server does not do what it is asked.

    most_hits: neighbours of a row that can be asked for.
    """

    most_hits = MOST_HITS

    def __init__(self, engine: Engine):
        self.uri, self._timeout_s, self.is_embedded = engine.uri, engine.timeout_s, engine.is_embedded
        for name in _REPEATING:
            logging.getLogger(name).setLevel(logging.CRITICAL + 1)
        with self._explained("connecting"):
            self._client = pymilvus.MilvusClient(engine.uri, token=engine.token(), timeout=engine.timeout_s)

    def described(self, name: str) -> Described | None:
        """Returns what a collection says of itself, None if there is none of this name."""
        with self._explained(f"describing {name}"):
            try:
                found = self._client.describe_collection(name, timeout=self._timeout_s)
            except pymilvus.MilvusException as error:
                if error.code == _MISSING:
                    return None
                raise
        properties = {str(key): str(value) for key, value in (found.get("properties") or {}).items()}
        dims = [field["params"].get("dim", 0) for field in found["fields"] if field["name"] == "v"]
        ours = {key.removeprefix(PREFIX): value for key, value in properties.items() if key.startswith(PREFIX)}
        return Described(ours, int(dims[0]) if dims else 0)

    def create(self, name: str, *, dim: int, index_type: str, lists: int, properties: Mapping[str, Any]) -> None:
        """Makes an empty collection with its index."""
        text = "fingerprints of nafp: " + ", ".join(f"{key} {value}" for key, value in properties.items())
        with self._explained(f"creating {name}"):
            schema = self._client.create_schema(auto_id=False, enable_dynamic_field=False, description=text)
            schema.add_field("row", pymilvus.DataType.INT64, is_primary=True)
            schema.add_field("v", pymilvus.DataType.FLOAT_VECTOR, dim=dim)
            indexed = self._client.prepare_index_params()
            params = {} if index_type == "FLAT" else {"nlist": lists}
            indexed.add_index("v", index_type=index_type, metric_type=_METRIC, params=params)
            self._client.create_collection(
                name,
                schema=schema,
                index_params=indexed,
                properties={f"{PREFIX}{key}": str(value) for key, value in properties.items()},
                timeout=self._timeout_s,
            )

    def stamp(self, name: str, stamp: str) -> None:
        """Changes the stamp of a collection.

        Twice, because Milvus 2.3 writes to its disk what the properties were before the last change, seen in 2.3.5.
        """
        with self._explained(f"stamping {name}"):
            for _ in range(2):
                self._client.alter_collection_properties(
                    name, properties={f"{PREFIX}{STAMP}": stamp}, timeout=self._timeout_s
                )

    def drop(self, name: str) -> None:
        """Removes a collection. There need be none."""
        with self._explained(f"dropping {name}"):
            self._client.drop_collection(name, timeout=self._timeout_s)

    def insert(self, name: str, rows: np.ndarray, vectors: np.ndarray) -> None:
        """Adds rows int64 [n] with their vectors float32 [n, D], in batches. `flush` makes them durable.

        A batch that fails is sent again for a minute, with growing pauses, so as to replace what came through.
        """
        at_once = max(1, _INSERT_BYTES // (4 * vectors.shape[1]))
        for start in range(0, len(rows), at_once):
            block = zip(rows[start : start + at_once].tolist(), vectors[start : start + at_once])
            data = [{"row": row, "v": vector} for row, vector in block]
            insert = functools.partial(self._client.insert, name, data, timeout=self._timeout_s)
            replace = functools.partial(self._client.upsert, name, data, timeout=self._timeout_s)
            self._patiently(insert, replace, f"inserting into {name}")

    def delete(self, name: str, rows: np.ndarray) -> None:
        """Removes rows by number, int64 [n], in batches. They need not be there."""
        for start in range(0, len(rows), _DELETE_ROWS):
            ids = rows[start : start + _DELETE_ROWS].tolist()
            delete = functools.partial(self._client.delete, name, ids=ids, timeout=self._timeout_s)
            self._patiently(delete, delete, f"deleting from {name}")

    def count(self, name: str, first: int | None = None, end: int | None = None) -> int:
        """Counts the rows of a collection, or those from `first` up to `end`. What was acknowledged counts."""
        with self._explained(f"counting {name}"):
            found = self._client.query(
                name,
                filter=_between(first, end),
                output_fields=["count(*)"],
                consistency_level="Strong",
                timeout=self._timeout_s,
            )
        return int(found[0]["count(*)"])

    def rows(self, name: str, first: int, end: int | None) -> np.ndarray:
        """Returns the numbers of rows from `first` up to `end`, int64 [n], ascending. At most MOST_HITS of them."""
        with self._explained(f"reading {name}"):
            found = self._client.query(
                name,
                filter=_between(first, end),
                output_fields=["row"],
                limit=MOST_HITS,
                consistency_level="Strong",
                timeout=self._timeout_s,
            )
        return np.sort(np.array([record["row"] for record in found], np.int64))

    def vectors(self, name: str, rows: np.ndarray) -> dict[int, np.ndarray]:
        """Returns vectors float32 [D] by number of row. Rows that are not there are left out."""
        with self._explained(f"reading {name}"):
            found = self._client.query(
                name,
                filter=f"row in {rows.tolist()}",
                output_fields=["row", "v"],
                consistency_level="Strong",
                timeout=self._timeout_s,
            )
        return {int(record["row"]): np.array(record["v"], np.float32) for record in found}

    def flush(self, name: str) -> None:
        """Makes what was inserted and deleted durable."""
        flush = functools.partial(self._client.flush, name, timeout=max(_PATIENCE_S, self._timeout_s))
        self._patiently(flush, flush, f"flushing {name}")

    def wait_indexed(self, name: str, *, show: Callable[[str], None] = lambda line: None) -> None:
        """Waits until no row waits for its index. Until then a server ignores how many lists are to be searched.

        Raises errors.EngineFailed if nothing happens for ten minutes.
        """
        before, since_s = -1, time.monotonic()
        while not self.is_embedded:
            with self._explained(f"indexing {name}"):
                state = self._client.describe_index(name, "v", timeout=self._timeout_s) or {}
            pending = int(state.get("pending_index_rows") or 0)
            if not pending:
                return
            if pending != before:
                before, since_s = pending, time.monotonic()
                show(f"{pending} rows wait for their index")
            if time.monotonic() - since_s > _INDEXING_S:
                raise errors.EngineFailed(f"{self.uri}: {pending} rows of {name} have waited {_INDEXING_S:g} s in vain")
            time.sleep(_POLL_S)

    def reload(self, name: str) -> None:
        """Takes a collection out of memory and into it again. Then a server searches fresh rows by their index."""
        if not self.is_embedded:
            with self._explained(f"releasing {name}"):
                self._client.release_collection(name, timeout=self._timeout_s)
        self.load(name)

    def load(self, name: str) -> None:
        """Waits until a collection is in memory as a whole, so that it can be searched.

        Raises errors.EngineFailed if that takes longer than the timeout and a minute.
        """
        end_s = time.monotonic() + self._timeout_s + _PATIENCE_S
        state = self._load_state(name)
        if "NotLoad" in state:
            # milvus-lite fails while a file of the index is being written: "No data left in file".
            load = functools.partial(self._client.load_collection, name, timeout=self._timeout_s + _PATIENCE_S)
            self._patiently(load, load, f"loading {name}")
            state = self._load_state(name)
        while "Loaded" not in state:
            if time.monotonic() > end_s:
                raise errors.EngineFailed(
                    f"{self.uri}: {name} is not yet in memory as a whole ({state}); ask again when it is"
                )
            time.sleep(_POLL_S)
            state = self._load_state(name)

    def search(self, name: str, queries: np.ndarray, k: int, *, n_probe: int) -> tuple[np.ndarray, np.ndarray]:
        """Finds the k nearest rows, MOST_HITS at most, of queries [n, D].

        Returns cosines float32 [n, k], descending, and rows int64 [n, k]. Where fewer are found, the rest is -inf and
        -1.
        """
        cosines = np.full((len(queries), k), -np.inf, np.float32)
        near = np.full((len(queries), k), -1, np.int64)
        at_once = max(1, _QUERY_HITS // k)
        for start in range(0, len(queries), at_once):
            with self._explained(f"searching {name}"):
                found = self._client.search(
                    name,
                    data=list(queries[start : start + at_once]),
                    limit=k,
                    search_params={"metric_type": _METRIC, "params": {"nprobe": n_probe} if n_probe else {}},
                    output_fields=["row"],  # Without it milvus-lite returns the vectors.
                    timeout=self._timeout_s,
                )
            for number, hits in enumerate(found, start):
                cosines[number, : len(hits)] = 1 - np.array(hits.distances, np.float32) / 2
                near[number, : len(hits)] = hits.ids
        return cosines, near

    def _load_state(self, name: str) -> str:
        with self._explained(f"asking for {name}"):
            state = self._client.get_load_state(name, timeout=self._timeout_s)
        progress = f", {state['progress']} %" if state.get("progress") not in (None, 100) else ""
        return f"{getattr(state.get('state'), 'name', state.get('state'))}{progress}"

    def _patiently(self, first: Callable[[], T], again: Callable[[], T], doing: str) -> T:
        """Calls `first`, and after a failure `again`, with growing pauses. Raises what the last try raised."""
        end_s, n_failed = time.monotonic() + _PATIENCE_S, 0
        with self._explained(doing):
            while True:
                try:
                    return again() if n_failed else first()
                except pymilvus.MilvusException as error:
                    pause_s = _BACK_OFF_S[min(n_failed, len(_BACK_OFF_S) - 1)]
                    is_permanent = error.code in _PERMANENT or isinstance(error, _REFUSED)
                    if is_permanent or time.monotonic() + pause_s > end_s:
                        raise
                time.sleep(pause_s)
                n_failed += 1

    @contextlib.contextmanager
    def _explained(self, doing: str) -> Iterator[None]:
        """Turns what pymilvus raises within the block into errors.EngineFailed."""
        try:
            yield
        except errors.Error:
            raise
        except Exception as error:  # gRPC, and milvus-lite, raise others than pymilvus promises.
            reason = " ".join(str(getattr(error, "message", "") or error or type(error).__name__).split())
            if _NOT_INSTALLED in reason:
                reason = "milvus-lite is not installed: pip install milvus-lite"
            elif "Open local milvus failed" in reason:
                reason = "it cannot be opened; only one process at a time can use milvus-lite, and another may have it"
            raise errors.EngineFailed(f"Milvus at {self.uri}: {doing}: {reason[:300]}") from error


_opened: dict[tuple[Any, ...], Milvus] = {}
_opening = threading.Lock()


def opened(engine: Engine) -> Milvus:
    """Returns the connection of this process to an engine, which all its databases share.

    Raises errors.EngineFailed if the server cannot be reached, or its token cannot be read.
    """
    key = (os.getpid(), engine.uri, engine.token(), engine.timeout_s)  # A forked process needs one of its own.
    with _opening:
        if key not in _opened:
            _opened[key] = Milvus(engine)
        return _opened[key]


def _between(first: int | None, end: int | None) -> str:
    """Writes the filter for rows first .. end."""
    bounds = [f"row >= {first}"] if first is not None else []
    return " and ".join(bounds + ([f"row < {end}"] if end is not None else []))
