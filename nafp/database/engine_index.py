"""The rows of a database that Milvus searches, as one more index: asked for the numbers of rows, and nothing else."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from nafp import errors
from nafp.database import engine_check
from nafp.database.engine_facts import Engine

if TYPE_CHECKING:  # It brings pymilvus, which only a search needs.
    from nafp.database import milvus


class EngineIndex:
    """Rows 0 .. len of a log, in a collection of Milvus. `search` is that of `nafp.search.index.Index`.

    It connects when it is first searched, and looks first at whether the collection is the right one and whole.
    reread: reads the engine and the other facts of the catalogue as they are now.
    """

    def __init__(self, engine: Engine, reread: Callable[[], tuple[Engine | None, Mapping[str, Any]]]):
        self.engine, self._reread = engine, reread
        self._lock = threading.Lock()
        self._checked: Engine | None = None

    def __len__(self) -> int:
        return self.engine.rows

    def search(self, queries: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
        """Finds the k nearest rows of queries [n, D]: cosines, descending, and rows. Pads with -inf and -1.

        Raises errors.EngineFailed if the server is out of reach, or the collection is not what it should be.
        """
        client = engine_check.connected(self.engine)
        if k > client.most_hits:
            raise errors.EngineFailed(
                f"Milvus at {self.engine.uri}: too many rows near this clip are of removed tracks; "
                "nafp compact DB, or nafp engine DB rebuild, leaves them out"
            )
        queries = np.ascontiguousarray(queries, np.float32)
        is_new = self._require(client)
        try:
            cosines, near = self._search(client, queries, k)
        except errors.EngineFailed:
            if is_new:
                raise
            self._require(client, anew=True)  # It was taken out of memory, or is another one now.
            cosines, near = self._search(client, queries, k)
        self._require_enough(client, near)
        return cosines, near

    def _search(self, client: milvus.Milvus, queries: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
        """Asks for more until enough rows are found beside those that were sent and never acknowledged.

        The latter are searched elsewhere, if they belong to a track at all.
        """
        n_asked = k
        while True:
            cosines, near = client.search(self.engine.collection, queries, n_asked, n_probe=self.engine.n_probe)
            is_ours = (near >= 0) & (near < len(self))
            may_find_more = (near >= 0).all(axis=1) & (is_ours.sum(axis=1) < k)
            if not may_find_more.any() or n_asked >= client.most_hits:
                break
            n_asked = min(2 * n_asked, client.most_hits)
        order = np.argsort(~is_ours, axis=1, kind="stable")[:, :k]  # Ours first, in their order.
        cosines, near = (np.take_along_axis(values, order, axis=1) for values in (cosines, near))
        is_ours = np.take_along_axis(is_ours, order, axis=1)
        return np.where(is_ours, cosines, -np.inf).astype(np.float32), np.where(is_ours, near, -1)

    def _require(self, client: milvus.Milvus, *, anew: bool = False) -> bool:
        """Looks at the collection, once. Returns whether it did."""
        with self._lock:
            if self._checked is not None and not anew:
                return False
            self._checked = None
            self._checked = engine_check.require(client, self._reread)
            return True

    def _require_enough(self, client: milvus.Milvus, near: np.ndarray) -> None:
        """Raises errors.EngineFailed if rows went missing since the collection was looked at.

        Lists that are searched in part may hold fewer rows than were asked for, but never none at all.
        """
        checked = self._checked or self.engine
        counts = (near >= 0).sum(axis=1)
        if not len(near) or counts.min() >= min(near.shape[1], checked.least):
            return
        self._require(client, anew=True)
        checked = self._checked or self.engine
        enough = min(near.shape[1], checked.least) if not self.engine.n_probe else min(1, checked.least)
        if counts.min() < enough:
            raise errors.EngineFailed(
                f"Milvus at {self.engine.uri}: gave {counts.min()} of the {enough} rows that it holds; ask again"
            )
