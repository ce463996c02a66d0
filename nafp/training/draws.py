"""What is drawn at random for one example: numbers, levels, offsets, and a key for each of its replicas."""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

_FIRST_FURTHER = 1000  # Folded into the key of an example for its second replica, third replica, and so on.


def of_replica(key: jax.Array, replica: int) -> jax.Array:
    """Returns the key of a replica, counted from 0. The first has the key of its example."""
    return jax.random.fold_in(key, _FIRST_FURTHER + replica) if replica else key


def of_replicas(keys: jax.Array, replica: int) -> jax.Array:
    """Returns the keys of a replica of several examples: `of_replica` for each of keys [b]."""
    return jax.vmap(lambda key: of_replica(key, replica))(keys)


def uniform(key: jax.Array, low: float, high: float) -> jax.Array:
    """Draws a scalar between `low` and `high`."""
    return jax.random.uniform(key, (), minval=low, maxval=high)


def happens(key: jax.Array, probability: float) -> jax.Array:
    """Draws a scalar bool that is True with this probability."""
    return jax.random.uniform(key, ()) < probability


class Level(NamedTuple):
    """A degradation whose strength in dB lies between two levels.

    weights: of equal parts of the range, from low to high. Within a part the strength is uniform.
    """

    probability: float
    low_db: float
    high_db: float
    weights: tuple[int, ...] = (1,)

    def draw(self, key: jax.Array) -> jax.Array:
        """Draws a strength, in dB."""
        if len(self.weights) == 1:
            return uniform(key, self.low_db, self.high_db)
        below = np.concatenate([[0.0], np.cumsum(self.weights) / np.sum(self.weights)])
        edges = np.linspace(self.low_db, self.high_db, len(self.weights) + 1)
        return jnp.interp(jax.random.uniform(key, ()), jnp.asarray(below), jnp.asarray(edges))


class Offsets(NamedTuple):
    """Where anchors and replicas begin, in samples from the window on the grid.

    most, least: of an offset. probability: that there is one. later: never earlier. from_grid: a replica's is counted
    from the grid and not from its anchor. of_anchors: anchors are moved, too.
    """

    most: int
    least: int = 0
    probability: float = 1.0
    later: bool = False
    from_grid: bool = False
    of_anchors: bool = True

    @property
    def reach(self) -> int:
        """The most samples that anything can be away from the grid."""
        return self.most if self.from_grid or not self.of_anchors else 2 * self.most

    def draw(self, k_anchor: jax.Array, k_replica: jax.Array) -> tuple[jax.Array | int, jax.Array]:
        """Draws where the anchor and where the replica begin."""
        moved = self._one(k_anchor) if self.of_anchors else 0
        further = self._one(k_replica)
        return moved, further if self.from_grid else moved + further

    def _one(self, key: jax.Array) -> jax.Array:
        if not self.least and self.probability == 1:
            return jax.random.randint(key, (), 0 if self.later else -self.most, self.most + 1)
        k_size, k_later, k_happens = jax.random.split(key, 3)
        size = jax.random.randint(k_size, (), self.least, self.most + 1)
        signed = size if self.later else jnp.where(happens(k_later, 0.5), size, -size)
        return jnp.where(happens(k_happens, self.probability), signed, 0)
