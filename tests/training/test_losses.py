"""Laws of the contrastive loss."""

import jax
import jax.numpy as jnp
import numpy as np

from nafp.training import losses
from tests import shapes

nt_xent = jax.jit(shapes.checked(losses.nt_xent))  # One small program in place of thirty.


def unit(shape, seed=0):
    z = np.random.default_rng(seed).standard_normal(shape).astype(np.float32)
    return z / np.linalg.norm(z, axis=-1, keepdims=True)


def slow_nt_xent(anchors, replicas, temperature, tracks=None, past=(), past_tracks=()):
    """Computes the loss by the textbook's loop: each of the 2B fingerprints against all others."""
    z = np.concatenate([anchors, replicas]).astype(np.float64)
    n = len(anchors)
    total = 0.0
    for i in range(2 * n):
        partner = (i + n) % (2 * n)
        others = [j for j in range(2 * n) if j != i]
        if tracks is not None:
            others = [j for j in others if j == partner or tracks[j % n] != tracks[i % n]]
        logits = z[others] @ z[i] / temperature
        if i >= n:  # A replica: also against what is remembered, but for its own track.
            remembered = [p for p, t in zip(past, past_tracks) if t not in (-1, tracks[i % n])]
            logits = np.append(logits, [p @ z[i] / temperature for p in remembered])
        total += np.log(np.exp(logits).sum()) - z[partner] @ z[i] / temperature
    return total / (2 * n)


def test_equals_the_textbook_loop():
    z = unit((2, 7, 16))
    fast = nt_xent(jnp.array(z), jnp.array(z), first_pair=0, temperature=0.1)
    np.testing.assert_allclose(fast, slow_nt_xent(z[0], z[1], 0.1), rtol=1e-5)


def masked_nt_xent(z, tracks, **more):
    """Computes the loss of a whole batch on one device. Windows of one track are no negatives of each other."""
    z, tracks = jnp.array(z), jnp.array(tracks)
    same_track = tracks[:, None] == tracks[None, :]
    return nt_xent(z, z, first_pair=0, temperature=0.1, same_track=same_track, **more)


def test_windows_of_one_track_are_no_negatives_when_masked():
    z, tracks = unit((2, 6, 16)), np.array([0, 0, 1, 2, 2, 2])
    fast = masked_nt_xent(z, tracks)
    np.testing.assert_allclose(fast, slow_nt_xent(z[0], z[1], 0.1, tracks), rtol=1e-5)


def test_replicas_are_pushed_away_from_remembered_anchors_of_other_tracks():
    z, tracks = unit((2, 6, 16)), np.array([0, 0, 1, 2, 2, 2])
    past, past_tracks = unit((5, 16), seed=1), np.array([0, 3, 2, 4, -1])
    never = (past_tracks == tracks[:, None]) | (past_tracks < 0)
    fast = masked_nt_xent(z, tracks, memory=(jnp.array(past), jnp.array(never)))
    slow = slow_nt_xent(z[0], z[1], 0.1, tracks, past, past_tracks)
    np.testing.assert_allclose(fast, slow, rtol=1e-5)
    assert fast > slow_nt_xent(z[0], z[1], 0.1, tracks)


def test_all_alike_costs_the_log_of_the_candidates():
    one = jnp.ones((2, 8, 4)) / 2
    np.testing.assert_allclose(nt_xent(one, one, first_pair=0, temperature=0.05), np.log(15), rtol=1e-5)


def test_shares_of_devices_add_up_to_the_whole():
    z = unit((2, 8, 16))
    whole = nt_xent(jnp.array(z), jnp.array(z), first_pair=0, temperature=0.05)
    shares = [nt_xent(jnp.array(z[:, i : i + 2]), jnp.array(z), first_pair=i, temperature=0.05) for i in range(0, 8, 2)]
    np.testing.assert_allclose(sum(shares), whole, rtol=1e-5)


def test_order_of_the_pairs_does_not_matter():
    z, order = unit((2, 8, 16)), np.random.default_rng(1).permutation(8)
    first = nt_xent(jnp.array(z), jnp.array(z), first_pair=0, temperature=0.05)
    again = nt_xent(jnp.array(z[:, order]), jnp.array(z[:, order]), first_pair=0, temperature=0.05)
    np.testing.assert_allclose(first, again, rtol=1e-5)


def test_identical_pairs_far_from_all_others_cost_nothing():
    z = jnp.stack([jnp.eye(8)] * 2)
    assert nt_xent(z, z, first_pair=0, temperature=0.05) < 1e-6
    assert jnp.isfinite(jax.grad(lambda x: nt_xent(x, x, first_pair=0, temperature=0.05))(z)).all()
