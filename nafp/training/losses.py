"""Losses of a batch of fingerprints, by the name that config.loss.name chooses."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import jax
import jax.numpy as jnp
import optax

from nafp.training import triplets

if TYPE_CHECKING:
    from jaxtyping import Array, Bool, Float

Memory = tuple[jax.Array, jax.Array]


class Loss(Protocol):
    """A loss over the global batch, computed device by device."""

    def __call__(
        self,
        mine: jax.Array,
        everyone: jax.Array,
        *,
        first_pair: jax.Array | int,
        same_track: jax.Array | None = None,
        memory: Memory | None = None,
        over_devices: Callable[[jax.Array], jax.Array] = ...,
    ) -> jax.Array:
        """Returns this device's share of the loss, a scalar. The shares of all devices add up to the loss.

        mine: [1 + R, b, D] unit-norm, the anchors and then each of the R replicas of this device's windows. everyone:
        [1 + R, B, D], the windows of all devices; this device has windows first_pair to first_pair + b - 1.
        same_track: bool [b, B], True where two windows come from one track and must not be each other's negatives.
        memory: (anchors of earlier steps [M, D], bool [b, M], True where an anchor must not be a negative).
        over_devices: sums a number over all devices.
        """
        ...


def nt_xent(
    mine: Float[Array, "sides b D"],
    everyone: Float[Array, "sides B D"],
    *,
    first_pair: jax.Array | int,
    temperature: float,
    same_track: Bool[Array, "b B"] | None = None,
    memory: tuple[Float[Array, "M D"], Bool[Array, "b M"]] | None = None,
    over_devices: Callable[[jax.Array], jax.Array] | None = None,
) -> Float[Array, ""]:
    """Pulls the sides of a window together and pushes all else away. It is a `Loss`, in nats.

    With one replica it is the mean over 2B rows of the cross-entropy against the other 2B - 1 (Chen et al. 2020), which
    is half of the original's sum of two. With more, every row has R partners, each in a cross-entropy of its own, in
    which the other sides of its window take no part. Replicas alone are pushed away from `memory` (cross-batch memory,
    Wang et al. 2020), as a query is searched in all of a database; its anchors are constants. over_devices: not needed.
    """
    costs = _cross_entropies(mine, everyone, first_pair, temperature, same_track, memory)
    return _mean(everyone, (cost.sum() for cost in costs))


def focal_nt_xent(
    mine: Float[Array, "sides b D"],
    everyone: Float[Array, "sides B D"],
    *,
    first_pair: jax.Array | int,
    temperature: float,
    focal_gamma: float,
    same_track: Bool[Array, "b B"] | None = None,
    memory: tuple[Float[Array, "M D"], Bool[Array, "b M"]] | None = None,
    over_devices: Callable[[jax.Array], jax.Array] | None = None,
) -> Float[Array, ""]:
    """Computes `nt_xent` with each cross-entropy -log p weighted by (1 - p)^focal_gamma (Lin et al. 2017).

    It is the focal loss of the benchmark system and of song_mine, which neither uses.
    """
    costs = _cross_entropies(mine, everyone, first_pair, temperature, same_track, memory)
    return _mean(everyone, ((-jnp.expm1(-cost)) ** focal_gamma @ cost for cost in costs))


def _mean(everyone: jax.Array, sums: Iterator[jax.Array]) -> jax.Array:
    n_sides, n_windows, _ = everyone.shape
    return sum(sums, jnp.zeros(())) / (n_sides * (n_sides - 1) * n_windows)


def _cross_entropies(
    mine: jax.Array,
    everyone: jax.Array,
    first_pair: jax.Array | int,
    temperature: float,
    same_track: jax.Array | None,
    memory: Memory | None,
) -> Iterator[jax.Array]:
    """Yields the cross-entropies [b] of each side's rows with each of their partners."""
    own = first_pair + jnp.arange(mine.shape[1])
    itself, related = triplets.windows_of(mine, everyone, first_pair, same_track)
    sides = range(len(mine))
    for side in sides:
        logits = [mine[side] @ others.T / temperature for others in everyone]
        away = [jnp.where(related, triplets.NEVER, x) for x in logits]
        for partner in sides:
            if partner == side:
                continue
            towards = jnp.where(related & ~itself, triplets.NEVER, logits[partner])
            parts = [towards, *(away[other] for other in sides if other != partner)]
            if memory is not None and side > 0:
                past, never = memory
                parts.append(jnp.where(never, triplets.NEVER, mine[side] @ past.T / temperature))
            yield optax.softmax_cross_entropy_with_integer_labels(jnp.concatenate(parts, axis=1), own)


class _Entry(NamedTuple):
    """A loss, and the keys of config.loss that it takes as keywords."""

    function: Callable[..., jax.Array]
    settings: tuple[str, ...]


# A further loss is one function, one line here, and its name in nafp/config/learning.py.
LOSSES: dict[str, _Entry] = {
    "nt_xent": _Entry(nt_xent, ("temperature",)),
    "focal_nt_xent": _Entry(focal_nt_xent, ("temperature", "focal_gamma")),
    "triplet": _Entry(triplets.triplet, ("margin", "mining", "anchors_too")),
    "original_triplet": _Entry(triplets.original_triplet, ("margin", "mining", "anchors_too")),
    "angular": _Entry(triplets.angular, ("alpha_deg", "miner_deg")),
}


def create(name: str, section: Mapping[str, Any]) -> Loss:
    """Returns the loss of this name with its settings out of config.loss."""
    entry = LOSSES[name]
    return functools.partial(entry.function, **{key: section[key] for key in entry.settings})
