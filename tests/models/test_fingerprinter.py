"""The network has the published size, and its two forms compute the same fingerprints and gradients."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from nafp import config, models

# With two blocks and 16 x 8 spectrograms each kind of layer occurs, and it compiles in seconds.
SMALL = {"dim": 8, "channels": (4, 16), "time_strides": (2, 1), "head_hidden": 4}
VARIANTS = [
    {},
    {"depthwise": True},
    {"activation": "relu", "activation_order": "after_norm"},
    {"norm": "layer_norm1d"},
    {"activation": "relu", "padding": "symmetric", "head_norm": True, "epsilon": 1e-5},
]


def small(**settings):
    return models.create("nafp", **{**SMALL, **settings})


def spectrograms(n, seed=0):
    return jax.random.normal(jax.random.key(seed), (n, 16, 8))


def trained(model, mel=None):
    """Variables as if trained: no parameter at its initial zero or one."""
    shapes = jax.eval_shape(model.init, jax.random.key(0), spectrograms(1) if mel is None else mel)
    rng = np.random.default_rng(1)
    return jax.tree.map_with_path(lambda path, x: _as_if_trained(path[-1].key, x.shape, rng), shapes)


def _as_if_trained(name, shape, rng):
    noise = rng.standard_normal(shape).astype(np.float32)
    if name.endswith(("scale", "variance")):
        return 1 + 0.2 * np.abs(noise)
    return noise * (0.5 if name.endswith("kernel") else 0.1)


def assert_close(gradients, expected, share=1e-4):
    """Asserts equality to a share of the largest entry of each array."""
    for a, b in zip(jax.tree.leaves(gradients), jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(a, b, rtol=0, atol=share * (1e-3 + np.abs(b).max()))


def n_parameters(**settings):
    model = models.create("nafp", **settings)
    shapes = jax.eval_shape(model.init, jax.random.key(0), jnp.zeros((1, 256, 32)))
    return sum(x.size for x in jax.tree.leaves(shapes["params"]))


@pytest.mark.parametrize(
    "settings,published",
    [
        ({"dim": 128}, 16_939_008),
        ({"dim": 64}, 16_934_848),
        ({"time_strides": (2,) * 8}, 16_914_432),  # pfann, all strides 2
        ({"time_strides": (2,) * 8, "depthwise": True}, 8_570_112),  # pfann, not fuller
        ({"time_strides": (2,) * 8, "head_norm": True}, 16_922_624),  # the benchmark's and song_mine's
    ],
)
def test_parameters_are_as_many_as_published(settings, published):
    assert n_parameters(**settings) == published


def test_the_narrow_network_is_the_same_skeleton():
    assert n_parameters(channels=(32, 32, 64, 64, 128, 128, 256, 256)) == 1_503_840


def evaluate(form, variant=0):
    """Returns the compiled function (variables, mel [4,16,8]) -> (fingerprints, gradients by both) of a variant."""
    return _evaluate(form, variant)


@functools.cache
def _evaluate(form, variant):
    model, target = small(form=form, **VARIANTS[variant]), jax.random.normal(jax.random.key(3), (4, SMALL["dim"]))

    def loss(variables, mel):
        fingerprints = model.apply(variables, mel)
        return jnp.sum(fingerprints * target), fingerprints

    @jax.jit
    def evaluated(variables, mel):
        (_, fingerprints), gradients = jax.value_and_grad(loss, argnums=(0, 1), has_aux=True)(variables, mel)
        return fingerprints, gradients

    return evaluated


@pytest.mark.parametrize(
    "variant", [pytest.param(n, marks=pytest.mark.slow if n in (1, 2) else ()) for n in range(len(VARIANTS))]
)
def test_both_forms_give_equal_fingerprints_of_unit_length_and_equal_gradients(variant):
    mel, variables = spectrograms(4), trained(small(**VARIANTS[variant]))
    lax, lax_gradients = evaluate("lax", variant)(variables, mel)
    gemm, gemm_gradients = evaluate("gemm", variant)(variables, mel)
    np.testing.assert_allclose(gemm, lax, atol=1e-5)
    np.testing.assert_allclose(jnp.linalg.norm(gemm, axis=1), 1, rtol=1e-5)
    assert_close(gemm_gradients, lax_gradients)


def test_both_forms_give_equal_fingerprints_with_running_statistics():
    mel, variables = spectrograms(3), trained(small(norm="batch_norm"))
    lax, gemm = (jax.jit(small(form=form, norm="batch_norm").apply)(variables, mel) for form in ("lax", "gemm"))
    np.testing.assert_allclose(gemm, lax, atol=1e-5)
    np.testing.assert_allclose(jnp.linalg.norm(gemm, axis=1), 1, rtol=1e-5)


@pytest.mark.parametrize("form", ["lax", "gemm"])
def test_a_fingerprint_does_not_depend_on_its_batch_mates(form):
    model, mel = small(form=form), spectrograms(4)
    variables = trained(model)
    together, _ = evaluate(form)(variables, mel)
    with_others, _ = evaluate(form)(variables, mel.at[2:].set(100.0))
    alone = jax.jit(model.apply)(variables, mel[1:2])
    np.testing.assert_allclose(alone[0], together[1], atol=1e-6)
    np.testing.assert_array_equal(with_others[:2], together[:2])


@pytest.mark.parametrize("form", ["lax", "gemm"])
def test_silent_spectrograms_have_finite_fingerprints_and_gradients(form):
    fingerprints, gradients = evaluate(form)(trained(small()), jnp.zeros((4, 16, 8)))
    assert np.isfinite(fingerprints).all()
    assert all(np.isfinite(g).all() for g in jax.tree.leaves(gradients))


def in_training(model, variables):
    """Returns mel -> (fingerprints, updated statistics), as a training step calls the network."""
    return lambda mel: model.apply(variables, mel, train=True, mutable=["batch_stats"])


@pytest.mark.parametrize("form", ["lax", "gemm"])
def test_batch_norm_trains_on_the_batch_and_remembers_it(form):
    model = small(form=form, norm="batch_norm")
    variables = trained(model)
    _, updated = jax.jit(in_training(model, variables))(spectrograms(6))
    before, after = variables["batch_stats"], updated["batch_stats"]
    assert before.keys() == after.keys()
    assert all(not np.array_equal(before[name], after[name]) for name in before)


def test_batch_norm_shares_statistics_over_the_named_axis():
    mel, alone = spectrograms(4), small(norm="batch_norm", form="lax")
    variables = trained(alone)
    whole, _ = jax.jit(in_training(alone, variables))(mel)
    sharing = in_training(small(norm="batch_norm", form="lax", axis_name="data"), variables)
    parts, _ = jax.jit(jax.vmap(sharing, axis_name="data"))(mel.reshape(2, 2, *mel.shape[1:]))
    np.testing.assert_allclose(parts.reshape(whole.shape), whole, atol=1e-5)


def test_maps_over_devices_and_vectorises():
    model, mel = small(form="gemm"), spectrograms(4)
    variables = trained(model)
    plain, _ = evaluate("gemm")(variables, mel)
    pairs = mel.reshape(2, 2, *mel.shape[1:])
    replicated = jax.tree.map(lambda x: jnp.stack([x, x]), variables)
    over_devices = jax.pmap(model.apply, devices=jax.local_devices()[:2])(replicated, pairs)
    vectorised = jax.jit(jax.vmap(model.apply, in_axes=(None, 0)))(variables, pairs)
    np.testing.assert_allclose(over_devices.reshape(plain.shape), plain, atol=1e-5)
    np.testing.assert_allclose(vectorised.reshape(plain.shape), plain, atol=1e-5)


def test_gradients_survive_rematerialisation():
    model, mel = small(form="gemm"), spectrograms(4)
    variables, target = trained(model), jax.random.normal(jax.random.key(3), (4, SMALL["dim"]))
    _, (plain, _) = evaluate("gemm")(variables, mel)
    again = jax.jit(jax.grad(lambda v: jnp.sum(jax.checkpoint(model.apply)(v, mel) * target)))(variables)
    assert_close(again, plain)


def test_bfloat16_computes_close_and_returns_float32():
    mel, variables = spectrograms(4), trained(small())
    exact, _ = evaluate("lax")(variables, mel)
    coarse = jax.jit(small(form="lax", dtype="bfloat16").apply)(variables, mel)
    assert coarse.dtype == jnp.float32
    assert jnp.min(jnp.sum(exact * coarse, axis=1)) > 0.99


def test_parameters_are_float32_whatever_is_computed_in():
    model = small(form="lax", dtype="bfloat16")
    shapes = jax.eval_shape(model.init, jax.random.key(0), spectrograms(1))
    assert {x.dtype for x in jax.tree.leaves(shapes)} == {jnp.dtype("float32")}


def test_odd_numbers_of_frames_fit():
    mel = jax.random.normal(jax.random.key(0), (2, 15, 7))
    variables = trained(small(), mel)
    lax = jax.jit(small(form="lax").apply)(variables, mel)
    np.testing.assert_allclose(jax.jit(small(form="gemm").apply)(variables, mel), lax, atol=1e-5)


def test_settings_may_come_from_json_as_lists():
    assert models.create("nafp", channels=[8] * 8).channels == (8,) * 8


def test_the_architectures_are_those_that_a_configuration_may_name():
    assert set(models.names()) == set(config.network.ARCHITECTURES)


def test_unknown_names_are_met_with_the_known_ones():
    with pytest.raises(ValueError, match="Did you mean 'nafp'"):
        models.create("nafpp")
    with pytest.raises(ValueError, match="layer_norm2d, layer_norm1d, batch_norm"):
        models.create("nafp", norm="group_norm")
    with pytest.raises(ValueError, match="one stride per block"):
        models.create("nafp", channels=(8, 8))
