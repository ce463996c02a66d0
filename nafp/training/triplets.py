"""Losses over triplets of an anchor, one of its own replicas, and a negative. Each is a `losses.Loss`."""

from __future__ import annotations

from collections.abc import Callable
from itertools import combinations
from typing import TYPE_CHECKING, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

if TYPE_CHECKING:
    from jaxtyping import Array, Bool, Float

_NEAR_ZERO = 1e-9  # Under the root of a distance, so that its slope stays finite. The original's.
NEVER = -1e9  # A logit that takes no part in a softmax.
Sum = Callable[[jax.Array], jax.Array]


def _alone(number: jax.Array) -> jax.Array:
    """Sums a number over the devices of a process that has one."""
    return number


def windows_of(
    mine: jax.Array, everyone: jax.Array, first_pair: jax.Array | int, same_track: jax.Array | None
) -> tuple[jax.Array, jax.Array]:
    """Marks the windows of all devices for each of this device's: those that it is, and those that are no negatives.

    Both are bool [b, B]. The arguments are those of `losses.Loss`.
    """
    itself = (first_pair + jnp.arange(mine.shape[1]))[:, None] == jnp.arange(everyone.shape[1])[None, :]
    return itself, itself if same_track is None else itself | same_track


class _Distances(NamedTuple):
    """What this device's anchors [b] are compared with: S sides of B windows, all replicas and perhaps all anchors.

    far: float [b, S, B], distances. own: bool [b, S, B], the replicas of the anchor. other: bool [b, S, B], negatives.
    """

    far: jax.Array
    own: jax.Array
    other: jax.Array


def _distances(
    mine: jax.Array,
    everyone: jax.Array,
    first_pair: jax.Array | int,
    same_track: jax.Array | None,
    anchors_too: bool,
) -> _Distances:
    candidates = jnp.concatenate([everyone[1:], everyone[:1]]) if anchors_too else everyone[1:]
    dots = jnp.einsum("bd,scd->bsc", mine[0], candidates)
    far = jnp.sqrt(jnp.maximum(2 - 2 * dots, 0) + _NEAR_ZERO)
    itself, related = windows_of(mine, everyone, first_pair, same_track)
    is_replica = jnp.arange(len(candidates)) < len(everyone) - 1
    own = itself[:, None, :] & is_replica[None, :, None]
    return _Distances(far, own, jnp.broadcast_to(~related[:, None, :], own.shape))


def triplet(
    mine: Float[Array, "sides b D"],
    everyone: Float[Array, "sides B D"],
    *,
    first_pair: jax.Array | int,
    margin: float,
    mining: str,
    anchors_too: bool,
    same_track: Bool[Array, "b B"] | None = None,
    memory: None = None,
    over_devices: Sum = _alone,
) -> Float[Array, ""]:
    """Wants every replica nearer to its anchor than any negative, by `margin` of Euclidean distance.

    mining: `all` is the mean over all triplets, `semi-hard` that over triplets whose negative is further than the
    replica by less than the margin (Schroff et al. 2015), `hardest` that over anchors, with the furthest replica and
    the nearest negative, and `all-balanced` that over anchors, with the means of both. anchors_too: anchors of other
    windows are negatives as well. memory: must be None.
    """
    d = _distances(mine, everyone, first_pair, same_track, anchors_too)
    b, n_windows = len(d.far), everyone.shape[1]
    n_replicas = len(mine) - 1
    own = jnp.sum(jnp.where(d.own, d.far, 0), axis=2)[:, :n_replicas]  # [b, R]
    if mining in ("all", "semi-hard"):
        far, other = d.far.reshape(b, 1, -1), d.other.reshape(b, 1, -1)
        excess = own[:, :, None] - far + margin  # [b, R, S x B]
        taken = jnp.broadcast_to(other, excess.shape)
        if mining == "semi-hard":
            taken &= (far > own[:, :, None]) & (excess > 0)
        count = over_devices(taken.sum().astype(excess.dtype))
        return jnp.sum(jnp.where(taken, jnp.maximum(excess, 0), 0)) / jnp.maximum(count, 1)
    if mining == "hardest":
        nearest = jnp.min(jnp.where(d.other, d.far, jnp.inf), axis=(1, 2))
        cost = jnp.maximum(own.max(axis=1) - nearest + margin, 0)
    else:
        n_other = d.other.sum(axis=(1, 2))
        mean_other = jnp.sum(jnp.where(d.other, d.far, 0), axis=(1, 2)) / jnp.maximum(n_other, 1)
        cost = jnp.where(n_other > 0, jnp.maximum(own.mean(axis=1) - mean_other + margin, 0), 0)
    return jnp.sum(cost) / n_windows


