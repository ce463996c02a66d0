"""Laws of the training step: devices, parts and mappings change nothing but the speed."""

import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from nafp import config as config_lib
from nafp.models import network
from nafp.training import augment, step
from tests import networks


class Projection(nn.Module):
    """A network that compiles in a moment: the laws of the step hold for any."""

    @nn.compact
    def __call__(self, mel, *, train=False):
        z = nn.Dense(16)(jnp.tanh(nn.Dense(24)(mel.reshape(mel.shape[0], -1))))
        return z / jnp.linalg.norm(z, axis=-1, keepdims=True)


def tiny(**changes):
    """The default configuration with a network small enough for a test."""
    c = config_lib.default()
    with c.unlocked():
        c.update_from_flattened_dict(networks.FEW_BLOCKS)
        c.spectrogram.n_mels, c.spectrogram.n_fft, c.spectrogram.stft_hop = 16, 512, 1000
        c.augment.context_s, c.augment.offset_s = 0.1, 0.05
        c.augment.room.seconds = 0.1
        c.augment.enabled = False
        c.optimizer.learning_rate = 1e-2
        c.update_from_flattened_dict(changes)
    return c


def once(function):
    """Lets a function of a configuration do its work once for all tests that ask the same of it."""
    results = {}

    @functools.wraps(function)
    def call(c, *arguments, **settings):
        key = (config_lib.to_json(c), arguments, *sorted(settings.items()))
        if key not in results:
            results[key] = function(c, *arguments, **settings)
        return results[key]

    return call


@once
def recipe_and_state(c, *, real_network=False):
    recipe = step.recipe_of(c, augment.settings(audio=c.audio, augment=c.augment), total_steps=10)
    if not real_network:
        recipe = recipe._replace(model=Projection())
    n_mels, n_frames = network.mel_shape(c)
    return recipe, step.initial(recipe, n_mels=n_mels, n_frames=n_frames)


