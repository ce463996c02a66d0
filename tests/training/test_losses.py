"""Laws of the contrastive loss."""

import functools
import pathlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from nafp import config as config_lib
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
    slope = jax.jit(jax.grad(lambda x: nt_xent(x, x, first_pair=0, temperature=0.05)))(z)
    assert np.isfinite(slope).all()


VECTORS = np.load(pathlib.Path(__file__).parents[1] / "vectors" / "losses.npz")
SIDES = np.stack([VECTORS["org"], VECTORS["rep"]])
# Five anchors with three replicas each: [4, 5, 16].
SEVERAL = np.concatenate([VECTORS["anchor"][None], VECTORS["positive"].reshape(5, 3, 16).transpose(1, 0, 2)])
SETTINGS = config_lib.default().loss.to_dict()


def loss_of(name, **changes):
    """Returns a loss by name, its shapes checked, with the default settings and these changes."""
    made = losses.create(name, SETTINGS | changes)
    return functools.partial(shapes.checked(made.func), **made.keywords)


def value_and_slope(name, z, **changes):
    """Returns the loss of a whole batch on one device, and its gradient by the fingerprints."""
    loss = loss_of(name, **changes)
    return jax.jit(jax.value_and_grad(lambda z: loss(z, z, first_pair=0)))(jnp.array(z))


def test_nt_xent_is_half_of_the_originals_and_equals_pfanns_and_the_benchmarks():
    loss, slope = value_and_slope("nt_xent", SIDES)
    np.testing.assert_allclose(2 * loss, VECTORS["naf_ntxent_tau0.05_loss"], rtol=1e-6)
    np.testing.assert_allclose(loss, VECTORS["bench_ntxent2_tau0.05_loss"], rtol=1e-6)
    np.testing.assert_allclose(loss, VECTORS["pfann_tau0.05_loss"], rtol=1e-6)
    for side, name in enumerate(("org", "rep")):
        np.testing.assert_allclose(2 * slope[side], VECTORS[f"naf_ntxent_tau0.05_grad_{name}"], atol=3e-6)
        np.testing.assert_allclose(slope[side], VECTORS["pfann_tau0.05_grad_interleaved"][side::2], atol=3e-6)


@pytest.mark.parametrize("gamma", [1.0, 2.0])
def test_focal_nt_xent_equals_the_benchmarks(gamma):
    loss, slope = value_and_slope("focal_nt_xent", SIDES, focal_gamma=gamma)
    np.testing.assert_allclose(loss, VECTORS[f"bench_focal_tau0.05_gamma{gamma}_loss"], rtol=1e-6)
    for side, name in enumerate(("org", "rep")):
        np.testing.assert_allclose(slope[side], VECTORS[f"bench_focal_tau0.05_gamma{gamma}_grad_{name}"], atol=3e-6)


@pytest.mark.parametrize("mining, margin", [("all", 0.4), ("all-balanced", 1.0), ("hardest", 0.4), ("semi-hard", 0.4)])
@pytest.mark.parametrize("among", ["anchors_too", pytest.param("positives_only", marks=pytest.mark.slow)])
def test_original_triplet_equals_the_originals_mode_by_mode(mining, margin, among):
    changes = dict(mining=mining, margin=margin, anchors_too=among == "anchors_too")
    loss, slope = value_and_slope("original_triplet", SEVERAL, **changes)
    name = f"triplet_{mining}_{among}_m{margin}"
    np.testing.assert_allclose(loss, VECTORS[f"{name}_loss"], rtol=1e-6)
    np.testing.assert_allclose(slope[0], VECTORS[f"{name}_grad_anchor"], atol=1e-6)
    positives = np.asarray(slope[1:]).transpose(1, 0, 2).reshape(15, 16)
    np.testing.assert_allclose(positives, VECTORS[f"{name}_grad_positive"], atol=1e-6)


@pytest.mark.parametrize("miner", [20, *(pytest.param(angle, marks=pytest.mark.slow) for angle in (0, 30))])
def test_angular_equals_the_benchmarks(miner):
    """The benchmark's slope also has parts along the rows, which the unit length of a fingerprint takes away."""
    loss, slope = value_and_slope("angular", SIDES, alpha_deg=40.0, miner_deg=float(miner))
    np.testing.assert_allclose(loss, VECTORS[f"bench_angular_alpha40_miner{miner}_loss"], rtol=1e-6)
    theirs = VECTORS[f"bench_angular_alpha40_miner{miner}_grad"].reshape(2, 6, 16)
    np.testing.assert_allclose(across(slope), across(theirs), atol=1e-5)


def across(slope):
    """Returns the part of a slope that is at right angles to the fingerprints of SIDES."""
    return slope - np.sum(slope * SIDES, axis=-1, keepdims=True) * SIDES


