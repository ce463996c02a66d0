"""Losses, gradients, optimiser and schedule equal AMG-Embedding's, in double precision."""

import functools
import pathlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from nafp.sequences import losses, optimizer

VECTORS = pathlib.Path(__file__).parents[1] / "vectors" / "amg"
GIVEN = dict(np.load(VECTORS / "losses.npz"))
CLOSE = dict(rtol=1e-10, atol=1e-12)


@pytest.fixture(autouse=True)
def in_double_precision():
    with jax.enable_x64(True):
        yield


def given(*names: str) -> list[jax.Array]:
    return [jnp.asarray(GIVEN[name].astype(np.float64)) for name in names]


def margin_loss(vectors, centres, *, weight, anchors=None):
    anchors = GIVEN["is_anchor"] if anchors is None else anchors
    fixed = jnp.asarray(GIVEN["label"]), given("margin")[0], jnp.asarray(anchors)
    return losses.margin(vectors, centres, *fixed, scale=32.0, centre_weight=weight)


@pytest.mark.parametrize("name, weight", [("tam", 10.0), ("arcface", 0.0)])
def test_the_margin_loss_and_its_gradients_equal_the_original(name, weight):
    x, centres = given("x", "class_centres")
    both = jax.jit(jax.value_and_grad(lambda *p: margin_loss(*p, weight=weight), argnums=(0, 1)))
    loss, gradients = both(x, centres)
    np.testing.assert_allclose(loss, GIVEN[f"{name}_loss"], **CLOSE)
    for gradient, what in zip(gradients, ("x", "centres")):
        np.testing.assert_allclose(gradient, GIVEN[f"{name}_grad_{what}"], **CLOSE)
    logits = jax.jit(lambda x: losses.margin_logits(x, jnp.asarray(GIVEN["label"]), given("margin")[0], scale=32.0))(
        losses.cosines(x, centres)
    )
    np.testing.assert_allclose(logits, GIVEN[f"{name}_logits"], **CLOSE)


def test_a_batch_without_an_anchor_has_the_loss_of_arcface():
    x, centres = given("x", "class_centres")
    assert np.isnan(GIVEN["tam_no_anchor_in_batch_loss"])
    loss = jax.jit(lambda *p: margin_loss(*p, weight=10.0, anchors=np.zeros(10, bool)))(x, centres)
    np.testing.assert_allclose(loss, GIVEN["arcface_loss"], **CLOSE)


def test_margins_grow_with_the_overlap():
    np.testing.assert_allclose(
        losses.margins(np.array([0, 3, 6, 12]), np.full(4, 12), low=0.2, high=0.4), [0.2, 0.25, 0.3, 0.4], rtol=1e-6
    )


def test_info_nce_equals_the_original():
    a, p, n, own = given("a", "p", "n", "n_paired")
    info_nce = functools.partial(losses.info_nce, temperature=0.1)
    loss, gradients = jax.jit(jax.value_and_grad(info_nce, argnums=(0, 1)))(a, p)
    np.testing.assert_allclose(loss, GIVEN["infonce_inbatch_loss"], **CLOSE)
    for gradient, what in zip(gradients, ("query", "key")):
        np.testing.assert_allclose(gradient, GIVEN[f"infonce_inbatch_grad_{what}"], **CLOSE)
    np.testing.assert_allclose(jax.jit(info_nce)(a, p, n), GIVEN["infonce_unpaired_loss"], **CLOSE)
    np.testing.assert_allclose(jax.jit(info_nce)(a, p, own), GIVEN["infonce_paired_loss"], **CLOSE)


@pytest.mark.parametrize("alpha", [0.2, 0.5, 1.0])
def test_triplets_equal_the_original(alpha):
    sides = given("a", "p", "n")

    loss_of = functools.partial(losses.triplet, alpha=alpha, active_only=False)
    loss, gradients = jax.jit(jax.value_and_grad(loss_of, argnums=(0, 1, 2)))(*sides)
    np.testing.assert_allclose(loss, GIVEN[f"triplet_alpha{alpha}_loss"], **CLOSE)
    for gradient, what in zip(gradients, "apn"):
        np.testing.assert_allclose(gradient, GIVEN[f"triplet_alpha{alpha}_grad_{what}"], **CLOSE)


def test_in_training_only_active_triplets_count():
    a, p, n = given("a", "p", "n")
    loss = jax.jit(functools.partial(losses.triplet, alpha=1.0))
    every = [float(loss(a[i : i + 1], p[i : i + 1], n[i : i + 1])) for i in range(len(a))]
    active = [loss for loss in every if loss > 0]
    assert 0 < len(active) < len(every)
    np.testing.assert_allclose(loss(a, p, n), np.mean(active))
    assert loss(a, a, -a) == 0


@pytest.mark.parametrize("rate", [0.0001, 0.01])
def test_adam_adds_the_decay_to_the_gradient_as_the_original_does(rate):
    with np.load(VECTORS / "adam.npz") as table:
        numbers = dict(table)
    names = ("a", "b", "zero")
    params = {name: jnp.asarray(numbers[f"param_{name}"].astype(np.float64)) for name in names}
    adam = optimizer.create(lambda _: rate, weight_decay=1e-5, b1=0.9, b2=0.999, eps=1e-8)
    state, update = adam.init(params), jax.jit(adam.update)
    for step in range(1, 6):
        gradients = {name: jnp.asarray(numbers[f"grad_step{step}_{name}"].astype(np.float64)) for name in names}
        updates, state = update(gradients, state, params)
        params = {name: params[name] + updates[name] for name in names}
        for name in names:
            np.testing.assert_allclose(params[name], numbers[f"amg_adam_lr{rate}_step{step}_{name}"], rtol=1e-9)


def test_the_learning_rate_falls_along_a_cosine():
    rate = optimizer.cosine(0.001, 0.0001, total_steps=1000)
    expected = {0: 0.001, 1: 0.0009999977793408363, 10: 0.000999777952164579, 500: 0.00055, 1000: 0.0001}
    np.testing.assert_allclose([rate(step) for step in expected], list(expected.values()), rtol=1e-12)