def batch(recipe, n_pairs, seed=0):
    """Returns a batch in which each replica has noise of its own."""
    rng, s = np.random.default_rng(seed), recipe.augment
    copies = () if s.replicas == 1 else (s.replicas,)
    clip = s.context + s.segment + 2 * s.margin
    return {
        "clip": rng.integers(-9000, 9000, (n_pairs, clip)).astype(np.int16),
        "noise": rng.integers(-9000, 9000, (n_pairs, *copies, s.context + s.segment)).astype(np.int16),
        "track": (np.arange(n_pairs, dtype=np.int32) // 2),
        "position": np.arange(n_pairs, dtype=np.uint32) + 1000 * seed,
    }


def given(c, recipe, n_pairs, seed=0):
    """Returns a batch of sounds, or of ready spectrograms if nothing degrades sounds. These compile faster."""
    made = batch(recipe, n_pairs, seed)
    if recipe.augment.chain.enabled:
        return made
    # Replicas have nothing of their anchors, so that no loss is so small that rounding shows.
    mels = np.random.default_rng(seed).standard_normal((n_pairs, 2, *network.mel_shape(c))).astype(np.float32)
    return {"mels": mels, "track": made["track"], "position": made["position"]}


def banks(recipe):
    s, rng = recipe.augment, np.random.default_rng(9)
    sizes = dict(clip_samples=s.context + s.segment, kept_samples=s.segment)
    return step.Banks(
        augment.bank(rng.standard_normal((3, 800)).astype(np.float32) * 0.03, **sizes),
        augment.bank(rng.standard_normal((3, 200)).astype(np.float32) * 0.06, **sizes),
    )


@once
def run_pmap(c, devices, n_steps=4, n_pairs=8, **network):
    recipe, state = recipe_and_state(c, **network)

    state, bank, losses = on_devices(state, devices), on_devices(banks(recipe), devices), []
    for i in range(n_steps):
        shared = {k: v.reshape(devices, -1, *v.shape[1:]) for k, v in given(c, recipe, n_pairs, seed=i).items()}
        state, scores = mapped(c, devices, **network)(state, shared, bank)
        losses.append(float(jax.block_until_ready(scores["loss"])[0]))
    return losses, jax.tree.map(lambda x: np.asarray(x[0]), state.params)


@once
def mapped(c, devices, **network):
    recipe, _ = recipe_and_state(c, **network)
    step_of_one = functools.partial(step.train_step, recipe)
    return jax.pmap(step_of_one, axis_name=step.AXIS, devices=jax.devices()[:devices])


def on_devices(tree, devices):
    """Copies a tree onto some devices as a step leaves its state there, so that all steps are one program."""
    place = NamedSharding(Mesh(np.array(jax.devices()[:devices]), (step.AXIS,)), PartitionSpec(step.AXIS))
    return jax.device_put(jax.tree.map(lambda x: np.stack([np.asarray(x)] * devices), tree), place)


def plain_losses(c, n_steps=4, n_pairs=8):
    """The slow, obvious step: no mapping, no gathering, the loss of the whole batch differentiated at once."""
    recipe, state = recipe_and_state(c)
    made = banks(recipe)
    past, past_tracks = np.zeros((recipe.memory, 16), np.float32), np.full(recipe.memory, -1, np.int32)

    def loss_of(params, b, past, past_tracks):
        z = recipe.model.apply({"params": params}, step.spectrograms(recipe, b, made))
        n, logits = z.shape[0] // 2, z @ z.T / c.loss.temperature
        tracks = jnp.concatenate([b["track"]] * 2)
        partner = (jnp.arange(2 * n) + n) % (2 * n)
        unrelated = (tracks[:, None] != tracks[None, :]) if recipe.mask_same_track else ~jnp.eye(2 * n, dtype=bool)
        allowed = unrelated | (jnp.arange(2 * n)[None, :] == partner[:, None])
        logits = jnp.where(allowed, logits, -1e9)
        never = (tracks[:, None] == past_tracks[None, :]) | (past_tracks[None, :] < 0)
        before = jnp.where(never, -1e9, z @ past.T / c.loss.temperature)
        before = before.at[:n].set(-1e9)  # Replicas only.
        logits = jnp.concatenate([logits, before], axis=1)
        return optax.softmax_cross_entropy_with_integer_labels(logits, partner).mean(), z[:n]

    @jax.jit
    def stepped(params, opt, b, past, past_tracks):
        (loss, anchors), grads = jax.value_and_grad(loss_of, has_aux=True)(params, b, past, past_tracks)
        updates, opt = recipe.optimizer.update(grads, opt, params)
        return loss, anchors, optax.apply_updates(params, updates), opt

    params, opt, losses = state.params, state.optimizer, []
    for i in range(n_steps):
        b = given(c, recipe, n_pairs, seed=i)
        loss, anchors, params, opt = stepped(params, opt, b, past, past_tracks)
        past = np.concatenate([anchors, past])[: recipe.memory]
        past_tracks = np.concatenate([b["track"], past_tracks])[: recipe.memory]
        losses.append(float(loss))
    return losses


@pytest.mark.parametrize(
    "masked, memory", [(True, 12), *(pytest.param(masked, 0, marks=pytest.mark.slow) for masked in (True, False))]
)
def test_one_two_and_four_devices_equal_the_plain_step(masked, memory):
    c = tiny(**{"loss.mask_same_track": masked, "loss.memory": memory})
    expected = plain_losses(c)
    for devices in (1, 2, 4):
        np.testing.assert_allclose(run_pmap(c, devices)[0], expected, rtol=2e-5)


@pytest.mark.slow
def test_degraded_replicas_are_the_same_on_any_number_of_devices():
    """The fast test, of some degradations, is that of replicas, one mask and a front end on two devices."""
    c = tiny(**{"augment.enabled": True})
    one, two = (run_pmap(c, devices, n_steps=2)[0] for devices in (1, 2))
    np.testing.assert_allclose(one, two, rtol=2e-5)
    assert one[0] != run_pmap(tiny(), 1)[0][0]


def test_shard_map_equals_pmap():
    c = tiny()
    recipe, state = recipe_and_state(c)
    mesh = Mesh(np.array(jax.devices()[:2]), (step.AXIS,))
    all_of, part = PartitionSpec(), PartitionSpec(step.AXIS)
    mapped = jax.jit(
        jax.shard_map(
            lambda s, b, k: step.train_step(recipe, s, b, k),
            mesh=mesh,
            in_specs=(all_of, part, all_of),
            out_specs=(all_of, all_of),
            check_vma=False,
        )
    )
    made, losses = banks(recipe), []
    for i in range(4):
        state, scores = mapped(state, given(c, recipe, 8, seed=i), made)
        losses.append(float(jax.block_until_ready(scores["loss"])))
    np.testing.assert_allclose(losses, run_pmap(c, 2)[0], rtol=2e-5)


def test_a_batch_in_parts_gives_the_gradient_of_the_whole():
    whole, params = run_pmap(tiny(), 1)
    parts, params_of_parts = run_pmap(tiny(**{"train.micro_batch": 4}), 1)
    np.testing.assert_allclose(parts, whole, rtol=2e-5)
    for a, b in zip(jax.tree.leaves(params), jax.tree.leaves(params_of_parts)):
        np.testing.assert_allclose(a, b, atol=2e-5)


@pytest.mark.slow
def test_batch_norm_shares_its_statistics_among_devices():
    """The fast test is test_batch_norm_shares_statistics_over_the_named_axis, in tests/models/test_fingerprinter.py."""
    c = tiny(**{"model.norm": "batch_norm"})
    one, two = (run_pmap(c, devices, n_steps=2, real_network=True)[0] for devices in (1, 2))
    np.testing.assert_allclose(one, two, rtol=1e-4)


@pytest.mark.slow
def test_the_network_in_parts_on_two_devices_trains_as_at_once_on_one():
    """The fast test, of another network, is test_a_batch_in_parts_gives_the_gradient_of_the_whole."""
    one = run_pmap(tiny(), 1, n_steps=2, real_network=True)[0]
    parts = run_pmap(tiny(**{"train.micro_batch": 4}), 2, n_steps=2, real_network=True)[0]
    np.testing.assert_allclose(parts, one, rtol=1e-4)


def test_order_within_the_batch_does_not_change_the_loss():
    c = tiny()
    recipe, state = recipe_and_state(c)
    b, order = given(c, recipe, 8), np.random.default_rng(0).permutation(8)
    one = jax.tree.map(lambda x: np.asarray(x)[None], (state, banks(recipe)))
    again = mapped(c, 1)(one[0], {k: v[order][None] for k, v in b.items()}, one[1])[1]["loss"]
    np.testing.assert_allclose(run_pmap(c, 1)[0][0], again[0], rtol=1e-5)


OFF = ("room", "microphone", "low_pass", "high_pass", "gain", "frequency_mask")  # What the laws below do not need.
SEVERAL = {
    "augment.enabled": True,
    "augment.replicas": 2,
    "augment.mask_batch": True,
    "train.batch_size": 24,
    "spectrogram.front_end": "original",
    "loss.name": "triplet",
    **{f"augment.{name}.probability": 0.0 for name in OFF},
}


@pytest.mark.slow
def test_replicas_one_mask_and_a_front_end_that_sees_the_batch_are_the_same_on_two_devices_and_in_parts():
    """The fast tests are those of plain batches, on devices and in parts, and that of one draw of masks."""
    one, params = run_pmap(tiny(**SEVERAL), 1, n_steps=2)
    two, params_of_two = run_pmap(tiny(**SEVERAL, **{"train.micro_batch": 4}), 2, n_steps=2)
    np.testing.assert_allclose(two, one, rtol=2e-5)
    for a, b in zip(jax.tree.leaves(params), jax.tree.leaves(params_of_two)):
        np.testing.assert_allclose(a, b, atol=2e-5)


def test_one_draw_of_masks_holds_for_a_batch_and_both_sides_and_changes_from_batch_to_batch():
    c = tiny(**SEVERAL, **{"spectrogram.n_mels": 64, "augment.fill": "zeros"})
    recipe, _ = recipe_and_state(c)
    sounds = np.random.default_rng(0).standard_normal((24, recipe.augment.segment)).astype(np.float32)
    seen = jax.jit(lambda positions, *sides: step.seen(recipe, step.mask_keys(recipe, positions), *sides))
    masked = []
    for first in (0, 8):
        together = np.concatenate(seen(np.arange(first, first + 8, dtype=np.uint32), sounds[:8], sounds[8:]))
        masked.append((together == 0).all(axis=0))
        assert together.shape[0] == 24
        assert masked[-1].any()
    assert not np.array_equal(*masked)