def slow_triplet(z, mining, margin, tracks=None, anchors_too=True):
    """Computes the mean over triplets by loops, as the names of the modes say."""
    n_sides, n, _ = z.shape
    sides = range(0 if anchors_too else 1, n_sides)
    costs = []
    for i in range(n):
        own = [np.linalg.norm(z[0, i] - z[s, i]) for s in range(1, n_sides)]
        others = [j for j in range(n) if j != i and (tracks is None or tracks[j] != tracks[i])]
        far = [np.linalg.norm(z[0, i] - z[s, j]) for s in sides for j in others]
        if mining == "hardest":
            costs.append(max(max(own) - min(far) + margin, 0))
        elif mining == "all-balanced":
            costs.append(max(np.mean(own) - np.mean(far) + margin, 0))
        else:
            taken = [(p, f) for p in own for f in far if mining == "all" or p < f < p + margin]
            costs += [max(p - f + margin, 0) for p, f in taken]
    return np.mean(costs)


@pytest.mark.parametrize("mining", ["all", "all-balanced", "hardest", "semi-hard"])
def test_triplets_are_mined_as_the_modes_are_called(mining):
    tracks = np.array([0, 0, 1, 2, 3])
    loss = jax.jit(loss_of("triplet", mining=mining, margin=1.0))
    z, same_track = jnp.array(SEVERAL), jnp.array(tracks[:, None] == tracks[None, :])
    expected = slow_triplet(SEVERAL, mining, 1.0, tracks)
    np.testing.assert_allclose(loss(z, z, first_pair=0, same_track=same_track), expected, rtol=1e-4)
    fewer = jax.jit(loss_of("triplet", mining=mining, margin=1.0, anchors_too=False))
    expected = slow_triplet(SEVERAL, mining, 1.0, anchors_too=False)
    np.testing.assert_allclose(fewer(z, z, first_pair=0), expected, rtol=1e-4)


def test_every_replica_is_pulled_to_each_side_of_its_window_and_from_all_others():
    z = SEVERAL.astype(np.float64)
    rows, costs = z.reshape(20, 16), []
    for row in range(20):
        partners = [other for other in range(row % 5, 20, 5) if other != row]
        others = [other for other in range(20) if other % 5 != row % 5]
        for partner in partners:
            logits = rows[[partner, *others]] @ rows[row] / 0.05
            costs.append(np.log(np.exp(logits).sum()) - logits[0])
    loss, _ = value_and_slope("nt_xent", SEVERAL)
    np.testing.assert_allclose(loss, np.mean(costs), rtol=1e-5)


WHOLE = [("nt_xent", {}), ("focal_nt_xent", {}), ("angular", {}), ("triplet", {}), ("original_triplet", {})]
SLOW = [
    pytest.param(name, {"mining": mining}, marks=pytest.mark.slow)
    for name in ("triplet", "original_triplet")
    for mining in config_lib.learning.MININGS
    if mining != SETTINGS["mining"]
]


@pytest.mark.parametrize("name, changes", WHOLE + SLOW)
def test_the_shares_of_devices_add_up_to_any_loss_and_its_slope(name, changes):
    z, tracks = jnp.array(unit((3, 8, 16), seed=4)), jnp.array([0, 0, 1, 2, 2, 3, 4, 5])
    loss, same = loss_of(name, **changes), tracks[:, None] == tracks[None, :]

    def whole(z):
        return loss(z, z, first_pair=0, same_track=same)

    def of_device(z, first):
        mine = jax.lax.dynamic_slice_in_dim(z, first, 2, axis=1)
        rows = jax.lax.dynamic_slice_in_dim(same, first, 2)
        return loss(mine, z, first_pair=first, same_track=rows, over_devices=lambda n: jax.lax.psum(n, "data"))

    def together(z):
        return jax.vmap(of_device, in_axes=(None, 0), axis_name="data")(z, jnp.arange(0, 8, 2)).sum()

    one, several = (jax.jit(jax.value_and_grad(f))(z) for f in (whole, together))
    np.testing.assert_allclose(several[0], one[0], rtol=1e-5)
    np.testing.assert_allclose(several[1], one[1], atol=1e-5)
    assert jnp.isfinite(one[1]).all()


@pytest.mark.parametrize("name, changes", WHOLE + SLOW)
def test_without_a_negative_no_loss_breaks(name, changes):
    z = jnp.array(unit((2, 4, 8)))
    related = jnp.ones((4, 4), bool)
    slope = jax.jit(jax.grad(lambda z: loss_of(name, **changes)(z, z, first_pair=0, same_track=related)))(z)
    assert jnp.isfinite(slope).all()
