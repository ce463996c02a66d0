"""A trained second stage: opened from a run, it embeds sequences of fingerprints."""

from __future__ import annotations

import copy
import pathlib
from collections.abc import Sequence
from typing import Any

import jax
import ml_collections
import numpy as np

from nafp.sequences import batches, chunks, foreign, networks, settings
from nafp.weights import checkpoints

BATCH = 256  # Sequences that are embedded together. One shape is compiled, and smaller batches are padded.


class Embedder:
    """A network of the second stage with its parameters.

    seconds: the longest sequence. chunk_rows: its rows. most: rows that sequences are padded to. dim: numbers in a
    fingerprint. size: numbers in a vector.
    """

    def __init__(self, variables: dict[str, Any], config: ml_collections.ConfigDict, *, name: str = ""):
        self.config, self.name = config, name
        self.dim: int = config.model.fingerprint_dim
        self.seconds: int = config.chunk.seconds
        self.chunk_rows, self.most = chunks.rows_of(self.seconds), chunks.padded_rows(self.seconds)
        self.size: int = config.model.dim
        self._network = networks.create(**config.model)
        self._variables = variables
        self._run = jax.jit(self._network.apply)

    def __call__(self, sequences: Sequence[np.ndarray]) -> np.ndarray:
        """Embeds sequences [n, D] of at most `most` rows each: float32 [N, E], of unit length."""
        vectors = np.zeros((len(sequences), self.size), np.float32)
        for first in range(0, len(sequences), BATCH):
            part = list(sequences[first : first + BATCH])
            batch = batches.padded(part, most=self.most, dim=self.dim)
            if len(part) < BATCH:
                batch = {name: np.concatenate([x, np.repeat(x[:1], BATCH - len(part), 0)]) for name, x in batch.items()}
            vectors[first : first + len(part)] = self._run(self._variables, batch["rows"], batch["mask"])[: len(part)]
        return vectors

    def with_variables(self, variables: dict[str, Any]) -> Embedder:
        """Returns the same network with other parameters, without compiling it anew."""
        network = copy.copy(self)
        network._variables = variables
        return network

    @property
    def n_parameters(self) -> int:
        """The number of parameters."""
        return networks.n_parameters(self._variables)

    def n_operations(self) -> float:
        """Returns the floating-point operations of embedding one sequence, as the compiler counts them."""
        rows = jax.ShapeDtypeStruct((1, self.most, self.dim), np.float32)
        mask = jax.ShapeDtypeStruct((1, self.most), bool)
        analysis = jax.jit(self._network.apply).lower(self._variables, rows, mask).cost_analysis()
        return float((analysis or {}).get("flops", float("nan")))


def load(source: str, *, seconds: int = 0) -> Embedder:
    """Opens RUN, RUN@STEP or RUN@best of `nafp amg train`, or a checkpoint of AMG-Embedding (.pth).

    seconds: the longest sequence of a .pth, which does not say it; 0 for 10. Raises nafp.errors.NotFound or
    nafp.errors.Invalid with the steps there are, and for a network of the first stage.
    """
    if source.endswith(foreign.ENDINGS):
        variables, config = foreign.read(source, seconds=seconds)
        return Embedder(variables, config, name=pathlib.Path(source).name)
    trained = checkpoints.load(source, abstract_variables=_abstract_variables, read_config=settings.from_dict)
    return Embedder(trained.variables, trained.config, name=trained.source)


def _abstract_variables(config: ml_collections.ConfigDict) -> dict[str, Any]:
    network = networks.create(**config.model)
    n_rows = chunks.padded_rows(config.chunk.seconds)
    return networks.abstract_variables(network, n_rows=n_rows, dim=config.model.fingerprint_dim)
