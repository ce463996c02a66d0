"""Losses as functions of fingerprints."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import optax

_NEVER = -1e9  # A logit that takes no part in the softmax.


def nt_xent(
    mine: jax.Array,
    everyone: jax.Array,
    *,
    first_pair: jax.Array | int,
    temperature: float = 0.05,
    my_tracks: jax.Array | None = None,
    all_tracks: jax.Array | None = None,
    past: jax.Array | None = None,
    never: jax.Array | None = None,
) -> jax.Array:
    """Pulls anchors and replicas together and away from all else: this device's share of the global mean, in nats.

    mine: [2, b, D] unit-norm, anchors then replicas of this device's pairs; everyone: [2, B, D], those of all
    devices, mine being pairs first_pair .. first_pair + b. Shares of all devices add up to the mean over 2B
    rows of the cross-entropy against the other 2B - 1 (Chen et al. 2020; half of the original's sum of two).
    my_tracks [b] and all_tracks [B]: where given, other windows of a row's own track are no negatives.
    past [M, D]: where given, anchors of steps before, constants, which replicas are pushed away from, too (cross-batch
    memory, Wang et al. 2020), as a query is searched among all of a database; never [b, M]: those that are none.
    """
    n_pairs, n_mine = everyone.shape[1], mine.shape[1]
    own = first_pair + jnp.arange(n_mine)
    itself = own[:, None] == jnp.arange(n_pairs)[None, :]  # [b, B]
    related = itself
    if my_tracks is not None:
        related = related | (my_tracks[:, None] == all_tracks[None, :])
    total = jnp.zeros(())
    for side in (0, 1):
        same = mine[side] @ everyone[side].T / temperature
        other = mine[side] @ everyone[1 - side].T / temperature
        same = jnp.where(related, _NEVER, same)
        other = jnp.where(related & ~itself, _NEVER, other)
        logits = jnp.concatenate([other, same], axis=1)  # [b, 2B]
        if past is not None and side == 1:
            before = jnp.where(never, _NEVER, mine[side] @ past.T / temperature)
            logits = jnp.concatenate([logits, before], axis=1)  # [b, 2B + M]
        total += optax.softmax_cross_entropy_with_integer_labels(logits, own).sum()
    return total / (2 * n_pairs)


LOSSES = {"nt_xent": nt_xent}
