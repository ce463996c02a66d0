"""Schedules reach their rates, and optimizers scale the steps of the right parameters."""

import json
import pathlib

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from nafp import config as config_lib
from nafp.config import foreign_benchmark, foreign_original, foreign_pfann
from nafp.training import optimizers, step


def rates(steps=100, batch_size=640, **changes):
    """Returns the learning rate of every step, for changes of config.optimizer."""
    c = config_lib.default().optimizer
    c.update(changes)
    rate = step.learning_rate(c, total_steps=steps, batch_size=batch_size)
    return np.array([float(rate(i)) for i in range(steps + 1)])


def test_cosine_falls_from_peak_to_its_final_share():
    r = rates(learning_rate=1.0, final_share=0.01)
    assert r[0] == pytest.approx(1.0)
    assert r[100] == pytest.approx(0.01)
    assert (np.diff(r) < 0).all()


def test_warm_up_rises_from_nothing_to_the_peak():
    r = rates(learning_rate=1.0, warmup_steps=10)
    assert r[0] == 0
    assert (np.diff(r[:11]) > 0).all()
    assert r.max() == pytest.approx(1.0)


def test_restarts_return_to_the_peak_after_periods_that_double():
    r = rates(learning_rate=1.0, schedule="cosine_restarts", restart_share=0.1)
    peaks = [i for i in range(100) if r[i] == pytest.approx(1.0)]
    assert peaks == [0, 10, 30, 70]


def test_constant_is_constant_and_scales_with_the_batch_on_request():
    assert set(rates(schedule="constant")) == {rates(schedule="constant")[0]}
    scaled = rates(schedule="constant", scale_with_batch=True, batch_size=1280)
    assert scaled[0] == pytest.approx(2e-4)


def optimizer(*, learning_rate, **changes):
    """Returns the default optimizer with a constant learning rate and these changes."""
    section = config_lib.default().optimizer
    names = ("name", "lamb_scales", "weight_decay", "b1", "b2", "eps")
    settings = {name: section[name] for name in names} | changes
    return optimizers.create(settings.pop("name"), optax.constant_schedule(learning_rate), **settings)


@pytest.mark.parametrize("name", ["lamb", "adam"])
def test_optimizers_move_parameters_against_the_gradient(name):
    made = optimizer(name=name, learning_rate=0.1)
    params = {"w": jnp.ones(3)}
    updates, _ = made.update({"w": jnp.array([1.0, -1.0, 2.0])}, made.init(params), params)
    np.testing.assert_array_equal(np.sign(updates["w"]), [-1, 1, -1])


LAYER = {
    "kernel": jnp.array([[0.3, -0.2], [0.5, 0.1]]),
    "bias": jnp.zeros(2),
    "norm_scale": jnp.ones(2),
    "norm_bias": jnp.zeros(2),
}
SLOPES = jax.tree.map(lambda x: jnp.linspace(0.5, 2.0, x.size).reshape(x.shape), LAYER)


def after(n_steps, **changes):
    """Returns LAYER after steps down the same slopes."""
    made = optimizer(**{**dict(learning_rate=0.01, weight_decay=0.0), **changes})
    layer, state = {"block1_time": LAYER}, made.init({"block1_time": LAYER})

    @jax.jit
    def step_down(layer, state):
        updates, state = made.update({"block1_time": SLOPES}, state, layer)
        return optax.apply_updates(layer, updates), state

    for _ in range(n_steps):
        layer, state = step_down(layer, state)
    return layer["block1_time"]


def test_what_begins_at_zero_leaves_it_unless_its_steps_are_scaled_by_its_size():
    ours, original = after(50), after(50, lamb_scales="all")
    for name in ("bias", "norm_bias"):
        np.testing.assert_allclose(ours[name], -0.5, rtol=1e-3)  # 50 steps of 0.01.
        assert np.abs(original[name]).max() < 0.04