def original_triplet(
    mine: Float[Array, "sides b D"],
    everyone: Float[Array, "sides B D"],
    *,
    first_pair: jax.Array | int,
    margin: float,
    mining: str,
    anchors_too: bool,
    same_track: Bool[Array, "b B"] | None = None,
    memory: None = None,
    over_devices: Sum | None = None,
) -> Float[Array, ""]:
    """Computes the original's triplet losses, whose modes are not what their names say.

    The original sets distances that take no part to 0 and leaves them in. The nearest negative of `hardest` is thus
    always at 0, and `all` and `semi-hard` are means over entries most of which are no triplets. `triplet` has the modes
    as their names say. The original's training uses `semi-hard`. over_devices: not needed.
    """
    d = _distances(mine, everyone, first_pair, same_track, anchors_too)
    own, other = jnp.where(d.own, d.far, 0), jnp.where(d.other, d.far, 0)
    n_entries = everyone.shape[1] * d.far.shape[1] * d.far.shape[2]
    furthest = own.max(axis=(1, 2))
    if mining == "all":
        return jnp.sum(jnp.maximum(own - other + margin, 0)) / n_entries
    if mining == "semi-hard":
        excess = jnp.maximum(furthest[:, None, None] - d.far + margin, 0)
        return jnp.sum(jnp.where(d.other, excess, 0)) / n_entries
    if mining == "hardest":
        return jnp.sum(jnp.maximum(furthest - other.min(axis=(1, 2)) + margin, 0)) / everyone.shape[1]
    means = [jnp.sum(x, axis=(1, 2)) / jnp.maximum(n.sum(axis=(1, 2)), 1) for x, n in ((own, d.own), (other, d.other))]
    return jnp.sum(jnp.maximum(means[0] - means[1] + margin, 0)) / everyone.shape[1]


def angular(
    mine: Float[Array, "sides b D"],
    everyone: Float[Array, "sides B D"],
    *,
    first_pair: jax.Array | int,
    alpha_deg: float,
    miner_deg: float,
    same_track: Bool[Array, "b B"] | None = None,
    memory: None = None,
    over_devices: Sum = _alone,
) -> Float[Array, ""]:
    """Bounds the angle at the negative of a triplet by `alpha_deg` (Wang et al. 2017), as the benchmark system does.

    A triplet is mined if that angle is above `miner_deg`. As there, mined triplets only decide how often a pair of two
    sides counts: the pair's cost is over all rows of other windows. The loss is the mean over mined triplets, and 0
    without any. memory: must be None.
    """
    _, related = windows_of(mine, everyone, first_pair, same_track)
    never = jnp.tile(related, (1, len(everyone)))  # [b, S x B]
    rows = everyone.reshape(-1, everyone.shape[-1])
    k = float(np.tan(np.radians(alpha_deg)) ** 2)
    cost, count = jnp.zeros(()), jnp.zeros(())
    for one, two in combinations(mine, 2):
        product = jnp.sum(one * two, axis=1)
        angles = jnp.where(never, NEVER, 4 * k * (one + two) @ rows.T - 2 * (1 + k) * product[:, None])
        weight = jax.lax.stop_gradient(jnp.sum(_is_wide(one, two, rows, miner_deg) & ~never, axis=1).astype(one.dtype))
        cost += weight @ jnp.logaddexp(0.0, jax.nn.logsumexp(angles, axis=1))
        count += weight.sum()
    return cost / jnp.maximum(over_devices(count), 1)


def _is_wide(one: jax.Array, two: jax.Array, rows: jax.Array, least_deg: float) -> jax.Array:
    """Returns whether the angle that a negative sees the pair under, from the middle of the pair, exceeds `least_deg`.

    one, two: [b, D]. rows: the negatives, [N, D]. Returns bool [b, N].
    """
    apart = jnp.sqrt(jnp.sum((one - two) ** 2, axis=1))
    middle = (one + two) / 2
    squared = jnp.sum(rows**2, axis=1)[None, :] + jnp.sum(middle**2, axis=1)[:, None] - 2 * middle @ rows.T
    distance = jnp.sqrt(jnp.maximum(squared, 0))
    return jnp.arctan2(apart[:, None], 2 * distance) > np.radians(least_deg)
