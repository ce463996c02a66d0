"""Losses of a batch of fingerprints, by the name that config.loss.name chooses."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

import jax
import jax.numpy as jnp
import optax

if TYPE_CHECKING:
    from jaxtyping import Array, Bool, Float

_NEVER = -1e9  # A logit that takes no part in the softmax.


class Loss(Protocol):
    """A loss over the global batch, computed device by device."""

    def __call__(
        self,
        mine: jax.Array,
        everyone: jax.Array,
        *,
        first_pair: jax.Array | int,
        temperature: float,
        same_track: jax.Array | None = None,
        memory: tuple[jax.Array, jax.Array] | None = None,
    ) -> jax.Array:
        """Returns this device's share of the loss, a scalar. The shares of all devices add up to the loss.

        mine: [2, b, D] unit-norm, anchors then replicas of this device's pairs. everyone: [2, B, D], the pairs of all
        devices; this device has pairs first_pair to first_pair + b - 1. same_track: bool [b, B], True where two pairs
        come from one track and must not be each other's negatives. memory: (anchors of earlier steps [M, D], bool
        [b, M], True where an anchor must not be a negative).
        """
        ...


def nt_xent(
    mine: Float[Array, "2 b D"],
    everyone: Float[Array, "2 B D"],
    *,
    first_pair: jax.Array | int,
    temperature: float,
    same_track: Bool[Array, "b B"] | None = None,
    memory: tuple[Float[Array, "M D"], Bool[Array, "b M"]] | None = None,
) -> Float[Array, ""]:
    """Pulls the two sides of a pair together and pushes all else away. It is a `Loss`, in nats.

    The mean over 2B rows of the cross-entropy against the other 2B - 1 (Chen et al. 2020), which is half of the
    original's sum of two. Replicas alone are pushed away from `memory` (cross-batch memory, Wang et al. 2020), as a
    query is searched in all of a database; its anchors are constants.
    """
    n_pairs, n_mine = everyone.shape[1], mine.shape[1]
    own = first_pair + jnp.arange(n_mine)
    itself = own[:, None] == jnp.arange(n_pairs)[None, :]  # [b, B]
    related = itself if same_track is None else itself | same_track
    total = jnp.zeros(())
    for side in (0, 1):
        same = mine[side] @ everyone[side].T / temperature
        other = mine[side] @ everyone[1 - side].T / temperature
        same = jnp.where(related, _NEVER, same)
        other = jnp.where(related & ~itself, _NEVER, other)
        logits = jnp.concatenate([other, same], axis=1)  # [b, 2B]
        if memory is not None and side == 1:
            past, never = memory
            before = jnp.where(never, _NEVER, mine[side] @ past.T / temperature)
            logits = jnp.concatenate([logits, before], axis=1)  # [b, 2B + M]
        total += optax.softmax_cross_entropy_with_integer_labels(logits, own).sum()
    return total / (2 * n_pairs)


LOSSES: dict[str, Loss] = {"nt_xent": nt_xent}  # A further loss is one function here, and its name in nafp/config.
