"""Schedules go where they are told."""

import jax.numpy as jnp
import numpy as np
import pytest

from nafp import config as config_lib
from nafp.training import optimizers


def rates(steps=100, batch_size=640, **changes):
    c = config_lib.default().optimizer
    c.update(changes)
    made = optimizers.schedule(c, total_steps=steps, batch_size=batch_size)
    return np.array([float(made(i)) for i in range(steps + 1)])


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


@pytest.mark.parametrize("name", ["lamb", "adam"])
def test_optimizers_move_parameters_against_the_gradient(name):
    c = config_lib.default().optimizer
    c.update(dict(name=name, learning_rate=0.1))
    made = optimizers.create(c, total_steps=10, batch_size=640)
    params = {"w": jnp.ones(3)}
    updates, _ = made.update({"w": jnp.array([1.0, -1.0, 2.0])}, made.init(params), params)
    np.testing.assert_array_equal(np.sign(updates["w"]), [-1, 1, -1])