def test_kernels_take_lambs_steps_and_all_else_adams():
    ours, lamb, adam = after(7), after(7, lamb_scales="all"), after(7, name="adam")
    np.testing.assert_allclose(ours["kernel"], lamb["kernel"], rtol=1e-6)
    for name in ("bias", "norm_scale", "norm_bias"):
        np.testing.assert_allclose(ours[name], adam[name], rtol=1e-6)


def test_weights_of_kernels_alone_decay():
    shrunk, plain = after(1, weight_decay=0.1, name="lamb"), after(1)
    assert not np.allclose(shrunk["kernel"], plain["kernel"], rtol=1e-6)
    np.testing.assert_array_equal(shrunk["norm_scale"], plain["norm_scale"])


VECTORS = pathlib.Path(__file__).parents[1] / "vectors"
STEPS = np.load(VECTORS / "optimizers.npz")
RATES = json.loads((VECTORS / "schedules.json").read_text())
RULES = {
    "naf_lamb": foreign_original.LAMB | {"optimizer.weight_decay": 1e-6},
    "keras_adam": foreign_original.ADAM,
    "pfann_lamb": foreign_pfann.LAMB,
    "pfann_adam": {"optimizer.name": "adam", "optimizer.eps": foreign_pfann.FIXED["optimizer.eps"]},
    "bench_lamb": foreign_benchmark.LAMB,
}


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("learning_rate", [1e-2, 1e-4])
def test_the_rules_of_the_five_systems_take_their_steps(rule, learning_rate):
    settings = {name.removeprefix("optimizer."): value for name, value in RULES[rule].items()}
    made = optimizer(learning_rate=learning_rate, **settings)
    params = {name: jnp.array(STEPS[f"param_{name}"]) for name in ("a", "b", "zero")}
    state = made.init(params)
    for i in range(1, 6):
        slopes = {name: jnp.array(STEPS[f"grad_step{i}_{name}"]) for name in params}
        updates, state = made.update(slopes, state, params)
        params = optax.apply_updates(params, updates)
        for name in params:
            expected = STEPS.get(f"{rule}_lr{learning_rate}_step{i}_{name}")
            if expected is not None:
                np.testing.assert_allclose(params[name], expected, rtol=1e-6, atol=5e-7)


def epochs(name, steps_per_epoch=3, **changes):
    """Returns the rates of the epochs of a vector, and checks that they hold for all steps of each."""
    told = RATES[name]
    section = config_lib.default().optimizer
    section.update({"learning_rate": told["lr"], "rate_per_epoch": True, "final_share": told["eta_min"] / told["lr"]})
    section.update(changes)
    total = 100 * steps_per_epoch
    rate = step.learning_rate(section, total_steps=total, epoch_steps=steps_per_epoch, batch_size=640)
    first = [float(rate(epoch * steps_per_epoch)) for epoch in told["epochs"]]
    last = [float(rate((epoch + 1) * steps_per_epoch - 1)) for epoch in told["epochs"]]
    np.testing.assert_array_equal(first, last)
    return np.array(first), np.array(told["values"])


@pytest.mark.parametrize("name", ["benchmark", "song_mine"])
def test_a_cosine_rises_again_after_the_epochs_of_its_fall(name):
    ours, theirs = epochs(name, schedule="cosine_waves", fall_epochs=100)
    np.testing.assert_allclose(ours, theirs, rtol=1e-4)


def test_pfanns_cosine_falls_from_epoch_to_epoch():
    ours, theirs = epochs("pfann")
    np.testing.assert_allclose(ours[:-1], theirs[:-1], rtol=1e-4)  # The last would be a restart; no run reaches it.


@pytest.mark.parametrize("name, schedule", [("original", "cosine"), ("original_restarts", "cosine_restarts")])
def test_the_originals_schedules_change_from_step_to_step(name, schedule):
    told = RATES[name]
    section = config_lib.default().optimizer
    section.update(dict(learning_rate=told["initial"], schedule=schedule, final_share=told["alpha"]))
    rate = step.learning_rate(section, total_steps=1000, batch_size=640)
    np.testing.assert_allclose([float(rate(i)) for i in told["steps"]], told["lr"], rtol=1e-3, atol=1e-12)
