"""The search after some epochs: how often degraded chunks of the clips kept back are found among their clean chunks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from nafp.sequences import chunks, clips, embedder, search

_STREAM = 1  # Of the random numbers, beside that of the batches.


class Validation:
    """Chunks of clean clips to search in, and one drawn stretch as long of each degraded version to search for."""

    def __init__(self, source: Sequence[clips.Clip], network: embedder.Embedder, *, seed: int):
        rng = np.random.default_rng([seed, _STREAM, len(source)])
        size = network.chunk_rows
        self._network = network
        self._chunks: list[np.ndarray] = []
        self._queries: list[np.ndarray] = []
        right: list[int] = []
        for clip in source:
            rows, first_chunk = clips.read(clip.clean, dim=network.dim), len(self._chunks)
            self._chunks += [rows[first : first + size] for first in chunks.cut(len(rows), size)]
            for path in clip.degraded:
                degraded = clips.read(path, dim=network.dim)
                start = int(rng.integers(max(len(degraded) - size, 0) + 1))
                self._queries.append(degraded[start : start + size])
                right.append(first_chunk + start // size)
        self._right = np.array(right)

    def __call__(self, variables: dict[str, Any]) -> dict[str, float]:
        """Returns the share of queries whose first answer, and one of whose ten, is their chunk or the next."""
        network = self._network.with_variables(variables)
        numbers = search.nearest(network(self._chunks), network(self._queries))[1]
        is_right = (numbers == self._right[:, None]) | (numbers == self._right[:, None] + 1)
        return {"top1": float(is_right[:, 0].mean()), "top10": float(is_right.any(axis=1).mean())}
